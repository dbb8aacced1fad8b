import sys
from functools import partial
from pathlib import Path

from cseg.estimate.status import PLAN, headline
from cseg.jobs.adapter import stage

with stage(snakemake.log[0], snakemake.input, snakemake.config["results_dir"]):
    from cseg.jobs.launch import gpus_of, launch
    from cseg.settings import RunSettings, build
    from cseg.stages.evaluate import EvaluateOutputs, evaluate
    from cseg.stages.run import RunInputs, files_of

    run = partial(
        evaluate,
        files_of(RunInputs, snakemake.input),
        build(RunSettings, snakemake.params.settings, "settings"),
        arm=snakemake.wildcards.arm,
        weights=Path(snakemake.input.weights),
        costs=[Path(cost) for cost in snakemake.input.costs],
        out=files_of(EvaluateOutputs, snakemake.output),
        threads=snakemake.threads,
    )
    launch(snakemake.log[0], run, **gpus_of(snakemake.resources))

results = Path(snakemake.output.metrics).parents[3]
if (results / PLAN).exists():
    print(headline(results), file=sys.stderr, flush=True)
