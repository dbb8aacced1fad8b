from pathlib import Path

from cseg.jobs.adapter import stage

with stage(snakemake.log[0], snakemake.input, snakemake.config["results_dir"]):
    from cseg.stages.features import Start, features

    features(
        Path(snakemake.input.index),
        Path(snakemake.input.dataset),
        [Start(**start) for start in snakemake.params.starts],
        snakemake.threads,
        Path(snakemake.output.features),
        Path(snakemake.output.separability),
    )
