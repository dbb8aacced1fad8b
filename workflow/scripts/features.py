from pathlib import Path

from cseg.jobs.adapter import stage

with stage(snakemake.log[0], snakemake.input, snakemake.config["results_dir"]):
    from cseg.settings.keys import build
    from cseg.settings.run import RunSettings
    from cseg.stages.features import FeaturesOutputs, Start, features
    from cseg.stages.job import launch_job
    from cseg.stages.run import RunInputs

    files = snakemake.input
    weights = map(Path, files.pretrained)
    starts = [
        Start(
            arm=start["arm"],
            inputs=RunInputs(
                index=Path(files.index),
                dataset=Path(files.dataset),
                subset=Path(subset),
                pretrained=next(weights) if start["pretrained"] else None,
            ),
            settings=build(RunSettings, start["settings"], "settings"),
        )
        for start, subset in zip(snakemake.params.starts, files.subsets)
    ]
    launch_job(snakemake, features, starts, out=FeaturesOutputs)
