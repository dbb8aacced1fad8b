from cseg.jobs.adapter import stage
from cseg.stages.manifest import manifest

with stage(snakemake.log[0], snakemake.input, snakemake.config["results_dir"]):
    manifest(snakemake.params.plan, snakemake.output.plan)
