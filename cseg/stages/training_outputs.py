"""What a training stage leaves behind: weights, curve and cost."""

import sys
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from cseg.compute.device import device_name, peak_memory
from cseg.model import checkpoint
from cseg.storage.files import write_json
from cseg.storage.tables import write_table
from cseg.training.loop import LoopSettings
from cseg.training.resume import Curve


def write_training(
    kind: str,
    network: nn.Module,
    curve: Curve,
    loop: LoopSettings,
    device: torch.device,
    weights: Path,
    curve_csv: Path,
    cost_json: Path,
    **facts: object,
) -> None:
    """Write a trained network, its curve and its cost, each atomically.

    Args:
        kind: kind of the checkpoint, and name of the stage.
        network: its state is saved from the CPU, in contiguous layout.
        curve: from `train`.
        loop: how it was trained.
        device: where.
        weights: written; tensors by name.
        curve_csv: written; step, loss, lr, and val_miou where it is measured.
        cost_json: written; seconds, images_per_second, peak_memory_mib, device.
        **facts: plain values saved beside the weights.
    """
    state = {name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}
    checkpoint.save(weights, kind, {"network": state, **facts})
    rows = pd.DataFrame(curve.rows, columns=["step", "loss", "lr"])
    if curve.validation:
        rows["val_miou"] = rows["step"].map(curve.validation)
    write_table(curve_csv, rows)
    cost = {
        "seconds": round(curve.seconds, 2),
        "images_per_second": round(loop.steps * loop.batch / max(curve.seconds, 1e-9), 2),
        "peak_memory_mib": round(peak_memory(device), 1),
        "device": device_name(device),
    }
    write_json(cost_json, cost)
    print(
        f"{kind}: {cost['seconds']} s, {cost['images_per_second']} images/s, peak memory "
        f"{cost['peak_memory_mib']} MiB on {cost['device']}",
        file=sys.stderr,
    )
