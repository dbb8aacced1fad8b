"""Where the time of a real training step goes: marks set from outside, by hooks of torch."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as hooks
from torch.optim import optimizer as optimizers

from cseg.compute.device import has_gpu
from cseg.model.network import Segmenter
from cseg.training import loop

PARTS = ("load", "forward", "loss", "backward", "optimizer", "other")


@contextmanager
def marked() -> Iterator[list[dict[str, float]]]:
    """Collect the seconds of the parts of every step trained inside the block.

    "forward" holds the copy to the device's memory layout, the distortion and the network;
    "loss" the resizing to the grid or to the image as well. The device is waited for at every mark,
    so the parts add up to more than an unmarked step where it would have run on.
    """
    steps: list[dict[str, float]] = []
    now: dict[str, float] = {}
    real = loop.iterate

    def tick() -> float:
        if has_gpu():
            torch.cuda.synchronize()
        return time.perf_counter()

    def iterate(*arguments: Any) -> Iterator[Any]:
        now["begin"] = tick()
        for batch in real(*arguments):
            now["loaded"] = tick()
            yield batch
            if "updated" in now:
                steps.append(_parts(now, tick()))
            now.clear()
            now["begin"] = tick()

    def before(module: nn.Module, inputs: Any) -> None:
        if isinstance(module, loop.Objective):
            now["network"] = tick()
            now["projector"] = id(module.network.projector)

    def after(module: nn.Module, inputs: Any, outputs: Any) -> None:
        if id(module) == now.get("projector") or isinstance(module, Segmenter):
            now["features"] = tick()
        elif isinstance(module, loop.Objective):
            now["lost"] = tick()

    handles = [
        hooks.register_module_forward_pre_hook(before),
        hooks.register_module_forward_hook(after),
        optimizers.register_optimizer_step_pre_hook(lambda *_: now.update(gradients=tick())),
        optimizers.register_optimizer_step_post_hook(lambda *_: now.update(updated=tick())),
    ]
    loop.iterate = iterate
    try:
        yield steps
    finally:
        loop.iterate = real
        for handle in handles:
            handle.remove()


def _parts(now: dict[str, float], end: float) -> dict[str, float]:
    parts = {
        "load": now["loaded"] - now["begin"],
        "forward": now["features"] - now["network"],
        "loss": now["lost"] - now["features"],
        "backward": now["gradients"] - now["lost"],
        "optimizer": now["updated"] - now["gradients"],
    }
    return parts | {"other": end - now["begin"] - sum(parts.values())}


def typical(steps: list[dict[str, float]], first: int) -> dict[str, float]:
    """Median milliseconds of each part, without the `first` steps."""
    return {part: 1000 * median(step[part] for step in steps[first:]) for part in PARTS}
