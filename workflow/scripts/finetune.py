from cseg.jobs.adapter import stage

with stage(snakemake.log[0], snakemake.input, snakemake.config["results_dir"]):
    from cseg.stages.finetune import finetune
    from cseg.stages.job import launch_run
    from cseg.stages.run import TrainingOutputs

    launch_run(snakemake, finetune, out=TrainingOutputs, title=snakemake.params.title)
