"""Time and memory of the pixel contrastive loss of a whole batch on a GPU, beside its rivals.

Each row: a few runs to warm up, then timed runs of forward + backward with the device waited for
at the end of each, then one whose peak of allocated memory above the inputs and their gradients is
taken. If a rival does not run (memory, or what torch does not offer here), its figures are NaN and
`failed` says why. Errors are relative, of the loss and of its gradients, against the same form in
float64 on the same inputs; the sampled rival computes another loss, so it has none. The share of
the matmul rate counts only the flops that are needed: 3 (released form) or 6 (paper's) per pair and
channel. The kernels do more, 6 and 8, and in float32 three products for one:
`cseg.estimate.flops.kernel_flops` counts those, pairs of one class left out. A part of
`benchmarks/gpu.py`.
"""

import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import rivals
import torch
from gpu_page import SAMPLED
from torch import Tensor
from torch.nn.attention.flex_attention import flex_attention

from cseg.estimate.flops import kernel_flops
from cseg.losses import PixelContrastLoss

CLASSES = 8
OURS = "ours, "
MEASURED = ("median_ms", "min_ms", "max_ms", "extra_mib", "loss_error", "gradient_error")
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


def inputs(images: int, pixels: int, channels: int, device: torch.device, dtype: torch.dtype):
    """Two views' unit features (B,P,D) and labels (B,P) of stripes of eight classes."""
    gen = torch.Generator().manual_seed(0)
    stripes = torch.randint(0, CLASSES, (images, 1 + pixels // 64), generator=gen)
    labels = stripes.repeat_interleave(64, 1)[:, :pixels].contiguous()
    centres = torch.randn(CLASSES, channels, generator=gen)[labels]
    views = [centres + 2 * torch.randn(centres.shape, generator=gen) for _ in range(2)]
    units = [torch.nn.functional.normalize(v, dim=2).to(device, dtype) for v in views]
    return *(u.requires_grad_() for u in units), labels.to(device)


def form_of(row: str) -> dict[str, str]:
    """Scope and denominator of the loss that a row's name holds."""
    denominator = "negatives" if "released" in row else "all"
    return {"scope": row.rsplit(" ", 1)[1], "denominator": denominator}


def views_of(row: str, feats: Tensor, other: Tensor, labels: Tensor) -> tuple[Tensor | None, ...]:
    """What our loss of a row is called with; the released form within images takes one view."""
    alone = "released" in row and row.endswith("within")
    return feats, labels, None if alone else other, None, torch.arange(len(labels)).roll(1)


def rows_of(feats: Tensor, other: Tensor, labels: Tensor) -> dict[str, Callable[[], Tensor]]:
    """The loss of each row, without arguments."""
    partner = torch.arange(len(labels)).roll(1)

    def ours(row: str) -> Callable[[], Tensor]:
        contrast = PixelContrastLoss(None, **form_of(row))  # normalises, as in training
        return lambda: contrast(*views_of(row, feats, other, labels))

    def each(loss: Callable[..., Tensor], *second: Tensor) -> Callable[[], Tensor]:
        pairs = list(zip(feats, labels, *second))
        return lambda: torch.stack([loss(*pair) for pair in pairs]).mean()

    def cross() -> Tensor:
        parts = [
            rivals.eager_released_cross(feats[i], labels[i], other[j], labels[j])
            for i, j in enumerate(partner.tolist())
        ]
        return torch.stack(parts).mean()

    def flex() -> Tensor:
        return rivals.flex_paper(feats, labels, other, CLASSES, attention)

    compiled, compiled_paper = map(torch.compile, (rivals.eager_released, rivals.eager_paper))
    attention = torch.compile(flex_attention)
    forms = ("released form, within", "released form, cross", "paper's form, within",
             "paper's form, cross", "paper's form, batch")  # fmt: skip
    return {
        **{OURS + form: ours(OURS + form) for form in forms},
        "eager released form, within": each(rivals.eager_released),
        "torch.compile of the released form, within": each(compiled),
        "eager released form, cross": cross,
        "eager paper's form, within": each(rivals.eager_paper, other),
        "torch.compile of the paper's form, within": each(compiled_paper, other),
        "flex-attention, paper's form, within": flex,
        SAMPLED: lambda: rivals.sampled(feats, labels, 1024),
    }


def exact(row: str, leaves: list[Tensor], labels: Tensor) -> list[Tensor]:
    """Loss and gradients of a row's form in float64; rivals take features as they are."""
    wide = [leaf.detach().double().requires_grad_() for leaf in leaves]
    options = {**form_of(row), "normalize": row.startswith(OURS), "backend": "tiled"}
    contrast = PixelContrastLoss(None, **options)
    return value_and_grads(lambda: contrast(*views_of(row, *wide, labels)), wide)


def value_and_grads(step: Callable[[], Tensor], leaves: list[Tensor]) -> list[Tensor]:
    for leaf in leaves:
        leaf.grad = None
    loss = step()
    loss.backward()
    return [loss.detach(), *(leaf.grad for leaf in leaves if leaf.grad is not None)]


def errors(found: list[Tensor], true: list[Tensor]) -> dict[str, float]:
    """Relative errors of a loss and, the largest, of its gradients."""
    each = [float((a.double() - b).norm() / b.norm()) for a, b in zip(found, true, strict=True)]
    return {"loss_error": each[0], "gradient_error": max(each[1:])}


def measure(
    row: str, step: Callable[[], Tensor], leaves: list[Tensor], labels: Tensor, repeats: int
) -> tuple[dict[str, float], str]:
    """Milliseconds, extra MiB and errors of one row, and why a rival failed.

    Raises:
        Exception: a row of ours failed.
    """
    device = leaves[0].device
    found = dict.fromkeys(MEASURED, float("nan"))

    def once() -> float:
        return 1000 * seconds(lambda: value_and_grads(step, leaves), device)

    try:
        for _ in range(3):
            once()
        times = sorted(once() for _ in range(repeats))
        found |= {"median_ms": median(times), "min_ms": times[0], "max_ms": times[-1]}
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            once()
            found["extra_mib"] = (torch.cuda.max_memory_allocated() - before) / 2**20
        if row != SAMPLED:
            found |= errors(value_and_grads(step, leaves), exact(row, leaves, labels))
    except Exception as error:  # compilers of rivals raise errors of many types
        if row.startswith(OURS):
            raise
        words = " ".join(str(error).split()) or "no reason given"
        print(f"{row}: {type(error).__name__}: {words}", flush=True)
        return found, f"{type(error).__name__}: {words[:120]}"
    return found, ""


def seconds(action: Callable[[], Any], device: torch.device) -> float:
    """Seconds of an action, from an idle device until it is idle again."""
    _wait(device)
    started = time.perf_counter()
    action()
    _wait(device)
    return time.perf_counter() - started


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def matmul_rate(device: torch.device, dtype: torch.dtype, size: int) -> float:
    """Measured flops per second of square products."""
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    times = [seconds(lambda: a @ b, device) for _ in range(12)]
    return 2 * size**3 / median(times[2:])


def needed_flops(row: str, images: int, pixels: int, channels: int) -> float:
    """Flops that one of our rows cannot do without; same-class pairs across images left out."""
    pairs = images * pixels**2
    if row.endswith("batch"):
        return 6.0 * (images * pixels) ** 2 * channels
    sides = 2 if row.endswith("cross") and "released" in row else 1
    return (3.0 if "released" in row else 6.0) * sides * pairs * channels


def measured_rows(
    images: int,
    pixels: int,
    channels: int,
    dtype: torch.dtype,
    device: torch.device,
    repeats: int,
    rate: float,
) -> Iterator[dict[str, object]]:
    """Each row as soon as it is measured: name, times, memory, shares of the matmul `rate`."""
    feats, other, labels = inputs(images, pixels, channels, device, dtype)
    for row, step in rows_of(feats, other, labels).items():
        found, failed = measure(row, step, [feats, other], labels, repeats)
        needed = done = float("nan")
        if row.startswith(OURS):
            available = rate * found["median_ms"] / 1000
            needed = needed_flops(row, images, pixels, channels) / available
            work = kernel_flops(
                **form_of(row), images=images, pixels=pixels, channels=channels,
                half=dtype == torch.bfloat16, second_view=False, alike=0.0,
            )  # fmt: skip
            done = work / available
        yield {"row": row, **found, "share": needed, "kernel_share": done, "failed": failed}
