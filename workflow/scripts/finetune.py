from functools import partial

from cseg.jobs.adapter import stage

with stage(snakemake.log[0], snakemake.input, snakemake.config["results_dir"]):
    from cseg.jobs.launch import gpus_of, launch
    from cseg.settings import RunSettings, build
    from cseg.stages.finetune import finetune
    from cseg.stages.run import RunInputs, files_of
    from cseg.stages.training_outputs import TrainingOutputs

    run = partial(
        finetune,
        files_of(RunInputs, snakemake.input),
        build(RunSettings, snakemake.params.settings, "settings"),
        out=files_of(TrainingOutputs, snakemake.output),
        threads=snakemake.threads,
        title=snakemake.params.title,
    )
    launch(snakemake.log[0], run, **gpus_of(snakemake.resources))
