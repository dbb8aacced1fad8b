"""What each arm costs: time, device-hours, memory and throughput, per stage."""

import numpy as np
import pandas as pd

from cseg.paper import captions
from cseg.paper.markup import Table, sections
from cseg.paper.results import Results
from cseg.paper.wording import seconds, with_std

STAGE_ORDER = ("pretrain", "finetune", "evaluate")


def cost_table(results: Results) -> tuple[pd.DataFrame, list[Table]] | str:
    """Tidy rows (one per arm, stage and device, over all n and seeds) and the table to print."""
    rows = results.tables["cost"]
    if rows.empty:
        return "there is no cost.csv"
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
    total = frame["device_hours"].sum()
    caption = captions.join(
        f"{results.dataset}: cost per stage, mean ± sample standard deviation over all label "
        "counts and seeds; device-hours are the sum over these runs; memory is the largest peak.",
        f"All stages and arms together: {total:.3g} device-hours.",
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
        f"{row['device_hours']:.2g}",
        row["device"] or "–",
    )
