from cseg.jobs.adapter import stage
from cseg.stages.subset import subset

with stage(snakemake.log[0], snakemake.input, snakemake.config["results_dir"]):
    subset(
        snakemake.input.index,
        snakemake.input.dataset,
        snakemake.params.n,
        int(snakemake.wildcards.seed),
        snakemake.output.subset,
        snakemake.input.published or None,
    )
