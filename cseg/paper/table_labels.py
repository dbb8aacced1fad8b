"""Label saving: how many labels an arm needs for the mIoU of the reference with n labels."""

from typing import Any

import numpy as np
import pandas as pd

from cseg.paper import wording
from cseg.paper.markup import Table, sections
from cseg.paper.results import RESAMPLES, Results
from cseg.paper.statistics import interval, labels_needed, resample_seeds
from cseg.paper.wording import points


def label_table(results: Results) -> tuple[pd.DataFrame, list[Table]] | str:
    """Tidy rows (one per arm and label count of the reference) and the table to print."""
    reference = results.reference
    targets = [n for n in results.label_counts if (reference, n) in results.mious]
    others = [arm for arm in results.arms if arm != reference]
    if not targets or not others:
        return f"it needs runs of {reference} and of another arm"
    resampled = _resampled(results)
    rows = {(arm, n): _row(results, arm, n, resampled) for arm in others for n in targets}
    full = targets[-1]
    kinds = {"labels needed": _needed, "factor of labels saved": _factor}
    parts = [(title, [(arm, *(write(rows[arm, n]) for n in targets)) for arm in others])
             for title, write in kinds.items()]  # fmt: skip
    whole = "the whole training set" if results.train_size == full else "the largest n that has run"
    caption = wording.join(
        f"{results.dataset}: labels needed for the mIoU of {reference} with n labels; the last "
        f"column, n = {full}, is {whole}.",
        "Mean mIoU over seeds, interpolated linearly in log2 n; no extrapolation: ≤ if the "
        "smallest n already suffices, “not reached” if the largest does not.",
        _interval_note(results),
        wording.runs_note(results),
    )
    scores = {n: points(results.mean_std(reference, n)[0]) for n in targets}
    header = ("", "arm", *(f"n = {n} ({score} %)" for n, score in scores.items()))
    table = Table(f"{results.dataset}-label-saving", caption, header, sections(*parts))
    return pd.DataFrame(rows.values()), [table]


def _interval_note(results: Results) -> str:
    what = ["seeds"] * (results.seeds > 1) + ["validation images"] * bool(results.bootstraps)
    if not what:
        return "One seed and no per-image counts: no intervals."
    return f"Brackets: 95 % bootstrap interval over {' and '.join(what)} ({RESAMPLES} resamples)."


def _resampled(results: Results) -> dict[tuple[str, int], np.ndarray]:
    """Each cell's mIoU under resampled seeds and images, {} if nothing can be resampled."""
    if results.seeds == 1 and not results.bootstraps:
        return {}
    draws_BS = np.random.default_rng(1).random((RESAMPLES, results.seeds))
    return {
        cell: resample_seeds(results.bootstraps.get(cell, {}), by_seed, draws_BS)
        for cell, by_seed in results.mious.items()
    }


def _row(
    results: Results, arm: str, reference_n: int, resampled: dict[tuple[str, int], np.ndarray]
) -> dict[str, Any]:
    reference = results.reference
    counts = [n for n in results.label_counts if (arm, n) in results.mious]
    target = results.mean_std(reference, reference_n)[0]
    curve_1K = np.array([[results.mean_std(arm, n)[0] for n in counts]])
    needed = float(labels_needed(counts, curve_1K, np.array([target]))[0])
    low = high = np.nan
    if resampled:
        curves_BK = np.stack([resampled[arm, n] for n in counts], axis=1)
        low, high = interval(labels_needed(counts, curves_BK, resampled[reference, reference_n]))
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
            return f"< {row['reference_n'] / row['largest_n']:.2g}"
        at_edge = value >= row["reference_n"] / row["smallest_n"]
        return ("≥ " if at_edge else "") + f"{value:.2g}"

    if row["status"] == "not reached":
        return "–"
    text = f"× {bound(row['factor'])}".replace("× ≥ ", "≥ × ")
    if np.isnan(row["factor_low"]):
        return text
    return f"{text} [{bound(row['factor_low'])}, {bound(row['factor_high'])}]"
