from functools import partial

from cseg.jobs.adapter import stage

with stage(snakemake.log[0], snakemake.input, snakemake.config["results_dir"]):
    from cseg.jobs.launch import gpus_of, launch
    from cseg.settings import RunSettings, build
    from cseg.stages.features import FeaturesOutputs, Start, features
    from cseg.stages.run import RunInputs, files_of

    starts = [
        Start(
            arm=start["arm"],
            inputs=files_of(RunInputs, start["files"]),
            settings=build(RunSettings, start["settings"], "settings"),
        )
        for start in snakemake.params.starts
    ]
    run = partial(
        features, starts, files_of(FeaturesOutputs, snakemake.output), threads=snakemake.threads
    )
    launch(snakemake.log[0], run, **gpus_of(snakemake.resources))
