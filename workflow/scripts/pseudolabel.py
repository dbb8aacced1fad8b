from pathlib import Path

from cseg.jobs.adapter import stage

with stage(snakemake.log[0], snakemake.input, snakemake.config["results_dir"]):
    from cseg.stages.pseudolabel import pseudolabel

    pseudolabel(
        Path(snakemake.input.index),
        Path(snakemake.input.dataset),
        Path(snakemake.input.subset),
        Path(snakemake.input.teacher),
        snakemake.params.settings,
        snakemake.threads,
        Path(snakemake.output.labels),
        Path(snakemake.output.listing),
        Path(snakemake.output.quality),
    )
