"""Tables that only some experiments have: pseudo labels, ablations, feature separability."""

import numpy as np
import pandas as pd

from cseg.paper import captions
from cseg.paper.markup import Table, sections
from cseg.paper.results import Results
from cseg.paper.statistics import holm, mean_std
from cseg.paper.table_main import test_columns
from cseg.paper.wording import bracketed, points, points_std

SUFFIX = "_pseudo"


def pseudo_table(results: Results) -> tuple[pd.DataFrame, list[Table]] | str:
    """Each arm with and without pseudo labels, and how good those were (pseudo.csv)."""
    cells = [(arm, n) for arm in results.arms if arm + SUFFIX in results.arms
             for n in results.label_counts]  # fmt: skip
    if not cells:
        return f"no arm has a partner named *{SUFFIX}"
    tests = holm([results.difference((arm + SUFFIX, n), (arm, n)) for arm, n in cells])
    quality = results.tables["pseudo"]
    rows, printed = [], []
    for (arm, n), each in zip(cells, tests):
        without, with_them = results.mean_std(arm, n), results.mean_std(arm + SUFFIX, n)
        known = (
            quality[(quality["arm"] == arm + SUFFIX) & (quality["n"] == n)] if len(quality) else {}
        )
        labels, kept = (mean_std(known[c])[0] if len(known) else np.nan for c in ("miou", "kept"))
        rows.append({
            "dataset": results.dataset, "arm": arm, "n": n, "runs": each.seeds,
            "miou_without": without[0], "std_without": without[1],
            "miou_with": with_them[0], "std_with": with_them[1],
            **test_columns(each), "pseudo_miou": labels, "pseudo_kept": kept,
        })  # fmt: skip
        printed.append((arm, str(n), points_std(*without), points_std(*with_them), bracketed(each),
                        points(labels), points(kept)))  # fmt: skip
    caption = captions.join(
        f"{results.dataset}: mIoU (%) without and with pseudo labels for the unlabelled images, "
        "mean ± sample standard deviation over seeds; mIoU of the pseudo labels themselves on the "
        "pixels kept, and the share of pixels kept. Bold: significant.",
        captions.tests_note(tests),
    )
    header = ("arm", "n", "without", "with", "difference", "pseudo-label mIoU", "pixels kept (%)")
    bold = frozenset((r, 4) for r, each in enumerate(tests) if each.significant)
    return pd.DataFrame(rows), [
        Table(f"{results.dataset}-semi", caption, header, tuple(printed), bold)
    ]


def ablation_table(results: Results) -> tuple[pd.DataFrame, list[Table]] | str:
    """One part per group of `ablations.csv` (group, setting, arm), compared with its first arm."""
    plan = results.tables["ablations"]
    if plan.empty:
        return "there is no ablations.csv"
    base = plan.groupby("group", sort=False)["arm"].transform("first")
    cells = [(arm, first, n) for arm, first in zip(plan["arm"], base)
             for n in results.label_counts if arm != first]  # fmt: skip
    made = holm([results.difference((arm, n), (first, n)) for arm, first, n in cells])
    tests = dict(zip(cells, made))
    rows, parts, bold, line = [], [], set(), 0
    for group, settings in plan.assign(base=base).groupby("group", sort=False):
        lines = []
        for setting, arm, first in zip(settings["setting"], settings["arm"], settings["base"]):
            texts = []
            for c, n in enumerate(results.label_counts):
                mean, std = results.mean_std(arm, n)
                each = tests.get((arm, first, n))
                rows.append({
                    "dataset": results.dataset, "group": group, "setting": setting, "arm": arm,
                    "n": n, "runs": len(results.mious.get((arm, n), {})), "miou_mean": mean,
                    "miou_std": std, **test_columns(each),
                })  # fmt: skip
                shown = f" ({bracketed(each)})" if each and each.seeds else ""
                texts.append(points_std(mean, std) + shown)
                if each and each.significant:
                    bold.add((line, 2 + c))
            lines.append((str(setting), *texts))
            line += 1
        parts.append((str(group), lines))
    caption = captions.join(
        f"{results.dataset}: ablations, mIoU (%), mean ± sample standard deviation over seeds; in "
        "parentheses the difference to the first row of the group in points, with its interval. "
        "Bold: a significant difference.",
        captions.runs_note(results),
        captions.tests_note(made),
        captions.settings_note(results),
    )
    header = ("", "setting", *(f"n = {n}" for n in results.label_counts))
    label = f"{results.dataset}-ablations"
    return pd.DataFrame(rows), [Table(label, caption, header, sections(*parts), frozenset(bold))]


def separability_table(results: Results) -> tuple[pd.DataFrame, list[Table]] | str:
    """Compactness within and separation between classes of the features before fine-tuning."""
    rows = results.tables["separability"]
    if rows.empty:
        return "there is no separability.csv"
    means, printed = [], []
    for arm in results.arms:
        for n, cell in rows[rows["arm"] == arm].groupby("n"):
            row: dict[str, object] = {
                "dataset": results.dataset, "arm": arm, "n": n, "runs": len(cell),
            }  # fmt: skip
            texts = []
            for column in ("intra_class", "inter_class", "ratio"):
                mean, std = mean_std(cell[column])
                row[f"{column}_mean"], row[f"{column}_std"] = mean, std
                texts.append(f"{mean:.3f}" + ("" if np.isnan(std) else f" ± {std:.3f}"))
            means.append(row)
            printed.append((arm, str(n), str(len(cell)), *texts))
    caption = (
        f"{results.dataset}: pixel features before fine-tuning: mean cosine distance to the own "
        "class's centre (intra-class), mean cosine distance between class centres (inter-class) "
        "and their ratio inter / intra, mean ± sample standard deviation over seeds. A larger "
        "ratio means that classes lie further apart."
    )
    header = ("arm", "n", "runs", "intra-class", "inter-class", "ratio")
    return pd.DataFrame(means), [
        Table(f"{results.dataset}-separability", caption, header, tuple(printed))
    ]
