from cseg.jobs.adapter import stage
from cseg.stages.audit import audit

with stage(snakemake.log[0], snakemake.input, snakemake.config["results_dir"]):
    audit(
        [*snakemake.input.subsets, *snakemake.input.lists],
        snakemake.output.table,
        [snakemake.output.png, snakemake.output.pdf],
        snakemake.output.findings,
        snakemake.input.index,
    )
