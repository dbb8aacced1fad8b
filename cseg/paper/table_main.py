"""The main tables: which arm to take at each label count, and arms x label counts."""

from dataclasses import asdict

import numpy as np
import pandas as pd

from cseg.paper import captions
from cseg.paper.markup import Table, sections
from cseg.paper.recommend import Recommendation, recommend, share_of_all_labels
from cseg.paper.results import Results
from cseg.paper.statistics import Comparison, holm
from cseg.paper.wording import bracketed, listing, plural, points, points_std


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
    caption = captions.join(
        f"{results.dataset}: the best arm at each label count, mIoU (%) on the validation images, "
        "mean ± sample standard deviation over seeds, and how far it lies above the next, in "
        "points, with its interval.",
        "Bold: all other arms are significantly worse. The comparisons of each label count are "
        "corrected together.",
        captions.tests_note(by for each in found[:1] for _, by in each.rivals),
    )
    header = ("n", "take", "mIoU (%)", "next", "above it (points)", "not decided between")
    printed = tuple(_recommended(each) for each in found)
    bold = frozenset((r, 1) for r, each in enumerate(found) if each.rivals and not each.tied)
    table = Table(
        f"{results.dataset}-recommendation", caption, header, printed, bold, frozenset({1, 3, 5})
    )
    return pd.DataFrame(rows), [table]


def _recommended(each: Recommendation) -> tuple[str, ...]:
    (rival, by) = each.rivals[0] if each.rivals else ("–", None)
    between = listing((each.arm, *each.tied)) if each.tied else "–"
    score = points_std(each.mean, each.std)
    return str(each.n), each.arm, score, rival, bracketed(by), between


def main_table(results: Results) -> tuple[pd.DataFrame, list[Table]]:
    """Tidy rows (one per arm and n, gaps included) and the table to print."""
    cells = [(arm, n) for arm in results.arms for n in results.label_counts]
    others = [(arm, n) for arm, n in cells if arm != results.reference]
    compared = holm([results.difference(cell, (results.reference, cell[1])) for cell in others])
    tests = dict(zip(others, compared))
    best = {each.n: each for each in recommend(results)}
    frame = pd.DataFrame([_row(results, *cell, tests.get(cell), best) for cell in cells])

    counts = range(len(results.label_counts))
    grid = {arm: [frame.iloc[a * len(counts) + c] for c in counts]
            for a, arm in enumerate(results.arms)}  # fmt: skip
    means = [(arm, *(_mean(cell, results.seeds) for cell in row)) for arm, row in grid.items()]
    differences = [(arm, *(bracketed(tests[arm, n]) for n in results.label_counts))
                   for arm in results.arms if arm != results.reference]  # fmt: skip
    parts = [("mIoU (%)", means), (f"above {results.reference} (points)", differences)]
    if frame["share_of_all_labels"].notna().any():
        shares = [(arm, *(points(cell["share_of_all_labels"]) for cell in row))
                  for arm, row in grid.items()]  # fmt: skip
        parts.append(("share of the best score with all labels (%)", shares))
    bold = {
        (a, 2 + c) for a, row in enumerate(grid.values()) for c in counts
        if row[c]["best"] and best[row[c]["n"]].rivals and not best[row[c]["n"]].tied
    } | {
        (len(means) + r, 2 + c) for r, (arm, *_) in enumerate(differences)
        for c, n in enumerate(results.label_counts) if tests[arm, n].significant
    }  # fmt: skip
    caption = captions.join(
        f"{results.dataset}: mIoU (%) on the validation images, mean ± sample standard deviation "
        f"over seeds, and differences to {results.reference} in points over the seeds both arms "
        "have, with their intervals.",
        captions.runs_note(results),
        captions.spread_note(results),
        "Bold: significantly above every other arm of its column; a significant difference."
        if len(results.arms) > 1
        else "",
        captions.tests_note(tests.values()),
        captions.full_set_note(results),
        captions.settings_note(results),
        captions.terms_note(results),
    )
    header = ("", "arm", *(f"n = {n}" for n in results.label_counts))
    table = Table(f"{results.dataset}-main", caption, header, sections(*parts), frozenset(bold))
    return frame, [table]


def _row(
    results: Results, arm: str, n: int, each: Comparison | None, best: dict[int, Recommendation]
) -> dict[str, object]:
    mean, std = results.mean_std(arm, n)
    subset_std, init_std = results.split_spread([(arm, n)])
    return {
        "dataset": results.dataset,
        "arm": arm,
        "n": n,
        "runs": len(results.mious.get((arm, n), {})),
        "miou_mean": mean,
        "miou_std": std,
        "subset_std": subset_std,
        "init_std": init_std,
        "share_of_all_labels": share_of_all_labels(results, arm, n),
        "reference": "" if each is None else results.reference,
        **test_columns(each),
        "best": "best" if n in best and arm == best[n].arm else "",
    }


def _mean(cell: pd.Series, seeds: int) -> str:
    text = points_std(cell["miou_mean"], cell["miou_std"])
    return text + (f" ({plural(cell['runs'], 'run')})" if 0 < cell["runs"] < seeds else "")
