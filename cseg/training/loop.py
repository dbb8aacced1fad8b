"""The training loop: one objective, one schedule; saved, resumed and logged.

Shapes: B batch, H and W height and width of the crop.
"""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from cseg.compute.ranks import (
    Share,
    any_rank,
    check_batch,
    current_share,
    share_batch_norm,
    sum_over_ranks,
)
from cseg.errors import TrainingError
from cseg.images.transforms import to_unit
from cseg.settings import LoopSettings, RunSettings
from cseg.training.loader import iterate
from cseg.training.progress import Progress
from cseg.training.resume import Best, Curve, resume, save_state
from cseg.training.sampling import StepBatches
from cseg.training.tensorboard import Board

STEP, DISTORT = 3, 4  # first words of the random keys used here; sampling uses 1 and 2


@dataclass(frozen=True)
class Validation:
    """Measuring the network while it trains.

    Attributes:
        every: steps between measurements; the last step is measured, too.
        keep_best: end with the weights of the highest value instead of the last ones.
        measure: validation mIoU of the network as it is, alike on every rank.
    """

    every: int
    keep_best: bool
    measure: Callable[[], float]


def learning_rate(step: int, settings: LoopSettings) -> float:
    """Rate of a step: linear warm-up, then half a cosine to 0."""
    if step < settings.warmup_steps:
        return settings.lr * (step + 1) / settings.warmup_steps
    whole = max(1, settings.steps - settings.warmup_steps)
    return settings.lr * 0.5 * (1 + math.cos(math.pi * (step - settings.warmup_steps) / whole))


@dataclass(frozen=True, kw_only=True)
class Training:
    """One training of one run.

    Attributes:
        stage: pretrain or finetune.
        settings: the run's.
        key: fingerprint of everything that shapes the result; a saved state of another key is
            refused.
        state: where the training state is kept while training goes on; the caller removes it once
            its own outputs are written. A state found there is resumed.
        title: names the run in progress lines and messages.
    """

    stage: Literal["pretrain", "finetune"]
    settings: RunSettings
    key: str
    state: Path
    title: str

    @property
    def loop(self) -> LoopSettings:
        """How to optimise in this stage."""
        return self.settings.pretrain if self.stage == "pretrain" else self.settings.finetune

    @property
    def seed(self) -> int:
        """Seed of order, geometry, distortion and dropout, different for each stage of a run."""
        return 2 * self.settings.seed + ("pretrain", "finetune").index(self.stage)

    @property
    def board(self) -> Path | None:
        """Folder of TensorBoard's curves, if the run writes them."""
        folder = self.state.parent / "tensorboard" / self.stage
        return folder if self.settings.tensorboard else None


