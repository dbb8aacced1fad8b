from pathlib import Path

from cseg.jobs.adapter import stage

with stage(snakemake.log[0], snakemake.input, snakemake.config["results_dir"]):
    from cseg.settings import RunSettings, build
    from cseg.stages.pseudolabel import PseudolabelOutputs, pseudolabel
    from cseg.stages.run import RunInputs, files_of

    pseudolabel(
        files_of(RunInputs, snakemake.input),
        build(RunSettings, snakemake.params.settings, "settings"),
        teacher=Path(snakemake.input.teacher),
        out=files_of(PseudolabelOutputs, snakemake.output),
        threads=snakemake.threads,
    )
