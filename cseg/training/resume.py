"""The state of a training that is under way: what a killed run resumes from."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cseg.compute.ranks import current_share, gather_to_leader
from cseg.errors import TrainingError
from cseg.model import checkpoint


@dataclass
class Best:
    """The objective's state at the highest validation mIoU so far."""

    miou: float
    state: dict[str, Tensor]


@dataclass
class Curve:
    """What a training has recorded so far."""

    # step, mean loss since the row before, learning rate, mean of each measure
    rows: list[tuple[float, ...]] = field(default_factory=list)
    measures: tuple[str, ...] = ()  # names of what the curve shows after the learning rate
    # validation mIoU by step, where it is measured
    validation: dict[int, float] = field(default_factory=dict)
    best: Best | None = None  # kept if the best network is reported
    seconds: float = 0.0  # of training, over all restarts


def save_state(
    path: Path,
    run_key: str,
    objective: nn.Module,
    optimizer: torch.optim.Optimizer,
    losses: Tensor,
    step: int,
    curve: Curve,
) -> None:
    """Write all that a training needs to go on after `step` steps, atomically.

    Every rank must call it; the leading one writes, with the losses that each has seen.
    """
    everyones = gather_to_leader(losses.cpu())
    if not current_share().leads:
        return
    best = curve.best
    content: dict[str, Any] = {
        "run_key": run_key,
        "step": step,
        "rows": [list(row) for row in curve.rows],
        "validation": dict(curve.validation),
        "best": None if best is None else [best.miou, best.state],
        "losses": torch.stack(everyones),
        "seconds": curve.seconds,
        "objective": objective.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    checkpoint.save(path, "training_state", content)


def resume(
    path: Path, run_key: str, objective: nn.Module, optimizer: torch.optim.Optimizer, losses: Tensor
) -> tuple[int, Curve]:
    """Load a saved state in place, where there is one; returns the steps done and the curve.

    Raises:
        TrainingError: the state is damaged, or of a run with another key.
    """
    if not path.exists():
        return 0, Curve()
    state = checkpoint.load(path, "training_state")
    if state["run_key"] != run_key:
        raise TrainingError(
            f"{path} was saved by a run with other settings, data or code; delete it to begin again"
        )
    objective.load_state_dict(state["objective"])
    optimizer.load_state_dict(state["optimizer"])
    share, everyones = current_share(), state["losses"]
    losses.copy_(everyones[share.rank] if len(everyones) == share.ranks else everyones.mean(0))
    rows = [(int(step), *map(float, values)) for step, *values in state["rows"]]
    best = None if state["best"] is None else Best(*state["best"])
    curve = Curve(rows, (), state["validation"], best, float(state["seconds"]))
    return int(state["step"]), curve
