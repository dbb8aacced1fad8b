from cseg.jobs.adapter import stage

with stage(snakemake.log[0], snakemake.input, snakemake.config["results_dir"]):
    from cseg.settings import RunSettings, build
    from cseg.stages.features import FeaturesOutputs, Start, features
    from cseg.stages.job import files_of, launch_job
    from cseg.stages.run import RunInputs

    starts = [
        Start(
            arm=start["arm"],
            inputs=files_of(RunInputs, start["files"]),
            settings=build(RunSettings, start["settings"], "settings"),
        )
        for start in snakemake.params.starts
    ]
    launch_job(snakemake, features, starts, out=FeaturesOutputs)
