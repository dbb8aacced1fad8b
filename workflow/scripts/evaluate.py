from pathlib import Path

from cseg.jobs.adapter import stage

with stage(snakemake.log[0], snakemake.input, snakemake.config["results_dir"]):
    from cseg.jobs.launch import launch
    from cseg.stages.evaluate import EvaluateOutputs, evaluate

    launch(
        snakemake.log[0],
        snakemake.resources.gpu,
        evaluate,
        Path(snakemake.input.index),
        Path(snakemake.input.dataset),
        Path(snakemake.input.subset),
        Path(snakemake.input.weights),
        [Path(cost) for cost in snakemake.input.costs],
        {"arm": snakemake.wildcards.arm, "seed": int(snakemake.wildcards.seed)},
        snakemake.params.settings,
        snakemake.threads,
        EvaluateOutputs(**{name: Path(path) for name, path in snakemake.output.items()}),
        nodes=snakemake.resources.get("nodes", 1),
    )
