"""Tables of means over seeds: IoU per class, cost per stage, separability of features."""

from itertools import repeat

import numpy as np
import pandas as pd

from cseg.paper import wording
from cseg.paper.markup import Table, sections
from cseg.paper.results import Results
from cseg.paper.wording import seconds, with_std
from cseg.storage.tables import rounded

STAGE_ORDER = ("pretrain", "finetune", "evaluate")
WIDE = 4  # more arms than this: means alone, for width


def class_tables(results: Results) -> tuple[pd.DataFrame, list[Table]]:
    """Tidy rows (one per arm, n and class) and the tables to print, one per n."""
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
    cells, arms = frame[frame["n"] == n], list(results.arms)
    stds = cells["iou_std"] if len(arms) <= WIDE else repeat(np.nan)
    texts = cells.assign(text=list(map(with_std, cells["iou_mean"], stds)))
    grid = texts.pivot_table("text", "class_name", "arm", "first", observed=True)
    grid = grid.reindex(index=list(results.class_names), columns=arms).astype(object).fillna("–")
    spread = " ± sample standard deviation" if len(arms) <= WIDE else ""
    caption = wording.join(
        f"{results.dataset}, n = {n}: IoU (%) of each class on the validation images, mean"
        f"{spread} over seeds. An en dash: no run, or the class is absent from the truth.",
        wording.runs_note(results) if n == results.label_counts[0] else "",
    )
    label = f"{results.dataset}-per-class-n{n}"
    return Table(label, caption, ("class", *arms), tuple(grid.itertuples(name=None)))


def cost_table(results: Results) -> tuple[pd.DataFrame, list[Table]] | str:
    """Tidy rows (one per arm, stage and device, over all n and seeds) and the table to print."""
    rows = results.tables["cost"]
    frame = results.grouped(
        rows.assign(
            stage=pd.Categorical(rows["stage"], STAGE_ORDER),
            device=rows["device"].fillna("").astype(str),
        ),
        ["arm", "stage", "device"],
        runs=("seconds", "size"),
        seconds_mean=("seconds", "mean"),
        seconds_std=("seconds", "std"),
        device_hours=("seconds", "sum"),
        images_per_second=("images_per_second", "mean"),
        peak_memory_mib=("peak_memory_mib", "max"),
    )
    if frame.empty:
        return "cost.csv has no row of a known stage"
    frame["device_hours"] /= 3600
    parts = [(stage, [_printed(row) for _, row in frame[frame["stage"] == stage].iterrows()])
             for stage in STAGE_ORDER]  # fmt: skip
    caption = wording.join(
        f"{results.dataset}: cost per stage, mean ± sample standard deviation over all label "
        "counts and seeds; device-hours are the sum over these runs; memory is the largest peak.",
        f"All stages and arms together: {rounded(frame['device_hours'].sum(), 3)} device-hours.",
        "Runs that shared a machine with others took longer than they would alone.",
    )
    header = ("", "arm", "runs", "seconds per run", "images / s", "peak MiB", "device-hours",
              "device")  # fmt: skip
    return frame, [Table(f"{results.dataset}-cost", caption, header, sections(*parts))]


def _printed(row: pd.Series) -> tuple[str, ...]:
    memory = row["peak_memory_mib"]
    return (
        row["arm"],
        str(row["runs"]),
        with_std(row["seconds_mean"], row["seconds_std"], seconds),
        seconds(row["images_per_second"]),
        f"{memory:.0f}" if np.isfinite(memory) else "–",
        rounded(row["device_hours"], 2),
        row["device"] or "–",
    )


def separability_table(results: Results) -> tuple[pd.DataFrame, list[Table]]:
    """Compactness within and separation between classes of the features before fine-tuning."""
    rows = results.tables["separability"]
    measures = ("intra_class", "inter_class", "ratio")
    summed = {f"{name}_{what}": (name, what) for name in measures for what in ("mean", "std")}
    means = results.grouped(rows, ["arm", "n"], runs=("ratio", "size"), **summed)
    printed = tuple(
        (row["arm"], str(row["n"]), str(row["runs"]),
         *(with_std(row[f"{name}_mean"], row[f"{name}_std"], "{:.3f}".format) for name in measures))
        for row in means.to_dict("records")
    )  # fmt: skip
    caption = (
        f"{results.dataset}: pixel features before fine-tuning: mean cosine distance to the own "
        "class's centre (intra-class), mean cosine distance between class centres (inter-class) "
        "and their ratio inter / intra, mean ± sample standard deviation over seeds. A larger "
        "ratio means that classes lie further apart."
    )
    header = ("arm", "n", "runs", "intra-class", "inter-class", "ratio")
    return means, [Table(f"{results.dataset}-separability", caption, header, printed)]
