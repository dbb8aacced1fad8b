from pathlib import Path

from cseg.jobs.adapter import stage

with stage(snakemake.log[0], snakemake.input, snakemake.config["results_dir"]):
    from cseg.stages.job import launch_run
    from cseg.stages.pseudolabel import PseudolabelOutputs, pseudolabel

    teacher = Path(snakemake.input.teacher)
    launch_run(snakemake, pseudolabel, out=PseudolabelOutputs, teacher=teacher)
