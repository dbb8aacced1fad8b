"""Entry of the figures: from one dataset's CSVs (and predictions) to PNG and PDF files."""

import logging
from collections.abc import Callable, Collection
from pathlib import Path

from matplotlib.figure import Figure

from cseg.errors import CsegError
from cseg.paper import panels, plots
from cseg.paper.results import Results, read_results
from cseg.paper.style import figure_style, save
from cseg.storage.index_and_subset import read_index

log = logging.getLogger(__name__)

PANEL_ROWS = 4
EXTREME_ROWS = 3


def figures(results_dir: Path, out_dir: Path, *, only: Collection[str] = ()) -> list[Path]:
    """Write every figure that one experiment's results allow, as PNG and PDF.

    A figure that cannot be drawn, for lack of its CSV, of predictions.zip or of the images, is left
    out and named in the log with the reason; an older one is kept. `out_dir` receives
    `{figure}.png` and `.pdf` of those named in `only`, or of all; the files written are returned.

    Raises:
        DataError: `summary.csv` is missing or malformed.
    """
    results = read_results(results_dir)
    n = results.label_counts[0]  # of panels and matrices: where labels are scarcest
    drawings: dict[str, Callable[[], Figure | None]] = {
        "label_efficiency": lambda: plots.label_efficiency(results),
        "per_class": lambda: plots.per_class(results),
        "confusion": lambda: plots.confusion(results, n),
        "confusion_difference": lambda: plots.confusion_difference(results, n),
        "training_curves": lambda: plots.training_curves(results),
        "feature_space": lambda: plots.feature_space(results),
        "qualitative": lambda: _qualitative(results, n),
        "largest_changes": lambda: _largest_changes(results, n),
    }
    written = []
    with figure_style():
        for name in only or drawings:
            try:
                figure, reason = drawings[name](), "the results hold nothing to draw"
            except (CsegError, OSError) as error:  # pictures may live on another machine
                figure, reason = None, str(error)
            if figure is None:
                log.warning("no figure %s for %s: %s", name, results.dataset, reason)
            else:
                written += save(figure, Path(out_dir) / name)
    return written


def _qualitative(results: Results, n: int) -> Figure:
    folders, index = panels.run_folders(results), read_index(results.folder / "index.csv")
    chosen = panels.fixed_ids(index.loc[index["split"] == "val", "id"], PANEL_ROWS)
    return panels.panel(results, folders, chosen, results.arms, n)


def _largest_changes(results: Results, n: int) -> Figure | None:
    folders, rival = panels.run_folders(results), results.rival
    if rival is None:
        return None
    arms = (results.reference, rival)
    seed = panels.common_seed(folders, arms, n)
    chosen = panels.extreme_ids(results, rival, n, seed, EXTREME_ROWS)
    return panels.panel(results, folders, chosen, arms, n) if chosen else None
