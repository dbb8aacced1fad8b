"""What a training stage leaves behind: weights, curve and cost."""

import sys
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from cseg.compute.device import device_name, peak_memory
from cseg.model import checkpoint
from cseg.settings.run import Stage
from cseg.storage.files import write_json
from cseg.storage.tables import write_rows
from cseg.training.loop import Training
from cseg.training.resume import Curve


@dataclass(frozen=True, kw_only=True)
class TrainingOutputs:
    """Files that a training stage writes."""

    weights: Path  # the network; tensors by name
    curve: Path  # step, loss, lr, the objective's measures, and val_miou if it is measured
    cost: Path  # seconds, images_per_second, peak_memory_mib, device

    @classmethod
    def of(cls, folder: Path, stage: Stage) -> "TrainingOutputs":
        """The files of a stage in a run's folder."""
        return cls(
            weights=folder / f"{stage}.pt",
            curve=folder / f"{stage}.csv",
            cost=folder / f"{stage}_cost.json",
        )


def write_training(
    network: nn.Module, curve: Curve, *, training: Training, out: TrainingOutputs, **facts: object
) -> None:
    """Write a trained network, its curve and its cost, each atomically; drop the training state.

    `facts` are plain values saved in the checkpoint, whose kind is the stage.
    """
    state = {name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}
    checkpoint.save(out.weights, training.stage, {"network": state, **facts})
    header, rows = ("step", "loss", "lr", *curve.measures), list[tuple[object, ...]](curve.rows)
    if curve.validation:
        header += ("val_miou",)
        rows = [(*row, curve.validation.get(int(row[0]), "")) for row in curve.rows]
    write_rows(out.curve, header, rows)
    images = training.loop.steps * training.loop.batch
    cost = {
        "seconds": round(curve.seconds, 2),
        "images_per_second": round(images / max(curve.seconds, 1e-9), 2),
        "peak_memory_mib": round(peak_memory(training.device), 1),
        "device": device_name(training.device),
    }
    write_json(out.cost, cost)
    print(
        f"{training.stage}: {cost['seconds']} s, {cost['images_per_second']} images/s, peak memory "
        f"{cost['peak_memory_mib']} MiB on {cost['device']}",
        file=sys.stderr,
    )
    training.state.unlink(missing_ok=True)
