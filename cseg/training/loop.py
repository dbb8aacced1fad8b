"""The training loop: one network, one loss, one schedule; saved, resumed and logged.

Shapes: B batch, H and W height and width of the crop.
"""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from cseg.errors import TrainingError
from cseg.training import checkpoint
from cseg.training.progress import Progress
from cseg.training.sampling import StepBatches, iterate
from cseg.transforms import to_unit

STEP, DISTORT = 3, 4  # first words of the random keys used here; sampling uses 1 and 2

Network = TypeVar("Network", bound=nn.Module)
# (network, images float (B, 3, H, W) in 0..1, labels int64 (B, H, W), rng) -> scalar loss
StepLoss = Callable[[Network, Tensor, Tensor, np.random.Generator], Tensor]


@dataclass(frozen=True)
class LoopSettings:
    """How to optimise; the same fields serve pretraining and fine-tuning.

    Attributes:
        steps: optimiser steps.
        batch: images per step.
        accumulate: pieces that a batch is processed in, one after the other, to save memory; their
            gradients are averaged. Batch norm and the contrastive loss see a piece at a time.
        lr: initial learning rate; it falls to 0 along half a cosine.
        momentum: of SGD.
        weight_decay: of SGD, on all parameters.
        warmup_steps: steps over which the rate rises linearly to lr first.
        log_every: steps between rows of the curve.
        checkpoint_minutes: minutes between saved states.
        workers: loader processes; 0 loads in the training process.
        cache_mib: decoded images kept in memory, per loader process.
        precision: "fp32", or "bf16" for autocast.
        seed: of order, geometry, distortion and dropout.
    """

    steps: int
    batch: int
    accumulate: int
    lr: float
    momentum: float
    weight_decay: float
    warmup_steps: int
    log_every: int
    checkpoint_minutes: float
    workers: int
    cache_mib: int
    precision: str
    seed: int


@dataclass
class Curve:
    """Rows of the training curve and what the training has cost so far."""

    rows: list[tuple[int, float, float]] = field(default_factory=list)
    seconds: float = 0.0


def learning_rate(step: int, settings: LoopSettings) -> float:
    """Rate of a step: linear warm-up, then half a cosine to 0."""
    if step < settings.warmup_steps:
        return settings.lr * (step + 1) / settings.warmup_steps
    whole = max(1, settings.steps - settings.warmup_steps)
    return settings.lr * 0.5 * (1 + math.cos(math.pi * (step - settings.warmup_steps) / whole))


