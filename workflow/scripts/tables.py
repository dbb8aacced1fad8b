from pathlib import Path

from cseg.jobs.adapter import stage

with stage(snakemake.log[0], snakemake.input, snakemake.config["results_dir"]):
    from cseg.paper.tables import tables

    results = Path(snakemake.input.dataset).parent
    tables(results, results / "tables", published=Path(snakemake.input.published))
