"""Label saving: how many labels an arm needs for the mIoU of the reference with n labels."""

from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd

from cseg.paper import wording
from cseg.paper.markup import Table, sections
from cseg.paper.results import RESAMPLES, Cell, Results, over_draws
from cseg.paper.statistics import (
    MIN_IMAGES,
    MIN_SEEDS,
    interval,
    labels_needed,
    resample_seeds,
)
from cseg.paper.wording import points
from cseg.storage.tables import rounded

SEEDS, IMAGES = "seeds", "validation images"  # what intervals are resampled over


def label_table(results: Results) -> tuple[pd.DataFrame, list[Table]] | str:
    """Tidy rows (one per arm and label count of the reference) and the table to print."""
    reference = results.reference
    targets = [n for n in results.label_counts if (reference, n) in results.mious]
    others = [arm for arm in results.arms if arm != reference]
    if not targets or not others:
        return f"it needs runs of {reference} and of another arm"
    rows = {(arm, n): _row(results, arm, n) for arm in others for n in targets}
    full = targets[-1]
    kinds = {"labels needed": _needed, "factor of labels saved": _factor}
    parts = [(title, [(arm, *(write(rows[arm, n]) for n in targets)) for arm in others])
             for title, write in kinds.items()]  # fmt: skip
    whole = (
        "the whole training set" if results.train_size == full
        else f"the largest n at which {reference} has run"
    )  # fmt: skip
    caption = wording.join(
        f"{results.dataset}: labels needed for the mIoU of {reference} with n labels; the last "
        f"column, n = {full}, is {whole}.",
        "Mean mIoU over seeds, interpolated linearly in log2 n; no extrapolation: ≤ if the "
        "smallest n already suffices, “not reached” if the largest does not.",
        _interval_note({row["interval_over"] for row in rows.values()}),
        wording.runs_note(results),
    )
    scores = {n: points(results.mean_std(reference, n)[0]) for n in targets}
    header = ("", "arm", *(f"n = {n} ({score} %)" for n, score in scores.items()))
    table = Table(f"{results.dataset}-label-saving", caption, header, sections(*parts))
    return pd.DataFrame(rows.values()), [table]


def _interval_note(over: Collection[str]) -> str:
    """Say what the intervals of the rows were resampled over."""
    seeds = "over seeds, as wide as a t interval of so few"
    images = "over validation images, which says nothing about other seeds"
    if SEEDS in over and IMAGES in over:
        what = f"{seeds}; of arms with fewer than {MIN_SEEDS} seeds {images}"
    elif SEEDS in over or IMAGES in over:
        what = seeds if SEEDS in over else images
    else:
        return f"No intervals: they need {MIN_SEEDS} seeds, or {MIN_IMAGES} images' per_image.csv."
    return (
        f"Brackets: 95 % bootstrap interval {what} ({RESAMPLES} resamples), each for itself, "
        "without correction."
    )


def _resampled(results: Results, cells: list[Cell]) -> tuple[str, dict[Cell, np.ndarray]]:
    """What the mIoU of these cells is resampled over, and each cell's (B,).

    Over seeds if each cell has enough of them for a test, else over images if it can be, else over
    nothing: "" and {}. The seeds of one draw (`Results.draws`) are averaged.
    """
    draws = {cell: results.draws(cell[1], sorted(results.mious[cell])) for cell in cells}
    if min(map(len, draws.values())) >= MIN_SEEDS:
        uniform_BS = np.random.default_rng(1).random((RESAMPLES, results.seeds))
        means = {c: np.array(over_draws(results.mious[c], own)) for c, own in draws.items()}
        return SEEDS, {cell: resample_seeds(own, uniform_BS) for cell, own in means.items()}
    boots = {cell: results.bootstraps.get(cell, {}) for cell in cells}
    if any(boots[cell].keys() < results.mious[cell].keys() for cell in cells):
        return "", {}
    return IMAGES, {
        cell: np.mean(over_draws(boots[cell], own), axis=0) for cell, own in draws.items()
    }


def _row(results: Results, arm: str, reference_n: int) -> dict[str, Any]:
    reference = results.reference
    counts = [n for n in results.label_counts if (arm, n) in results.mious]
    target = results.mean_std(reference, reference_n)[0]
    curve_1K = np.array([[results.mean_std(arm, n)[0] for n in counts]])
    needed = float(labels_needed(counts, curve_1K, np.array([target]))[0])
    low = high = np.nan
    cells = [(reference, reference_n), *((arm, n) for n in counts)]
    over, resampled = _resampled(results, cells)
    if over:
        target_B, *curve = (resampled[cell] for cell in cells)
        low, high = interval(labels_needed(counts, np.stack(curve, axis=1), target_B))
    status = "reached"
    if np.isinf(needed):
        status = "not reached"
    elif needed <= counts[0]:
        status = "at smallest n"
    return {
        "dataset": results.dataset,
        "arm": arm,
        "reference": reference,
        "reference_n": reference_n,
        "target_miou": target,
        "status": status,
        "labels_needed": needed if np.isfinite(needed) else np.nan,
        "labels_low": low,
        "labels_high": high,
        "factor": reference_n / needed if np.isfinite(needed) else np.nan,
        "factor_low": reference_n / high,
        "factor_high": reference_n / low,
        "interval_over": over,
        "smallest_n": counts[0],
        "largest_n": counts[-1],
    }


def _needed(row: dict[str, Any]) -> str:
    def bound(value: float) -> str:
        if np.isinf(value):
            return f"> {row['largest_n']}"
        return ("≤ " if value <= row["smallest_n"] else "") + f"{value:.0f}"

    reached = row["status"] != "not reached"
    text = bound(row["labels_needed"]) if reached else "not reached"
    if np.isnan(row["labels_low"]) or np.isinf(row["labels_low"]):
        return text
    return f"{text} [{bound(row['labels_low'])}, {bound(row['labels_high'])}]"


def _factor(row: dict[str, Any]) -> str:
    def bound(value: float) -> str:
        if value == 0:
            return f"< {rounded(row['reference_n'] / row['largest_n'], 2)}"
        at_edge = value >= row["reference_n"] / row["smallest_n"]
        return ("≥ " if at_edge else "") + rounded(value, 2)

    if row["status"] == "not reached":
        return "–"
    text = f"× {bound(row['factor'])}".replace("× ≥ ", "≥ × ")
    if np.isnan(row["factor_low"]):
        return text
    return f"{text} [{bound(row['factor_low'])}, {bound(row['factor_high'])}]"
