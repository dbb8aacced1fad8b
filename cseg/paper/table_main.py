"""The main table: arms x label counts, mIoU with spread, differences, what is significant."""

import numpy as np
import pandas as pd

from cseg.paper import captions
from cseg.paper.markup import Section, Table
from cseg.paper.results import Results
from cseg.paper.statistics import Comparison, mean_std
from cseg.paper.wording import plural, points, points_std, signed

Comparisons = dict[tuple[str, int, str], Comparison]


def main_table(
    results: Results, references: tuple[str, ...], published: pd.DataFrame
) -> tuple[pd.DataFrame, list[Table]]:
    """Tidy rows (one per arm and n, gaps included) and the table to print.

    Args:
        results: one dataset.
        references: arms that the others are compared with, those without runs are passed over.
        published: rows of `published.csv` that hold an mIoU for this dataset, in points.
    """
    references = tuple(arm for arm in references if arm in results.arms)
    comparisons = {
        (arm, n, reference): results.compare(arm, reference, n)
        for reference in references
        for arm in results.arms
        for n in results.label_counts
        if arm != reference
    }
    best = {n: _best(results, n) for n in results.label_counts}
    rows = [
        _row(results, arm, n, references, comparisons, best[n], published)
        for arm in results.arms
        for n in results.label_counts
    ]
    frame = pd.DataFrame(rows)
    tests = [*comparisons.values(), *(won for _, won in best.values() if won is not None)]
    sections = [_means(results, frame)]
    sections += [_differences(results, frame, reference) for reference in references
                 if len(results.arms) > 1]  # fmt: skip
    if frame["published"].notna().any():
        sections.append(_published(results, frame))
    caption = captions.join(
        f"{results.dataset}: mIoU (%) on the validation images, mean ± sample standard deviation "
        "over seeds, and differences in points over the seeds both arms have.",
        captions.runs_note(results),
        "Bold: best of its column, where it differs from the runner-up; *: differs from the "
        "reference."
        if len(results.arms) > 1
        else "",
        captions.tests_note(tests),
        captions.full_set_note(results),
        captions.settings_note(results),
        captions.terms_note(results),
    )
    header = ("arm", *(f"n = {n}" for n in results.label_counts))
    return frame, [Table(f"{results.dataset}-main", caption, header, tuple(sections))]


def _best(results: Results, n: int) -> tuple[str | None, Comparison | None]:
    """Find the best arm at n, and compare it with the runner-up."""
    first = results.best_arm(n, results.arms)
    others = tuple(arm for arm in results.arms if arm != first)
    second = results.best_arm(n, others)
    return first, results.compare(first, second, n) if first and second else None


def _row(
    results: Results,
    arm: str,
    n: int,
    references: tuple[str, ...],
    comparisons: Comparisons,
    best: tuple[str | None, Comparison | None],
    published: pd.DataFrame,
) -> dict[str, object]:
    values = list(results.mious.get((arm, n), {}).values())
    mean, std = mean_std(values)
    row: dict[str, object] = {
        "dataset": results.dataset,
        "arm": arm,
        "n": n,
        "runs": len(values),
        "miou_mean": mean,
        "miou_std": std,
    }
    for reference in references:
        each = comparisons.get((arm, n, reference))
        prefix = f"diff_{reference}"
        row[prefix] = each.difference if each else np.nan
        row[f"{prefix}_low"] = each.low if each else np.nan
        row[f"{prefix}_high"] = each.high if each else np.nan
        row[f"{prefix}_p"] = each.p if each else np.nan
        row[f"{prefix}_test"] = each.test if each else ""
    winner, won = best
    row["best"] = "best" if arm == winner else ""
    row["best_p"] = won.p if won and arm == winner else np.nan
    row["best_test"] = won.test if won and arm == winner else ""
    match = published[(published["arm"] == arm) & (published["n"] == n)]
    value = float(match["value"].iloc[0]) / 100 if len(match) else np.nan
    row["published"] = value
    row["published_diff"] = mean - value
    within = abs(mean - value) <= std  # NaN compares as False
    row["published_within_std"] = "" if np.isnan(mean - value) else ("yes" if within else "no")
    row["published_source"] = match["source"].iloc[0] if len(match) else ""
    return row


def _grid(results: Results, frame: pd.DataFrame) -> list[list[pd.Series]]:
    indexed = frame.set_index(["arm", "n"])
    return [[indexed.loc[(arm, n)] for n in results.label_counts] for arm in results.arms]


def _means(results: Results, frame: pd.DataFrame) -> Section:
    seeds = results.summary["seed"].nunique()
    rows, bold = [], set()
    for r, cells in enumerate(_grid(results, frame)):
        texts = []
        for c, cell in enumerate(cells):
            text = points_std(cell["miou_mean"], cell["miou_std"])
            if 0 < cell["runs"] < seeds:
                text += f" ({plural(cell['runs'], 'run')})"
            texts.append(text)
            if cell["best"] and cell["best_p"] < 0.05:
                bold.add((r, c + 1))
        rows.append((results.arms[r], *texts))
    return Section("mIoU (%)", tuple(rows), frozenset(bold))


def _differences(results: Results, frame: pd.DataFrame, reference: str) -> Section:
    prefix = f"diff_{reference}"
    rows = []
    for arm, cells in zip(results.arms, _grid(results, frame)):
        if arm != reference:
            marks = ["*" if cell[f"{prefix}_p"] < 0.05 else "" for cell in cells]
            rows.append((arm, *(signed(cell[prefix]) + m for cell, m in zip(cells, marks))))
    return Section(f"difference to {reference} (points)", tuple(rows))


def _published(results: Results, frame: pd.DataFrame) -> Section:
    rows = []
    for arm, cells in zip(results.arms, _grid(results, frame)):
        texts = [
            "–" if np.isnan(cell["published"])
            else f"{points(cell['published'])} ({signed(cell['published_diff'])}, "
                 f"within spread: {cell['published_within_std'] or '–'})"
            for cell in cells
        ]  # fmt: skip
        if any(text != "–" for text in texts):
            rows.append((arm, *texts))
    return Section("published (%), difference of ours to it (points)", tuple(rows))
