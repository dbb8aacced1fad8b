"""Curves: mIoU over label counts, and training loss over steps."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.pyplot import subplots
from matplotlib.ticker import MaxNLocator

from cseg.paper.results import Results
from cseg.paper.statistics import mean_std
from cseg.paper.style import INCH_WIDTH, ArmStyle, arm_styles, legend_below

BINS = 100  # points per training curve


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
    for r, stage in enumerate(stages):
        for c, n in enumerate(counts):
            axes = panels[r, c]
            here = curves[(curves["stage"] == stage) & (curves["n"] == n)]
            for arm, style in styles.items():
                _curve(axes, here[here["arm"] == arm], style, arm)
            axes.set_title(f"{stage}, n = {n}")
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            if r == len(stages) - 1:
                axes.set_xlabel("step")
        panels[r, 0].set_ylabel(
            "contrastive loss (nats)" if stage == "pretrain" else "cross-entropy (nats)"
        )
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
