"""The state of a training that is under way: what a killed run resumes from."""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from cseg.compute.ranks import current_share, gather_to_leader
from cseg.errors import TrainingError
from cseg.model import checkpoint


@dataclass
class Curve:
    """What a training has recorded so far."""

    # step, mean loss since the row before, learning rate, mean of each measure
    rows: list[tuple[float, ...]] = field(default_factory=list)
    measures: tuple[str, ...] = ()  # names of what the curve shows after the learning rate
    validation: dict[int, float] = field(default_factory=dict)  # mIoU by step, where measured
    # the highest validation mIoU and the objective's state then, if the best network is reported
    best: tuple[float, dict[str, Tensor]] | None = None
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
    state = {
        "run_key": run_key,
        "step": step,
        "curve": vars(curve),
        "losses": torch.stack(everyones),
        "objective": objective.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    checkpoint.save(path, "training_state", state)


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
    return int(state["step"]), Curve(**state["curve"])
