from cseg.jobs.adapter import stage

with stage(snakemake.log[0], snakemake.input, snakemake.config["results_dir"]):
    from cseg.settings import RunSettings, build
    from cseg.stages.check import check

    check(
        snakemake.input.index,
        {
            arm: build(RunSettings, settings, f"settings of {arm}")
            for arm, settings in snakemake.params.runs.items()
        },
        counts=tuple(snakemake.params.counts),
        out=snakemake.output.starts,
    )
