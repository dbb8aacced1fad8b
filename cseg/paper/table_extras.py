"""Tables that only some experiments have: pseudo labels, ablations, feature separability."""

import numpy as np
import pandas as pd

from cseg.paper import captions
from cseg.paper.markup import Section, Table
from cseg.paper.results import Results
from cseg.paper.statistics import Comparison, mean_std
from cseg.paper.wording import points, points_std, signed

SUFFIX = "_pseudo"


def pseudo_table(results: Results) -> tuple[pd.DataFrame, list[Table]] | str:
    """Each arm with and without pseudo labels, and how good those were (pseudo.csv)."""
    pairs = [(a, a + SUFFIX) for a in results.arms if a + SUFFIX in results.arms]
    if not pairs:
        return f"no arm has a partner named *{SUFFIX}"
    quality = results.tables["pseudo"]
    rows, printed, tests = [], [], []
    for arm, partner in pairs:
        for n in results.label_counts:
            each = results.compare(partner, arm, n)
            tests.append(each)
            without = mean_std(list(results.mious.get((arm, n), {}).values()))
            with_them = mean_std(list(results.mious.get((partner, n), {}).values()))
            pseudo_miou, kept = np.nan, np.nan
            if len(quality):
                cell = quality[(quality["arm"] == partner) & (quality["n"] == n)]
                pseudo_miou, kept = mean_std(cell["miou"])[0], mean_std(cell["kept"])[0]
            row = {
                "dataset": results.dataset,
                "arm": arm,
                "n": n,
                "runs": each.runs,
                "miou_without": without[0],
                "std_without": without[1],
                "miou_with": with_them[0],
                "std_with": with_them[1],
                "difference": each.difference,
                "p": each.p,
                "test": each.test,
                "pseudo_miou": pseudo_miou,
                "pseudo_kept": kept,
            }
            rows.append(row)
            mark = "*" if each.significant else ""
            printed.append((
                arm, str(n), points_std(*without), points_std(*with_them),
                signed(each.difference) + mark, points(pseudo_miou), points(kept),
            ))  # fmt: skip
    caption = captions.join(
        f"{results.dataset}: mIoU (%) without and with pseudo labels for the unlabelled images, "
        "mean ± sample standard deviation over seeds; mIoU of the pseudo labels themselves on the "
        "pixels kept, and the share of pixels kept. *: differs.",
        captions.tests_note(tests),
    )
    header = ("arm", "n", "without", "with", "difference", "pseudo-label mIoU", "pixels kept (%)")
    table = Table(f"{results.dataset}-semi", caption, header, (Section("", tuple(printed)),))
    return pd.DataFrame(rows), [table]


def ablation_table(results: Results) -> tuple[pd.DataFrame, list[Table]] | str:
    """One section per group of `ablations.csv` (group, setting, arm), first setting = reference."""
    plan = results.tables["ablations"]
    if plan.empty:
        return "there is no ablations.csv"
    rows, sections, tests = [], [], []
    for group, settings in plan.groupby("group", sort=False):
        base = settings["arm"].iloc[0]
        lines = []
        for setting, arm in zip(settings["setting"], settings["arm"]):
            texts = []
            for n in results.label_counts:
                values = list(results.mious.get((arm, n), {}).values())
                mean, std = mean_std(values)
                each = _against(results, arm, base, n)
                tests += [each] if each else []
                rows.append({
                    "dataset": results.dataset,
                    "group": group,
                    "setting": setting,
                    "arm": arm,
                    "n": n,
                    "runs": len(values),
                    "miou_mean": mean,
                    "miou_std": std,
                    "diff_first": each.difference if each else np.nan,
                    "diff_first_p": each.p if each else np.nan,
                    "diff_first_test": each.test if each else "",
                })  # fmt: skip
                texts.append(points_std(mean, std) + _change(each))
            lines.append((str(setting), *texts))
        sections.append(Section(str(group), tuple(lines)))
    caption = captions.join(
        f"{results.dataset}: ablations, mIoU (%), mean ± sample standard deviation over seeds; in "
        "parentheses the difference to the first row of the group in points. *: differs.",
        captions.runs_note(results),
        captions.tests_note(tests),
        captions.settings_note(results),
    )
    header = ("setting", *(f"n = {n}" for n in results.label_counts))
    table = Table(f"{results.dataset}-ablations", caption, header, tuple(sections))
    return pd.DataFrame(rows), [table]


def _against(results: Results, arm: str, base: str, n: int) -> Comparison | None:
    return None if arm == base else results.compare(arm, base, n)


def _change(each: Comparison | None) -> str:
    if each is None or each.runs == 0:
        return ""
    return f" ({signed(each.difference)}{'*' if each.significant else ''})"


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
        "and their ratio inter / intra, mean ± sample standard deviation over seeds. Larger "
        "ratio: classes lie further apart."
    )
    header = ("arm", "n", "runs", "intra-class", "inter-class", "ratio")
    table = Table(f"{results.dataset}-separability", caption, header,
                  (Section("", tuple(printed)),))  # fmt: skip
    return pd.DataFrame(means), [table]
