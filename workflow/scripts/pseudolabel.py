from functools import partial
from pathlib import Path

from cseg.jobs.adapter import stage

with stage(snakemake.log[0], snakemake.input, snakemake.config["results_dir"]):
    from cseg.jobs.launch import gpus_of, launch
    from cseg.settings import RunSettings, build
    from cseg.stages.pseudolabel import PseudolabelOutputs, pseudolabel
    from cseg.stages.run import RunInputs, files_of

    run = partial(
        pseudolabel,
        files_of(RunInputs, snakemake.input),
        build(RunSettings, snakemake.params.settings, "settings"),
        teacher=Path(snakemake.input.teacher),
        out=files_of(PseudolabelOutputs, snakemake.output),
        threads=snakemake.threads,
    )
    launch(snakemake.log[0], run, **gpus_of(snakemake.resources))
