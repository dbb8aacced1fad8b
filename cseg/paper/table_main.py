"""The main tables: which arm to take at each label count, and arms x label counts."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from cseg.paper import wording
from cseg.paper.markup import Lines, Table, sections, strong
from cseg.paper.recommend import Recommendation, recommend, share_of_all_labels
from cseg.paper.results import Results
from cseg.paper.statistics import Comparison, holm
from cseg.paper.wording import bracketed, listing, plural, points, with_std


def test_columns(each: Comparison | None) -> dict[str, object]:
    """Columns of a table that say what a comparison found; empty for None."""
    names = ("difference", "low", "high", "p", "test")
    found = asdict(each) if each else dict.fromkeys(names, np.nan) | {"test": ""}
    return {name: found[name] for name in names}


def recommendation_table(results: Results) -> tuple[pd.DataFrame, list[Table]]:
    """Tidy rows (one per label count and other arm) and the table to print, one row per n."""
    found = recommend(results)
    rows = [
        {"dataset": results.dataset, "n": each.n, "arm": each.arm, "runs": each.seeds,
         "miou_mean": each.mean, "miou_std": each.std, "other": other, **test_columns(by)}
        for each in found
        for other, by in each.rivals or ((None, None),)
    ]  # fmt: skip
    caption = wording.join(
        f"{results.dataset}: the best arm at each label count, mIoU (%) on the validation images, "
        "mean ± sample standard deviation over seeds, and how far it lies above the next, in "
        "points, with its interval.",
        "Bold: all other arms are significantly worse. The comparisons of each label count are "
        "corrected together.",
        wording.tests_note(by for each in found[:1] for _, by in each.rivals),
    )
    header = ("n", "take", "mIoU (%)", "next", "above it (points)", "not decided between")
    printed = tuple(_recommended(each) for each in found)
    label = f"{results.dataset}-recommendation"
    return pd.DataFrame(rows), [Table(label, caption, header, printed, frozenset({1, 3, 5}))]


def _recommended(each: Recommendation) -> tuple[str, ...]:
    (rival, by) = each.rivals[0] if each.rivals else ("–", None)
    between = listing((each.arm, *each.tied)) if each.tied else "–"
    score = with_std(each.mean, each.std)
    arm = strong(each.arm) if each.decided else each.arm
    return str(each.n), arm, score, rival, bracketed(by), between


def main_table(results: Results) -> tuple[pd.DataFrame, list[Table]]:
    """Tidy rows (one per arm and n, gaps included) and the table to print."""
    cells = [(arm, n) for arm in results.arms for n in results.label_counts]
    compared = [cell for cell in cells if cell[0] != results.reference]
    pairs = [results.difference(cell, (results.reference, cell[1])) for cell in compared]
    tests = dict(zip(compared, holm(pairs)))
    best = {each.n: each for each in recommend(results)}
    rows = {cell: _row(results, *cell, tests.get(cell), best.get(cell[1])) for cell in cells}

    def lines(arms: Sequence[str], write: Callable[[str, int], str]) -> Lines:
        return [(arm, *(write(arm, n) for n in results.label_counts)) for arm in arms]

    def mean(arm: str, n: int) -> str:
        cell = rows[arm, n]
        text = with_std(cell["miou_mean"], cell["miou_std"])
        text += f" ({plural(cell['runs'], 'run')})" if 0 < cell["runs"] < results.seeds else ""
        return strong(text) if cell["best"] and best[n].decided else text

    def difference(arm: str, n: int) -> str:
        text = bracketed(tests[arm, n])
        return strong(text) if tests[arm, n].significant else text

    others = [arm for arm in results.arms if arm != results.reference]
    parts = [
        ("mIoU (%)", lines(results.arms, mean)),
        (f"above {results.reference} (points)", lines(others, difference)),
    ]
    if any(cell["share_of_all_labels"] >= 0 for cell in rows.values()):  # NaN without such a run
        shares = lines(results.arms, lambda arm, n: points(rows[arm, n]["share_of_all_labels"]))
        parts.append(("share of the best score with all labels (%)", shares))
    caption = wording.join(
        f"{results.dataset}: mIoU (%) on the validation images, mean ± sample standard deviation "
        f"over seeds, and differences to {results.reference} in points over the seeds both arms "
        "have, with their intervals.",
        wording.runs_note(results),
        wording.spread_note(results),
        "Bold: significantly above every other arm of its column; a significant difference."
        if len(results.arms) > 1
        else "",
        wording.tests_note(tests.values()),
        wording.full_set_note(results),
        wording.settings_note(results),
        wording.terms_note(results),
    )
    header = ("", "arm", *(f"n = {n}" for n in results.label_counts))
    table = Table(f"{results.dataset}-main", caption, header, sections(*parts))
    return pd.DataFrame(rows.values()), [table]


def _row(
    results: Results, arm: str, n: int, each: Comparison | None, best: Recommendation | None
) -> dict[str, Any]:
    subset_std, init_std = results.split_spread([(arm, n)])
    return {
        "dataset": results.dataset,
        **results.score(arm, n),
        "subset_std": subset_std,
        "init_std": init_std,
        "share_of_all_labels": share_of_all_labels(results, arm, n),
        "reference": "" if each is None else results.reference,
        **test_columns(each),
        "best": "best" if best and arm == best.arm else "",
    }
