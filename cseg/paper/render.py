"""Render everything below `results/` again from its CSVs: `python -m cseg paper results/`."""

from pathlib import Path

from cseg.errors import DataError
from cseg.paper.best import best
from cseg.paper.figures import figures
from cseg.paper.page import summary_page
from cseg.paper.tables import tables
from cseg.stages.summary import summary


def paper(
    results_root: Path, *, published: Path | None = None, collect_runs: bool = False
) -> list[Path]:
    """Write tables, figures and the summary page of every dataset below `results_root`.

    Needs no torch. Pictures of predictions need the run folders and the images too; where those
    are absent the older pictures stay. Every folder in `results_root` that holds a `summary.csv` is
    rendered, itself included; `collect_runs` first writes `summary.csv` and its companions from the
    runs that have finished, for experiments of which a run failed. Without `published`, results are
    compared with nothing. Returns the files written.

    Raises:
        DataError: there is no `summary.csv` in the folder or below it.
    """
    if collect_runs:
        for dataset in sorted(results_root.rglob("dataset.json")):
            collect(dataset.parent)
    folders = sorted(path.parent for path in results_root.rglob("summary.csv"))
    if not folders:
        raise DataError(
            f"no summary.csv in {results_root} or below it; give the results folder, or run the "
            "workflow first; if a run of it failed, gather the others with --collect"
        )
    written = []
    for folder in folders:
        written += tables(folder, folder / "tables", published=published)
        written += figures(folder, folder / "figures")
        page = folder / "summary.html"
        written.append(summary_page(folder, page, figures_dir=folder / "figures"))
    return written


def collect(folder: Path) -> None:
    """Write the collected CSVs and the best networks from the runs that have finished.

    Folders of runs that have not are named in the log. Nothing is written if there is no run.
    """
    runs = [path for path in folder.glob("*/n*/seed*") if path.is_dir()]
    runs.sort(key=lambda run: (run.parts[-3] != "scratch", run.parts[-3:]))
    measured = [run for run in runs if (run / "metrics.csv").is_file()]
    if measured:
        summary(runs, folder)
        best(measured, folder / "dataset.json", folder / "best")
