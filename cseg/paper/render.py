"""Render everything below `results/` again from its CSVs: `python -m cseg paper results/`."""

from pathlib import Path

from cseg.errors import DataError
from cseg.paper.figures import figures
from cseg.paper.page import summary_page
from cseg.paper.tables import tables


def paper(results_root: Path, *, published: Path | None = None) -> list[Path]:
    """Write tables, figures and the summary page of every dataset below `results_root`.

    Needs no torch. Pictures of predictions need the run folders and the images too; where those
    are absent the older pictures stay.

    Args:
        results_root: every folder in it that holds a `summary.csv` is rendered, itself included.
        published: `published.csv`; None compares with nothing.

    Returns:
        The files written.

    Raises:
        DataError: there is no `summary.csv` in the folder or below it.
    """
    root = Path(results_root)
    folders = sorted(path.parent for path in root.rglob("summary.csv"))
    if not folders:
        raise DataError(
            f"no summary.csv in {root} or below it; "
            "give the results folder, or run the workflow first"
        )
    written = []
    for folder in folders:
        written += tables(folder, folder / "tables", published=published)
        written += figures(folder, folder / "figures")
        curve = folder / "figures" / "label_efficiency.png"
        written.append(summary_page(folder, folder / "summary.html", curve_png=curve))
    return written
