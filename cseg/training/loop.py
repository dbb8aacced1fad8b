"""The training loop: one objective, one schedule; saved, resumed and logged.

Shapes: B batch, H and W height and width of the crop.
"""

import math
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from cseg.compute.processes import stop_flag
from cseg.compute.ranks import (
    any_rank,
    check_batch,
    current_share,
    share_batch_norm,
    sum_over_ranks,
)
from cseg.errors import TrainingError
from cseg.images.transforms import to_unit
from cseg.settings.keys import plain
from cseg.settings.run import RunSettings, Stage, pretraining
from cseg.settings.training import LoopSettings
from cseg.storage.files import fingerprint
from cseg.storage.provenance import source_fingerprint
from cseg.training.loader import iterate
from cseg.training.progress import Progress
from cseg.training.resume import Curve, resume, save_state
from cseg.training.sampling import StepBatches

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
POLY = 0.9  # power of DeepLab's schedule
STEP, DISTORT = 3, 4  # first words of the random keys used here; sampling uses 1 and 2


class Objective(nn.Module):
    """What a training optimises; it holds all that is optimised or remembered.

    Its `forward` takes images float (B, 3, H, W) in 0..1, labels int64 (B, H, W), a generator of
    random numbers and, if its batches have more, further images and labels. It gives the loss, a
    scalar, or a vector (1 + number of measures): the loss, and what the curve shows next to it.
    """

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of what `forward` gives after the loss."""
        return ()

    def after_step(self) -> None:
        """Called after every optimiser step."""


def learning_rate(step: int, settings: LoopSettings) -> float:
    """Rate of a step: linear warm-up, then half a cosine or DeepLab's polynomial to 0."""
    if step < settings.warmup_steps:
        return settings.lr * (step + 1) / settings.warmup_steps
    whole = max(1, settings.steps - settings.warmup_steps)
    share = (step - settings.warmup_steps) / whole
    if settings.schedule == "poly":
        return settings.lr * (1 - share) ** POLY
    return settings.lr * 0.5 * (1 + math.cos(math.pi * share))


@dataclass(frozen=True, kw_only=True)
class Training:
    """One training of one run."""

    stage: Stage
    settings: RunSettings  # the run's
    title: str  # names the run in progress lines and messages
    weights: Path  # which the caller writes
    device: torch.device
    threads: int
    data: str  # fingerprint of images and labels
    start: str = ""  # fingerprint of the weights that it starts from, if there are such

    @property
    def key(self) -> str:
        """Fingerprint of all that shapes the result; a saved state of another key is refused."""
        shaping = pretraining(self.settings) | {"tensorboard": None}
        if self.stage == "finetune":
            shaping["finetune"] = plain(self.settings.finetune)
        own = (self.stage, shaping, self.threads, self.data, self.start, source_fingerprint())
        return fingerprint(own)

    @property
    def state(self) -> Path:
        """Where the training state is kept until the caller has written its outputs."""
        return self.weights.with_suffix(".state")

    @property
    def loop(self) -> LoopSettings:
        """How to optimise in this stage."""
        return self.settings.pretrain if self.stage == "pretrain" else self.settings.finetune

    @property
    def seed(self) -> int:
        """Seed of order, geometry, distortion and dropout, different for each stage of a run."""
        return 2 * self.settings.seed + ("pretrain", "finetune").index(self.stage)