def train(
    network: Network,
    step_loss: StepLoss[Network],
    batches: Callable[[int], StepBatches],
    settings: LoopSettings,
    device: torch.device,
    state_path: Path,
    run_key: str,
    title: str,
) -> Curve:
    """Optimise `network` in place and return its curve.

    Args:
        network: on `device`.
        step_loss: see `StepLoss`.
        batches: the batches from a given step on.
        settings: see `LoopSettings`.
        device: where to compute.
        state_path: where the training state is kept while training goes on; removed by the
            caller once its own outputs are written. A state found there is resumed.
        run_key: fingerprint of everything that shapes the run; another one is refused.
        title: what the progress line says.

    Raises:
        TrainingError: a loss that is not finite, a foreign or damaged state, no memory.
        SystemExit: after SIGTERM or SIGUSR1, with the state saved.
    """
    optimizer = torch.optim.SGD(
        [p for p in network.parameters() if p.requires_grad],
        lr=settings.lr,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    losses = torch.zeros(settings.log_every, device=device)  # since the last row of the curve
    first, curve = _resume(state_path, run_key, network, optimizer, losses)
    source = batches(first)
    network.train()
    saved_at, started = time.monotonic(), time.monotonic()
    before = curve.seconds
    pin = device.type == "cuda"
    with Progress(title, settings.steps, first, settings.batch) as progress, _stop_flag() as stop:
        for step, (images, labels) in enumerate(iterate(source, settings.workers, pin), first):
            rate = learning_rate(step, settings)
            for group in optimizer.param_groups:
                group["lr"] = rate
            loss = _step(network, step_loss, optimizer, images, labels, settings, step, device)
            losses[step % settings.log_every] = loss
            done = step + 1
            row_due = done % settings.log_every == 0 or done == settings.steps
            now = time.monotonic()
            save_due = stop.is_set() or now - saved_at > settings.checkpoint_minutes * 60
            if row_due or save_due:  # the host waits for the device only here
                count = step % settings.log_every + 1
                mean = _finite_mean(losses[:count], done - count, rate, source, title)
            if row_due:
                curve.rows.append((done, mean, rate))
                progress.show(done, mean, rate)
            if save_due and done < settings.steps:
                curve.seconds = before + now - started
                _save(state_path, run_key, network, optimizer, losses, done, curve)
                saved_at = now
                if stop.is_set():
                    raise SystemExit(f"{title}: stopped by a signal after step {done}; state saved")
    curve.seconds = before + time.monotonic() - started
    return curve


def _step(
    network: Network,
    step_loss: StepLoss[Network],
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    settings: LoopSettings,
    step: int,
    device: torch.device,
) -> Tensor:
    # Dropout draws from torch's global generator: key it by the step, as everything else is.
    torch.manual_seed(int(np.random.SeedSequence([STEP, settings.seed, step]).generate_state(1)[0]))
    rng = np.random.default_rng([DISTORT, settings.seed, step])
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bf16")
    pieces = settings.accumulate
    total = torch.zeros((), device=device)
    optimizer.zero_grad(set_to_none=True)
    try:
        for part, truth in zip(images.chunk(pieces), labels.chunk(pieces), strict=True):
            unit = to_unit(part.to(device, non_blocking=True))
            unit = unit.contiguous(memory_format=torch.channels_last)
            classes = truth.to(device, torch.int64, non_blocking=True)
            with autocast:
                loss = step_loss(network, unit, classes, rng) / pieces
            loss.backward()
            total += loss.detach()
        optimizer.step()
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            f"out of memory at batch {settings.batch} and crop {tuple(images.shape[-2:])} on "
            f"{device}; raise accumulate, lower batch or image.crop, or set precision to bf16"
        ) from error
    return total


def _finite_mean(losses: Tensor, first: int, rate: float, source: StepBatches, title: str) -> float:
    values = losses.tolist()
    for step, value in enumerate(values, first):
        if not math.isfinite(value):
            raise TrainingError(
                f"{title}: the loss is {value} at step {step + 1}, learning rate {rate:.3g}, "
                f"images {', '.join(source.ids(step))}; lower the rate or look at these images"
            )
    return sum(values) / len(values)


def _save(
    path: Path,
    run_key: str,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    losses: Tensor,
    step: int,
    curve: Curve,
) -> None:
    content = {
        "run_key": run_key,
        "step": step,
        "rows": [list(row) for row in curve.rows],
        "losses": losses,
        "seconds": curve.seconds,
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    checkpoint.save(path, "training_state", content)


def _resume(
    path: Path,
    run_key: str,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    losses: Tensor,
) -> tuple[int, Curve]:
    if not path.exists():
        return 0, Curve()
    state = checkpoint.load(path, "training_state")
    if state["run_key"] != run_key:
        raise TrainingError(
            f"{path} was saved by a run with other settings, data or code; delete it to start anew"
        )
    network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    losses.copy_(state["losses"])
    rows = [(int(s), float(loss), float(rate)) for s, loss, rate in state["rows"]]
    return int(state["step"]), Curve(rows, float(state["seconds"]))


@contextmanager
def _stop_flag() -> Iterator[threading.Event]:
    """An event set by SIGTERM or SIGUSR1; the old handlers come back at the end."""
    flag = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    signals = (signal.SIGTERM, signal.SIGUSR1)
    old = [signal.signal(number, lambda *_: flag.set()) for number in signals]
    try:
        yield flag
    finally:
        for number, handler in zip(signals, old, strict=True):
            signal.signal(number, handler)
