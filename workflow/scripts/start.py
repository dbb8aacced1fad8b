from cseg.jobs.adapter import stage

with stage(snakemake.log[0], snakemake.input, snakemake.config["results_dir"]):
    from cseg.settings.keys import build
    from cseg.settings.network import StartSettings
    from cseg.stages.start import start

    start(build(StartSettings, snakemake.params.start, "start"), out=snakemake.output.start)
