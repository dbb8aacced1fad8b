"""Entry of the figures: from one dataset's CSVs (and predictions) to PNG and PDF files."""

import logging
from collections.abc import Callable, Collection
from pathlib import Path

from matplotlib.figure import Figure

from cseg.errors import CsegError, DataError
from cseg.paper import figure_classes, figure_curves, figure_dag, figure_features, panels
from cseg.paper.results import Results, read_results
from cseg.paper.style import figure_style, note, save

log = logging.getLogger(__name__)

# written always, with the reason as text where there is nothing to draw
CORE = (
    "label_efficiency", "per_class", "slopes", "confusion", "confusion_difference",
    "training_curves", "qualitative", "largest_gain", "largest_loss",
)  # fmt: skip
PANEL_ROWS = 4
EXTREME_ROWS = 3


def figures(
    results_dir: Path,
    out_dir: Path,
    *,
    reference: str = "scratch",
    ids: tuple[str, ...] = (),
    panel_n: int | None = None,
    only: Collection[str] = (),
    dag_csv: Path | None = None,
) -> list[Path]:
    """Write every figure that one dataset's results allow, as PNG and PDF.

    From the CSVs: label_efficiency, per_class, slopes, confusion, confusion_difference,
    training_curves; where their CSVs exist feature_space, separability, dag. From predictions.zip
    and the images of index.csv: qualitative, largest_gain, largest_loss. A figure that cannot be
    drawn is named in the log; an older one is kept, and one of `CORE` that never existed becomes a
    picture of the reason, so that a workflow finds every file it declares.

    Args:
        results_dir: `results/{dataset}`.
        out_dir: receives `{figure}.png` and `.pdf`.
        reference: the arm without pretraining.
        ids: validation images of the qualitative panel; by default some evenly spaced ones.
        panel_n: label count of panels and confusion matrices; by default the smallest, where
            labels are scarcest.
        only: names of figures to write; all where empty.
        dag_csv: the workflow's rules (`figure_dag.read_graph`); None draws none.

    Returns:
        The files written.

    Raises:
        DataError: `summary.csv` is missing or malformed.
    """
    results = read_results(results_dir)
    n = panel_n if panel_n is not None else results.label_counts[0]
    arm = results.best_arm(n, results.contrastive_arms(reference))
    drawings: dict[str, Callable[[], Figure | None]] = {
        "label_efficiency": lambda: figure_curves.label_efficiency(results),
        "per_class": lambda: figure_classes.per_class(results, reference),
        "slopes": lambda: figure_classes.slopes(results, reference, arm),
        "confusion": lambda: figure_classes.confusion(results, n),
        "confusion_difference": lambda: figure_classes.confusion_difference(results, reference, n),
        "training_curves": lambda: figure_curves.training_curves(results),
        "feature_space": lambda: figure_features.feature_space(results),
        "separability": lambda: figure_features.separability(results),
        "qualitative": lambda: _qualitative(results, n, ids),
        "largest_gain": lambda: _extreme(results, arm, reference, n, gain=True),
        "largest_loss": lambda: _extreme(results, arm, reference, n, gain=False),
    }
    if dag_csv is not None:
        drawings["dag"] = lambda: figure_dag.dag(figure_dag.read_graph(dag_csv))
    written = []
    with figure_style():
        for name, draw in drawings.items():
            if only and name not in only:
                continue
            figure, reason = _drawn(draw)
            stem = Path(out_dir) / name
            if figure is None:
                log.warning("no figure %s for %s: %s", name, results.dataset, reason)
                if name in CORE and not stem.with_suffix(".png").exists():
                    figure = note(f"{name.replace('_', ' ')}: {reason}")
            if figure is not None:
                written += save(figure, stem)
    return written


class _NothingToDraw(Exception):
    """The results give no cause for a figure, and nobody has to mend anything."""


def _drawn(draw: Callable[[], Figure | None]) -> tuple[Figure | None, str]:
    """Return the figure, or None and the reason."""
    try:
        return draw(), "the results hold nothing to draw"
    except (CsegError, OSError, _NothingToDraw) as error:  # pictures may live on another machine
        return None, str(error)


def _predicted(results: Results) -> dict[tuple[str, int, int], Path]:
    """Folders of the runs whose predictions can be painted; DataError says what is missing."""
    if not results.info or not (results.folder / "index.csv").is_file():
        raise DataError(
            f"dataset.json or index.csv is not in {results.folder}; put both there, render again"
        )
    folders = panels.run_folders(results)
    if not folders:
        raise DataError(
            f"no run below {results.folder} holds predictions.zip; put the run folders there and "
            "render again"
        )
    return folders


def _qualitative(results: Results, n: int, ids: tuple[str, ...]) -> Figure:
    folders = _predicted(results)
    seed = panels.common_seed(folders, results.arms, n)
    choice = panels.Choice(ids, ("",) * len(ids)) if ids else None
    if choice is None:
        choice = panels.fixed_ids(panels.validation_ids(results), PANEL_ROWS)
    return panels.panel(results, folders, choice, results.arms, n, seed)


def _extreme(results: Results, arm: str | None, reference: str, n: int, gain: bool) -> Figure:
    folders = _predicted(results)
    if arm is None:
        raise _NothingToDraw(f"no contrastive arm has run at n = {n}")
    seed = panels.common_seed(folders, (reference, arm), n)
    choice = panels.extreme_ids(results, arm, reference, n, seed, EXTREME_ROWS, gain)
    if choice is None:
        better = "better" if gain else "worse"
        raise _NothingToDraw(
            f"no image comes out {better} with {arm} than with {reference} at n = {n}"
        )
    return panels.panel(results, folders, choice, (reference, arm), n, seed)