def train(
    objective: Objective,
    batches: StepBatches,
    *,
    training: Training,
    miou: Callable[[], float] | None = None,
) -> Curve:
    """Optimise `objective`, which is on the training's device, in place and return its curve.

    Under several ranks each process computes its share of every batch, and all end alike. Its state
    is what is saved. `miou` is the validation mIoU of the network as it is, alike on every rank, if
    `finetune.validate_every` asks for it.

    Raises:
        TrainingError: a loss that is not finite, a foreign or damaged state, no memory.
        SystemExit: after SIGTERM, SIGUSR1 or Ctrl-C, with the state saved.
    """
    settings, title, device = training.loop, training.title, training.device
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
    columns = 1 + len(objective.measures)
    losses = torch.zeros(settings.log_every, columns, device=device)  # since the curve's last row
    first, curve = resume(training.state, training.key, objective, optimizer, losses)
    curve.measures = objective.measures
    stepped: nn.Module = objective
    if share.ranks > 1:
        stepped = DistributedDataParallel(objective, broadcast_buffers=False)
    objective.train()
    saved_at = started = time.monotonic()
    before = curve.seconds
    pin = device.type == "cuda"
    spare = torch.get_num_threads() - 1 if pin else 0
    workers = spare if settings.workers is None else settings.workers
    folder = training.weights.parent / "tensorboard" / training.stage
    board = folder if training.settings.tensorboard else None
    reports = Progress(
        title, settings.steps, first, settings.batch, shown=share.leads, folder=board
    )
    with closing(reports) as progress, stop_flag(*SIGNALS, patient=True) as stop:
        for step, batch in enumerate(iterate(batches, workers, pin, first), first):
            rate = learning_rate(step, settings)
            for group in optimizer.param_groups:
                group["lr"] = rate
            losses[step % settings.log_every] = _step(stepped, optimizer, batch, training, step)
            objective.after_step()
            done = step + 1
            row_due = done % settings.log_every == 0 or done == settings.steps
            now = time.monotonic()
            late = now - saved_at > settings.checkpoint_minutes * 60
            stopped, save_due = any_rank([stop.is_set(), stop.is_set() or late])
            if row_due or save_due:  # the host waits for the device only here
                count = step % settings.log_every + 1
                seen = sum_over_ranks(losses[:count]) / share.ranks
                mean, *more = _finite_means(seen, done - count, rate, batches, title)
            if row_due:
                curve.rows.append((done, mean, rate, *more))
                progress.show(done, mean, rate)
                told = {"loss": mean, "lr": rate, **dict(zip(curve.measures, more, strict=True))}
                progress.draw(done, told | _validate(objective, curve, done, training, miou))
            if save_due and done < settings.steps:
                curve.seconds = before + time.monotonic() - started
                save_state(training.state, training.key, objective, optimizer, losses, done, curve)
                saved_at = now
                if stopped:
                    any_rank([True])  # nobody leaves before the state is on disk
                    raise SystemExit(f"{title}: stopped by a signal after step {done}; state saved")
    curve.seconds = before + time.monotonic() - started
    if curve.best is not None:
        objective.load_state_dict(curve.best[1])
    return curve


def _validate(
    objective: nn.Module,
    curve: Curve,
    done: int,
    training: Training,
    miou: Callable[[], float] | None,
) -> dict[str, float]:
    own = training.settings.finetune
    if miou is None or (done % own.validate_every and done != own.steps):
        return {}
    objective.eval()
    value = curve.validation[done] = miou()
    objective.train()
    if own.report == "best" and (curve.best is None or value > curve.best[0]):
        curve.best = value, {k: v.detach().clone() for k, v in objective.state_dict().items()}
    return {"val_miou": value}


def _step(
    objective: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Sequence[Tensor],
    training: Training,
    step: int,
) -> Tensor:
    device, share = training.device, current_share()
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
        parts = zip(*(tensor.chunk(pieces) for tensor in batch), strict=True)
        for number, part in enumerate(parts, 1):
            images, labels, *more = (_on_device(tensor, device) for tensor in part)
            with _averaged_over_ranks(objective, number == pieces):
                with autocast:
                    found = objective(images, labels, rng, *more).reshape(-1) / pieces
                found[0].backward()
            total = total + found.detach()
        optimizer.step()
    except torch.OutOfMemoryError as error:
        crop = tuple(batch[0].shape[-2:])
        raise TrainingError(
            f"out of memory at batch {training.loop.batch} and crop {crop} on "
            f"{device}; raise accumulate, lower batch or image.crop, or set precision to bf16"
        ) from error
    return total


def _on_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Images uint8 (B, 3, H, W) as float in 0..1, labels uint8 (B, H, W) as int64."""
    if tensor.dim() == 3:
        return tensor.to(device, torch.int64, non_blocking=True)
    unit = to_unit(tensor.to(device, non_blocking=True))
    return unit.contiguous(memory_format=torch.channels_last)


def _averaged_over_ranks(objective: nn.Module, last: bool) -> AbstractContextManager[None]:
    """Gradients are exchanged once a step, with those of its last piece."""
    if last or not isinstance(objective, DistributedDataParallel):
        return nullcontext()
    return objective.no_sync()


def _finite_means(
    losses: Tensor, first: int, rate: float, batches: StepBatches, title: str
) -> list[float]:
    """Mean over the steps of the loss and of each measure; every loss must be finite."""
    for step, value in enumerate(losses[:, 0].tolist(), first):
        if not math.isfinite(value):
            raise TrainingError(
                f"{title}: the loss is {value} at step {step + 1}, learning rate {rate:.3g}, "
                f"images {', '.join(batches.ids(step))}; lower the rate or look at these images"
            )
    columns = losses.T.tolist()
    return [sum(values) / len(values) for values in columns]
