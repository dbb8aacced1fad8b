"""Tables of compared mIoU: the arm to take, arms x label counts, pseudo labels, ablations."""

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
from cseg.settings.run import TEACHER_SUFFIX


def test_columns(each: Comparison | None) -> dict[str, object]:
    """Columns of a table that say what a comparison found; empty for None."""
    names = ("difference", "low", "high", "p", "test")
    found = asdict(each) if each else dict.fromkeys(names, np.nan) | {"test": ""}
    return {name: found[name] for name in names}


def recommendation_table(results: Results) -> tuple[pd.DataFrame, list[Table]]:
    """Tidy rows (one per label count and other arm) and the table to print, one row per n."""
    found = recommend(results)
    rows = [
        {"dataset": results.dataset, "n": each.n, **results.score(each.arm, each.n),
         "other": other, **test_columns(by)}
        for each in found
        for other, by in each.rivals or ((None, None),)
    ]  # fmt: skip
    caption = wording.join(
        f"{results.dataset}: the best arm at each label count, mIoU (%) on the validation images, "
        "mean ± sample standard deviation over seeds, and how far it lies above the next, in "
        "points, with its interval.",
        "Bold: all other arms are significantly worse.",
        wording.tests_note(by for each in found for _, by in each.rivals),
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


def pseudo_table(results: Results) -> tuple[pd.DataFrame, list[Table]] | str:
    """Each arm with and without pseudo labels, and how good those were (pseudo.csv)."""
    taught = [arm for arm in results.arms if arm + TEACHER_SUFFIX in results.arms]
    settings = (("without", ""), ("with pseudo labels", TEACHER_SUFFIX))
    plan = [(arm, setting, arm + suffix) for arm in taught for setting, suffix in settings]
    if not plan:
        return f"no arm has a partner named *{TEACHER_SUFFIX}"
    quality = results.tables["pseudo"].reindex(columns=["arm", "n", "miou", "kept"])
    means = quality.groupby(["arm", "n"])[["miou", "kept"]].mean()

    def measured(arm: str) -> Lines:
        taught = arm + TEACHER_SUFFIX
        names = {"miou": "mIoU of the pseudo labels", "kept": "pixels that have one (%)"}
        return [
            (name, *(points(means[column].get((taught, n), np.nan)) for n in results.label_counts))
            for column, name in names.items()
            if (quality["arm"] == taught).any()
        ]

    what = "without and with pseudo labels for the unlabelled images"
    pairs = pd.DataFrame(plan, columns=["group", "setting", "arm"])
    table, printed = _compared(results, pairs, "semi", what, measured)
    if len(quality):
        table = table.join(means.add_prefix("pseudo_"), on=["arm", "n"])
    return table, printed


def ablation_table(results: Results) -> tuple[pd.DataFrame, list[Table]]:
    """One part per group of `ablations.csv` (group, setting, arm), compared with its first arm."""
    return _compared(results, results.tables["ablations"], "ablations", "ablations", lambda _: [])


def _compared(
    results: Results, plan: pd.DataFrame, name: str, what: str, more: Callable[[str], Lines]
) -> tuple[pd.DataFrame, list[Table]]:
    """Groups of arms, each compared with the first of its group; `more` lines end a group."""
    plan = plan.assign(base=plan.groupby("group", sort=False)["arm"].transform("first"))
    cells = [(arm, base, n) for arm, base in zip(plan["arm"], plan["base"])
             for n in results.label_counts if arm != base]  # fmt: skip
    made = holm([results.difference((arm, n), (base, n)) for arm, base, n in cells])
    tests = dict(zip(cells, made))
    rows: list[dict[str, object]] = []
    parts: list[tuple[str, Lines]] = []
    for group, settings in plan.groupby("group", sort=False):
        lines: Lines = []
        for setting, arm, base in zip(settings["setting"], settings["arm"], settings["base"]):
            texts = []
            for n in results.label_counts:
                each = tests.get((arm, base, n))
                named = {"dataset": results.dataset, "group": group, "setting": setting}
                rows.append({**named, **results.score(arm, n), **test_columns(each)})
                text = with_std(*results.mean_std(arm, n))
                text += f" ({bracketed(each)})" if each and each.seeds else ""
                texts.append(strong(text) if each and each.significant else text)
            lines.append((str(setting), *texts))
        parts.append((str(group), lines + more(str(group))))
    caption = wording.join(
        f"{results.dataset}: {what}, mIoU (%), mean ± sample standard deviation over seeds; in "
        "parentheses the difference to the first row of the group in points, with its interval. "
        "Bold: a significant difference.",
        wording.runs_note(results),
        wording.tests_note(made),
        wording.settings_note(results),
    )
    header = ("", "setting", *(f"n = {n}" for n in results.label_counts))
    label = f"{results.dataset}-{name}"
    return pd.DataFrame(rows), [Table(label, caption, header, sections(*parts))]
