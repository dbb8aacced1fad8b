from pathlib import Path

from cseg.jobs.adapter import stage

with stage(snakemake.log[0], snakemake.input, snakemake.config["results_dir"]):
    from cseg.jobs.launch import launch
    from cseg.stages.pretrain import pretrain
    from cseg.stages.run import Cache

    launch(
        snakemake.log[0],
        snakemake.resources.gpu,
        pretrain,
        Path(snakemake.input.index),
        Path(snakemake.input.dataset),
        Path(snakemake.input.subset),
        snakemake.params.settings,
        snakemake.threads,
        snakemake.params.title,
        Path(snakemake.output.weights),
        Path(snakemake.output.curve),
        Path(snakemake.output.cost),
        Cache(*map(Path, snakemake.input.cache)) if snakemake.input.cache else None,
        Path(snakemake.input.pseudo[0]) if snakemake.input.pseudo else None,
        nodes=snakemake.resources.get("nodes", 1),
    )
