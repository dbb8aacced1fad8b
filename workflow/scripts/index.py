from cseg.jobs.adapter import stage
from cseg.stages.index import index

with stage(snakemake.log[0], snakemake.input, snakemake.config["results_dir"]):
    index(
        snakemake.input.fetched,
        snakemake.output.index,
        dataset_json=snakemake.output.dataset,
        workers=snakemake.threads,
    )
