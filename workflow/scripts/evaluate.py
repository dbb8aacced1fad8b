import sys
from pathlib import Path

from cseg.estimate.status import PLAN, headline, read_jobs
from cseg.jobs.adapter import stage

with stage(snakemake.log[0], snakemake.input, snakemake.config["results_dir"]):
    from cseg.stages.evaluate import EvaluateOutputs, evaluate
    from cseg.stages.job import launch_run

    launch_run(
        snakemake,
        evaluate,
        out=EvaluateOutputs,
        arm=snakemake.wildcards.arm,
        weights=Path(snakemake.input.weights),
        costs=[Path(cost) for cost in snakemake.input.costs],
    )

results = Path(snakemake.output.metrics).parents[3]
if (results / PLAN).exists():
    print(headline(results, read_jobs(results)), file=sys.stderr, flush=True)