def train(
    objective: nn.Module,
    batches: Callable[[int], StepBatches],
    *,
    training: Training,
    device: torch.device,
    validation: Validation | None = None,
) -> Curve:
    """Optimise `objective` in place and return its curve.

    Under several ranks each process computes its share of every batch, and all end alike.

    Args:
        objective: on `device`; images float (B, 3, H, W) in 0..1, labels int64 (B, H, W) and a
            generator of random numbers give the loss, a scalar. It holds all that is optimised or
            remembered from step to step: its state is what is saved.
        batches: the batches from a given step on.
        training: see `Training`.
        device: where to compute.
        validation: see `Validation`; None measures nothing.

    Raises:
        TrainingError: a loss that is not finite, a foreign or damaged state, no memory.
        SystemExit: after SIGTERM, SIGUSR1 or Ctrl-C, with the state saved.
    """
    settings, title = training.loop, training.title
    share = current_share()
    check_batch(settings.batch, settings.accumulate, share, training.stage)
    share_batch_norm(objective, device)
    optimizer = torch.optim.SGD(
        [p for p in objective.parameters() if p.requires_grad],
        lr=settings.lr,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    losses = torch.zeros(settings.log_every, device=device)  # since the last row of the curve
    first, curve = resume(training.state, training.key, objective, optimizer, losses)
    stepped = objective
    if share.ranks > 1:
        stepped = DistributedDataParallel(objective, broadcast_buffers=False)
    source = batches(first)
    objective.train()
    saved_at = started = time.monotonic()
    before = curve.seconds
    pin = device.type == "cuda"
    spare = torch.get_num_threads() - 1 if pin else 0
    workers = spare if settings.workers is None else settings.workers
    board = Board(training.board if share.leads else None, first)
    shown = Progress(title, settings.steps, first, settings.batch, share.leads)
    with shown as progress, _stop_flag() as stop:
        for step, (images, labels) in enumerate(iterate(source, workers, pin), first):
            rate = learning_rate(step, settings)
            for group in optimizer.param_groups:
                group["lr"] = rate
            loss = _step(stepped, optimizer, images, labels, training, step, device, share)
            losses[step % settings.log_every] = loss
            done = step + 1
            row_due = done % settings.log_every == 0 or done == settings.steps
            now = time.monotonic()
            late = now - saved_at > settings.checkpoint_minutes * 60
            stopped, save_due = any_rank([stop.is_set(), stop.is_set() or late])
            if row_due or save_due:  # the host waits for the device only here
                count = step % settings.log_every + 1
                seen = sum_over_ranks(losses[:count]) / share.ranks
                mean = _finite_mean(seen, done - count, rate, source, title)
            if row_due:
                curve.rows.append((done, mean, rate))
                progress.show(done, mean, rate)
                told = {"loss": mean, "lr": rate}
                board.show(done, told | _validate(objective, curve, done, settings, validation))
            if save_due and done < settings.steps:
                curve.seconds = before + time.monotonic() - started
                save_state(training.state, training.key, objective, optimizer, losses, done, curve)
                saved_at = now
                if stopped:
                    any_rank([True])  # nobody leaves before the state is on disk
                    raise SystemExit(f"{title}: stopped by a signal after step {done}; state saved")
    curve.seconds = before + time.monotonic() - started
    board.close()
    if curve.best is not None:
        objective.load_state_dict(curve.best.state)
    return curve


def _validate(
    objective: nn.Module,
    curve: Curve,
    done: int,
    settings: LoopSettings,
    validation: Validation | None,
) -> dict[str, float]:
    if validation is None or (done % validation.every and done != settings.steps):
        return {}
    objective.eval()
    miou = validation.measure()
    objective.train()
    curve.validation[done] = miou
    if validation.keep_best and (curve.best is None or miou > curve.best.miou):
        state = {name: value.detach().clone() for name, value in objective.state_dict().items()}
        curve.best = Best(miou, done, state)
    return {"val_miou": miou}


def _step(
    objective: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    training: Training,
    step: int,
    device: torch.device,
    share: Share,
) -> Tensor:
    # Dropout draws from torch's global generator: key it by the step, as everything else is.
    key = [STEP, training.seed, step] + ([] if share.leads else [share.rank])
    torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))
    rng = np.random.default_rng([DISTORT, training.seed, step])
    half = training.settings.precision == "bf16"
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=half)
    pieces = training.loop.accumulate
    total = torch.zeros((), device=device)
    optimizer.zero_grad(set_to_none=True)
    try:
        parts = zip(images.chunk(pieces), labels.chunk(pieces), strict=True)
        for number, (part, truth) in enumerate(parts, 1):
            unit = to_unit(part.to(device, non_blocking=True))
            unit = unit.contiguous(memory_format=torch.channels_last)
            classes = truth.to(device, torch.int64, non_blocking=True)
            with _averaged_over_ranks(objective, number == pieces):
                with autocast:
                    loss = objective(unit, classes, rng) / pieces
                loss.backward()
            total += loss.detach()
        optimizer.step()
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            f"out of memory at batch {training.loop.batch} and crop {tuple(images.shape[-2:])} on "
            f"{device}; raise accumulate, lower batch or image.crop, or set precision to bf16"
        ) from error
    return total


def _averaged_over_ranks(objective: nn.Module, last: bool) -> AbstractContextManager[None]:
    """Gradients are exchanged once a step, with those of its last piece."""
    if last or not isinstance(objective, DistributedDataParallel):
        return nullcontext()
    return objective.no_sync()


def _finite_mean(losses: Tensor, first: int, rate: float, source: StepBatches, title: str) -> float:
    values = losses.tolist()
    for step, value in enumerate(values, first):
        if not math.isfinite(value):
            raise TrainingError(
                f"{title}: the loss is {value} at step {step + 1}, learning rate {rate:.3g}, "
                f"images {', '.join(source.ids(step))}; lower the rate or look at these images"
            )
    return sum(values) / len(values)


@contextmanager
def _stop_flag() -> Iterator[threading.Event]:
    """An event set by SIGTERM, SIGUSR1 or Ctrl-C; the old handlers come back at the end."""
    flag = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    signals = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
    old = [signal.signal(number, lambda *_: flag.set()) for number in signals]
    try:
        yield flag
    finally:
        for number, handler in zip(signals, old, strict=True):
            signal.signal(number, handler)
