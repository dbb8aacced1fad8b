from pathlib import Path

from cseg.jobs.adapter import stage

with stage(snakemake.log[0], snakemake.input, snakemake.config["results_dir"]):
    from cseg.stages.summary import summary

    metrics = [Path(path) for path in snakemake.input.metrics]
    summary(metrics, Path(snakemake.output.summary).parent, ablations=snakemake.params.ablations)
