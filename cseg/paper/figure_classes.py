"""Figures of classes: IoU by arm, confusion matrices, features before fine-tuning."""

from collections.abc import Sequence

import numpy as np
import seaborn
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.pyplot import subplots

from cseg.paper.results import Results
from cseg.paper.style import ARM_COLOURS, INCH_WIDTH, MARKERS, arm_styles, legend_below
from cseg.paper.table_means import class_means

CONFUSION_NUMBERS = 12  # up to so many classes the cells carry their numbers
MARKER_ROOM = 0.035  # inches of a class's row for each arm
METHODS = {"pca": "PCA", "tsne": "t-SNE"}


def shown_counts(counts: Sequence[int]) -> list[int]:
    """Choose the label counts that fit beside each other: smallest, middle, largest."""
    if len(counts) <= 3:
        return list(counts)
    return [counts[0], counts[len(counts) // 2], counts[-1]]


def per_class(results: Results) -> Figure | None:
    """Dot plot of IoU per class: a panel per label count, a marker per arm, bars of ± std.

    Of more than three label counts the smallest, the middle and the largest; the table has all.
    """
    if results.tables["per_class"].empty:
        return None
    means = class_means(results)
    names, counts = results.class_names, shown_counts(results.label_counts)
    row = 0.1 + MARKER_ROOM * len(results.arms)
    figure, panels = subplots(
        1, len(counts), figsize=(INCH_WIDTH if len(counts) > 1 else INCH_WIDTH * 0.7,
                                 1.0 + row * len(names)),
        sharex=True, sharey=True, squeeze=False,
    )  # fmt: skip
    styles = arm_styles(results.arms)
    offsets = np.linspace(-0.3, 0.3, len(styles)) if len(styles) > 1 else [0.0]
    for axes, n in zip(panels.flat, counts):
        for (arm, style), offset in zip(styles.items(), offsets):
            cell = means[(means["arm"] == arm) & (means["n"] == n)].set_index("class_id")
            cell = cell.reindex(range(len(names)))
            axes.errorbar(
                100 * cell["iou_mean"], np.arange(len(names)) + offset,
                xerr=100 * cell["iou_std"].fillna(0), fmt=style.marker, color=style.color, ms=3.5,
                elinewidth=0.9, label=arm, mfc="white" if style.linestyle == "--" else style.color,
            )  # fmt: skip
        for edge in range(1, len(names)):
            axes.axhline(edge - 0.5, color="#eeeeee", lw=0.6, zorder=0)
        axes.grid(axis="y", visible=False)
        axes.set_yticks(range(len(names)), names)
        axes.set(title=f"n = {n}", ylim=(len(names) - 0.5, -0.5), xlabel="IoU (%)")
    legend_below(figure, panels.flat[0])
    return figure


def confusion_matrices(results: Results, n: int) -> dict[str, np.ndarray]:
    """Confusion (C, C) of each arm at n as shares of the truth, over all seeds; absent rows NaN."""
    rows, classes = results.tables["confusion"], range(len(results.class_names))
    matrices = {}
    for arm in results.arms if len(rows) else ():
        cell = rows[(rows["arm"] == arm) & (rows["n"] == n)]
        if len(cell):
            pixels = cell.pivot_table("pixels", "truth", "predicted", "sum", fill_value=0)
            pixels = pixels.reindex(index=classes, columns=classes, fill_value=0)
            total = pixels.sum(axis=1)
            matrices[arm] = pixels.div(total.where(total > 0), axis=0).to_numpy()
    return matrices


def confusion(results: Results, n: int) -> Figure | None:
    """Confusion matrix of each arm at n, each row in percent of the true pixels."""
    found = confusion_matrices(results, n)
    return _matrices(results, found, "Blues", (0, 100), f"n = {n}: share of true pixels (%)")


def confusion_difference(results: Results, n: int) -> Figure | None:
    """Each arm's confusion matrix minus the reference's, in points; red is more, blue less."""
    matrices = confusion_matrices(results, n)
    base = matrices.pop(results.reference, None)
    if base is None or not matrices:
        return None
    found = {f"{arm} − {results.reference}": matrix - base for arm, matrix in matrices.items()}
    most = max(1.0, 100 * max(np.nanmax(np.abs(matrix)) for matrix in found.values()))
    return _matrices(results, found, "RdBu_r", (-most, most), f"n = {n}: difference (points)")


def _matrices(
    results: Results,
    found: dict[str, np.ndarray],
    colours: str,
    limits: tuple[float, float],
    unit: str,
) -> Figure | None:
    if not found:
        return None
    names = results.class_names
    columns = min(len(found), 3)
    rows = -(-len(found) // columns)
    size = 7.5 if len(names) <= CONFUSION_NUMBERS else 5.5
    side = INCH_WIDTH * 1.35 / columns if columns > 1 else INCH_WIDTH * 0.7
    figure, panels = subplots(rows, columns, figsize=(side * columns, (side * 0.92) * rows),
                              squeeze=False, sharex=True, sharey=True)  # fmt: skip
    for axes, (title, matrix) in zip(panels.flat, found.items()):
        values = 100 * matrix
        numbers = np.vectorize(_whole)(values) if len(names) <= CONFUSION_NUMBERS else None
        seaborn.heatmap(
            values, ax=axes, cmap=colours, vmin=limits[0], vmax=limits[1], square=True, cbar=False,
            annot=numbers, fmt="", annot_kws={"fontsize": 7 if len(names) <= 7 else 5},
            xticklabels=names, yticklabels=names,
        )  # fmt: skip
        axes.set_title(title)
        axes.tick_params(axis="x", labelrotation=90, labelsize=size)
        axes.tick_params(axis="y", labelrotation=0, labelsize=size)
        axes.grid(visible=False)
    for axes in panels.flat[len(found) :]:
        axes.set_visible(False)
    for axes in panels[:, 0]:
        axes.set_ylabel("truth")
    for axes in panels.flat[: len(found)][-columns:]:
        axes.tick_params(labelbottom=True)  # also above a panel that is left empty
        axes.set_xlabel("predicted")
    figure.colorbar(panels.flat[0].collections[0], ax=panels, shrink=0.6, label=unit)
    return figure


def _whole(value: float) -> str:
    """A value of a cell without decimals; nothing for an absent class."""
    if not np.isfinite(value):
        return ""
    text = f"{value:.0f}".replace("-", "−")
    return "0" if text == "−0" else text


def feature_space(results: Results) -> Figure | None:
    """Projected features of the same pixels: a row per method, a column per arm, smallest n.

    Projections are made per arm, so axes have no unit and are not shared.
    """
    rows = results.tables["features"]
    if rows.empty:
        return None
    n = rows["n"].min()
    rows = rows[rows["n"] == n]
    rows = rows[rows["seed"] == rows["seed"].min()]
    methods = [method for method in METHODS if (rows["method"] == method).any()]
    arms = [arm for arm in results.arms if (rows["arm"] == arm).any()]
    if not methods or not arms:
        return None
    width = min(2.1, INCH_WIDTH * 1.5 / len(arms))
    figure, panels = subplots(len(methods), len(arms), squeeze=False,
                              figsize=(max(3.5, width * len(arms)),
                                       width * len(methods) + 0.6))  # fmt: skip
    names = results.class_names
    for r, method in enumerate(methods):
        for c, arm in enumerate(arms):
            axes = panels[r, c]
            cell = rows[(rows["method"] == method) & (rows["arm"] == arm)]
            for class_id, points in cell.groupby("class_id"):
                colour, marker = class_style(int(class_id))
                axes.scatter(points["x"], points["y"], s=6, color=colour, marker=marker, lw=0,
                             alpha=0.75, rasterized=len(cell) > 3000)  # fmt: skip
            axes.set(xticks=[], yticks=[])
            if r == 0:
                axes.set_title(arm)
        panels[r, 0].set_ylabel(f"{METHODS[method]}, n = {n}")
    classes = sorted(int(c) for c in rows["class_id"].unique() if 0 <= c < len(names))
    handles = [
        Line2D([], [], linestyle="", color=class_style(c)[0], marker=class_style(c)[1],
               label=names[c])
        for c in classes
    ]  # fmt: skip
    legend_below(figure, handles)
    return figure


def class_style(class_id: int) -> tuple[str, str]:
    """Colour and marker of a class: distinct pairs for up to ninety classes."""
    return ARM_COLOURS[class_id % len(ARM_COLOURS)], MARKERS[
        (class_id % len(ARM_COLOURS) + class_id // len(ARM_COLOURS)) % len(MARKERS)
    ]
