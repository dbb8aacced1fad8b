"""IoU per class and arm at each label count."""

import numpy as np
import pandas as pd

from cseg.paper import captions
from cseg.paper.markup import Table
from cseg.paper.results import Results
from cseg.paper.wording import with_std

WIDE = 4  # more arms than this: means alone, for width


def class_tables(results: Results) -> tuple[pd.DataFrame, list[Table]] | str:
    """Tidy rows (one per arm, n and class) and the tables to print, one per n."""
    if results.tables["per_class"].empty:
        return "there is no per_class.csv"
    frame = class_means(results)
    return frame, [_at(results, frame, n) for n in results.label_counts]


def class_means(results: Results) -> pd.DataFrame:
    """Mean and deviation of IoU over seeds by arm, n and class, with the difference to reference.

    The difference is paired: the mean over the seeds that both arms have.
    """
    rows, reference = results.tables["per_class"], results.reference
    key = ["n", "class_id", "seed"]
    base = rows[rows["arm"] == reference].set_index(key)["iou"].rename("base")
    joined = rows.join(base, on=key)
    joined["gain"] = (joined["iou"] - joined["base"]).where(joined["arm"] != reference)
    return results.grouped(
        joined,
        ["arm", "n", "class_id"],
        class_name=("class_name", "first"),
        runs=("iou", "count"),
        iou_mean=("iou", "mean"),
        iou_std=("iou", "std"),
        diff_reference=("gain", "mean"),
    )


def _at(results: Results, frame: pd.DataFrame, n: int) -> Table:
    cells = frame[frame["n"] == n].set_index(["arm", "class_name"])
    arms = results.arms
    rows = []
    for name in results.class_names:
        texts = []
        for arm in arms:
            if (arm, name) not in cells.index:
                texts.append("–")
                continue
            cell = cells.loc[(arm, name)]
            std = cell["iou_std"] if len(arms) <= WIDE else np.nan
            texts.append(with_std(cell["iou_mean"], std))
        rows.append((name, *texts))
    spread = " ± sample standard deviation" if len(arms) <= WIDE else ""
    caption = captions.join(
        f"{results.dataset}, n = {n}: IoU (%) of each class on the validation images, mean"
        f"{spread} over seeds. An en dash: no run, or the class is absent from the truth.",
        captions.runs_note(results) if n == results.label_counts[0] else "",
    )
    label = f"{results.dataset}-per-class-n{n}"
    return Table(label, caption, ("class", *arms), tuple(rows))
