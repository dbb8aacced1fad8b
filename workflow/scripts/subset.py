from cseg.jobs.adapter import stage
from cseg.stages.subset import subset

with stage(snakemake.log[0], snakemake.input, snakemake.config["results_dir"]):
    subset(
        snakemake.input.index,
        snakemake.input.dataset,
        n=snakemake.params.n,
        seed=int(snakemake.wildcards.seed),
        out=snakemake.output.subset,
        list_path=next(iter(snakemake.input.published), None),
    )
