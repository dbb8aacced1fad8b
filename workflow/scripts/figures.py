from pathlib import Path

from cseg.jobs.adapter import stage

with stage(snakemake.log[0], snakemake.input, snakemake.config["results_dir"]):
    from cseg.paper.figures import figures
    from cseg.paper.page import summary_page

    results = Path(snakemake.input.dataset).parent
    figures(results, results / "figures")
    summary_page(results, results / "summary.html", figures_dir=results / "figures")
