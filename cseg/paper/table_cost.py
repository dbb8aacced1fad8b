"""What each arm costs: time, device-hours, memory and throughput, per stage."""

import numpy as np
import pandas as pd

from cseg.paper import captions
from cseg.paper.markup import Table, sections
from cseg.paper.results import Results
from cseg.paper.statistics import mean_std
from cseg.paper.wording import seconds

STAGE_ORDER = ("pretrain", "finetune", "evaluate")


def cost_table(results: Results) -> tuple[pd.DataFrame, list[Table]] | str:
    """Tidy rows (one per arm, stage and device, over all n and seeds) and the table to print."""
    rows = results.tables["cost"]
    if rows.empty:
        return "there is no cost.csv"
    rows = rows.assign(device=rows["device"].fillna("").astype(str))
    frame = pd.DataFrame([
        _row(results, arm, stage, str(device), cell)
        for arm in results.arms
        for stage in STAGE_ORDER
        for device, cell in rows[(rows["arm"] == arm) & (rows["stage"] == stage)].groupby("device")
    ])  # fmt: skip
    if frame.empty:
        return "cost.csv has no row of a known stage"
    parts = [(stage, [_printed(row) for _, row in frame[frame["stage"] == stage].iterrows()])
             for stage in STAGE_ORDER]  # fmt: skip
    total = frame["device_hours"].sum()
    caption = captions.join(
        f"{results.dataset}: cost per stage, mean ± sample standard deviation over all label "
        "counts and seeds; device-hours are the sum over these runs; memory is the largest peak.",
        f"All stages and arms together: {total:.3g} device-hours.",
        "Runs that shared a machine with others took longer than they would alone.",
    )
    header = (
        "",
        "arm",
        "runs",
        "seconds per run",
        "images / s",
        "peak MiB",
        "device-hours",
        "device",
    )
    return frame, [Table(f"{results.dataset}-cost", caption, header, sections(*parts))]


def _row(
    results: Results, arm: str, stage: str, device: str, cell: pd.DataFrame
) -> dict[str, object]:
    mean, std = mean_std(cell["seconds"])
    return {
        "dataset": results.dataset,
        "arm": arm,
        "stage": stage,
        "device": device,
        "runs": len(cell),
        "seconds_mean": mean,
        "seconds_std": std,
        "device_hours": float(cell["seconds"].sum()) / 3600,
        "images_per_second": mean_std(cell["images_per_second"])[0],
        "peak_memory_mib": float(cell["peak_memory_mib"].max()),
    }


def _printed(row: pd.Series) -> tuple[str, ...]:
    spread = f" ± {seconds(row['seconds_std'])}" if np.isfinite(row["seconds_std"]) else ""
    memory = row["peak_memory_mib"]
    return (
        row["arm"],
        str(row["runs"]),
        seconds(row["seconds_mean"]) + spread,
        seconds(row["images_per_second"]),
        f"{memory:.0f}" if np.isfinite(memory) else "–",
        f"{row['device_hours']:.2g}",
        row["device"] or "–",
    )
