from pathlib import Path

from cseg.jobs.adapter import stage

with stage(snakemake.log[0], snakemake.input, snakemake.config["results_dir"]):
    from cseg.paper.best import best

    runs = [Path(path).parent for path in snakemake.input.metrics]
    best(runs, Path(snakemake.input.dataset), Path(snakemake.output[0]).parent)
