"""Tables of arms compared in groups: with pseudo labels and without, ablations."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from cseg.paper import wording
from cseg.paper.markup import Lines, Table, sections, strong
from cseg.paper.results import Results
from cseg.paper.statistics import holm
from cseg.paper.table_main import test_columns
from cseg.paper.wording import bracketed, points, with_std
from cseg.settings.run import TEACHER_SUFFIX


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
