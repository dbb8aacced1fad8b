from pathlib import Path

from cseg.jobs.adapter import stage

with stage(snakemake.log[0], snakemake.input, snakemake.config["results_dir"]):
    from cseg.stages.prepare import prepare

    prepare(
        Path(snakemake.input.index),
        Path(snakemake.input.dataset),
        short_side=snakemake.params.short_side,
        workers=snakemake.threads,
        pixels=Path(snakemake.output.pixels),
        places=Path(snakemake.output.places),
    )
