from cseg.jobs.adapter import stage
from cseg.stages.fetch import fetch

with stage(snakemake.log[0], snakemake.input, snakemake.config["results_dir"]):
    fetch(
        snakemake.params.dataset,
        snakemake.params.data_dir,
        options=snakemake.params.options,
        out=snakemake.output.fetched,
    )
