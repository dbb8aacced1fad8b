from cseg.adapter import stage
from cseg.audit import audit

with stage(snakemake.log[0], snakemake.input, snakemake.config["results_dir"]):
    audit(
        [*snakemake.input.subsets, *snakemake.input.lists],
        snakemake.output.table,
        [snakemake.output.png, snakemake.output.pdf],
        snakemake.output.findings,
        snakemake.input.index,
    )
