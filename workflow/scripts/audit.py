from cseg.jobs.adapter import stage
from cseg.stages.audit import audit

with stage(snakemake.log[0], snakemake.input, snakemake.config["results_dir"]):
    audit(
        [*snakemake.input.subsets, *snakemake.input.lists],
        snakemake.input.index,
        out_csv=snakemake.output.table,
        out_figures=[snakemake.output.png, snakemake.output.pdf],
        out_findings=snakemake.output.findings,
    )
