"""Plots: mIoU over labels, loss over steps; IoU, confusion and features of classes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.pyplot import subplots
from matplotlib.ticker import MaxNLocator

from cseg.paper.results import Results
from cseg.paper.statistics import mean_std
from cseg.paper.style import ARM_COLOURS, INCH_WIDTH, MARKERS, ArmStyle, arm_styles, legend_below
from cseg.paper.table_means import class_means

BINS = 100  # points per training curve
CONFUSION_NUMBERS = 12  # up to so many classes the cells carry their numbers
MARKER_ROOM = 0.035  # inches of a class's row for each arm
METHODS = {"pca": "PCA", "tsne": "t-SNE"}


def label_efficiency(results: Results) -> Figure:
    """Mean mIoU by label count, one line per arm, bands of ± one standard deviation over seeds.

    A line breaks where its arm has no run at a label count. A single label count gives a dot plot.
    """
    if len(results.label_counts) == 1:
        return _single_count(results)
    figure, axes = subplots(figsize=(INCH_WIDTH * 0.72, 3.6))
    counts = np.array(results.label_counts, float)
    for arm, style in arm_styles(results.arms).items():
        mean, std = 100 * np.array([results.mean_std(arm, n) for n in results.label_counts]).T
        band = np.where(np.isnan(std), 0, std)
        axes.plot(counts, mean, label=arm, color=style.color, marker=style.marker,
                  linestyle=style.linestyle)  # fmt: skip
        axes.fill_between(counts, mean - band, mean + band, color=style.color, alpha=0.18, lw=0)
    axes.set_xscale("log", base=2)
    axes.set_xticks(results.label_counts, [str(n) for n in results.label_counts])
    axes.minorticks_off()
    axes.set(xlabel="labelled images n (log2 scale)", ylabel="validation mIoU (%)")
    legend_below(figure, axes)
    return figure


def _single_count(results: Results) -> Figure:
    n = results.label_counts[0]
    figure, axes = subplots(figsize=(INCH_WIDTH * 0.72, 0.8 + 0.32 * len(results.arms)))
    styles = arm_styles(results.arms)
    for y, arm in enumerate(results.arms):
        values = 100 * np.array(list(results.mious.get((arm, n), {}).values()))
        mean, std = mean_std(values)
        color, marker = styles[arm].color, styles[arm].marker
        axes.plot(values, [y] * len(values), "|", color=color, ms=9)
        axes.errorbar(mean, y, xerr=None if np.isnan(std) else std, color=color,
                      fmt=marker, capsize=2)  # fmt: skip
    axes.set_yticks(range(len(results.arms)), results.arms)
    axes.set(ylim=(len(results.arms) - 0.5, -0.5), xlabel=f"validation mIoU (%), n = {n}")
    return figure


def training_curves(results: Results) -> Figure | None:
    """Loss over steps: one row of panels per stage, one column per label count."""
    curves = results.tables["curves"]
    if curves.empty:
        return None
    stages = [stage for stage in ("pretrain", "finetune") if (curves["stage"] == stage).any()]
    counts = results.label_counts
    figure, panels = subplots(
        len(stages),
        len(counts),
        figsize=(max(INCH_WIDTH * 0.6, min(INCH_WIDTH * 1.5, 2.3 * len(counts))),
                 2.1 * len(stages) + 0.5),
        sharey="row",
        squeeze=False,
    )  # fmt: skip
    styles = arm_styles(results.arms)
    for row, stage in zip(panels, stages):
        for axes, n in zip(row, counts):
            here = curves[(curves["stage"] == stage) & (curves["n"] == n)]
            for arm, style in styles.items():
                _curve(axes, here[here["arm"] == arm], style, arm)
            axes.set_title(f"{stage}, n = {n}")
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        loss = "contrastive loss" if stage == "pretrain" else "cross-entropy"
        row[0].set_ylabel(f"{loss} (nats)")
    for axes in panels[-1]:
        axes.set_xlabel("step")
    legend_below(figure, panels[-1, 0])
    return figure


def _curve(axes: Axes, rows: pd.DataFrame, style: ArmStyle, arm: str) -> None:
    """Mean of loss over seeds in bins of steps; the legend entry exists even for a gap."""
    if rows.empty:
        axes.plot([], [], color=style.color, linestyle=style.linestyle, label=arm)
        return
    width = max(1.0, (rows["step"].max() + 1) / BINS)
    binned = rows.assign(bin=(rows["step"] // width).astype(int))
    by_seed = binned.groupby(["bin", "seed"])[["step", "loss"]].mean().groupby("bin")
    means = by_seed.mean()
    spread = by_seed["loss"].std().fillna(0)
    axes.plot(means["step"], means["loss"], color=style.color, linestyle=style.linestyle,
              lw=1, label=arm)  # fmt: skip
    axes.fill_between(means["step"], means["loss"] - spread, means["loss"] + spread,
                      color=style.color, alpha=0.18, lw=0)  # fmt: skip


def shown_counts(counts: Sequence[int]) -> list[int]:
    """Choose the label counts that fit beside each other: smallest, middle, largest."""
    return sorted({counts[0], counts[len(counts) // 2], counts[-1]})


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
    found, unit = confusion_matrices(results, n), f"n = {n}: share of true pixels (%)"
    return _matrices(results, found, unit, cmap="Blues", vmin=0, vmax=100) if found else None


def confusion_difference(results: Results, n: int) -> Figure | None:
    """Each arm's confusion matrix minus the reference's, in points; red is more, blue less."""
    matrices = confusion_matrices(results, n)
    base = matrices.pop(results.reference, None)
    if base is None or not matrices:
        return None
    found = {f"{arm} − {results.reference}": matrix - base for arm, matrix in matrices.items()}
    most = max(1.0, 100 * max(np.nanmax(np.abs(matrix)) for matrix in found.values()))
    unit = f"n = {n}: difference (points)"
    return _matrices(results, found, unit, cmap="RdBu_r", vmin=-most, vmax=most)


def _matrices(results: Results, found: dict[str, np.ndarray], unit: str, **look: Any) -> Figure:
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
            values, ax=axes, square=True, cbar=False, xticklabels=names, yticklabels=names,
            annot=numbers, fmt="", annot_kws={"fontsize": 7 if len(names) <= 7 else 5}, **look,
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
    for row, method in zip(panels, methods):
        for axes, arm in zip(row, arms):
            cell = rows[(rows["method"] == method) & (rows["arm"] == arm)]
            for class_id, points in cell.groupby("class_id"):
                colour, marker = class_style(int(class_id))
                axes.scatter(points["x"], points["y"], s=6, color=colour, marker=marker, lw=0,
                             alpha=0.75, rasterized=len(cell) > 3000)  # fmt: skip
            axes.set(xticks=[], yticks=[])
        row[0].set_ylabel(f"{METHODS[method]}, n = {n}")
    for axes, arm in zip(panels[0], arms):
        axes.set_title(arm)
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
