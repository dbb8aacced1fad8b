"""Settings that fit the images, their number and this machine; what they will cost."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cseg.estimate.calibrate import calibrate
from cseg.estimate.plan import Sizes, finish, planned_arms, render, run_seconds
from cseg.experiment import Experiment, Run, load, merge
from cseg.paper.statistics import MIN_IMAGES

# shorter side of a training crop, at most, pixels; the smallest first
CPU_SIDES, GPU_SIDES = (64, 96), (512,)
CPU_MINUTES, GPU_MINUTES = 7, 60  # that the runs may take; on CPUs the rest takes about two
ENOUGH_STEPS = 400  # of a stage: with fewer, smaller images are the better use of the time
LEAST_STEPS, MOST_STEPS = 200, 20_000  # of a stage
CELL = 16  # crops are multiples of it, pixels
LARGE = 2**22  # pixels of an image from which on it is evaluated by windows


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What computes: CPU cores of this process, and the GPU's name, empty where there is none."""

    cores: int
    gpu: str

    @property
    def devices(self) -> int:
        """How many runs go on at a time."""
        return 1 if self.gpu else self.cores

    @property
    def name(self) -> str:
        """In words."""
        return self.gpu or f"{self.cores} CPU core{'s' * (self.cores != 1)}, no GPU"


@dataclass(frozen=True, kw_only=True)
class Data(Sizes):
    """What decides on settings: numbers of images, their median size in pixels, and of classes."""

    height: int
    width: int
    classes: int


def this_machine() -> Machine:
    """The machine this process runs on."""
    import torch

    from cseg.compute.device import device_name, has_gpu

    gpu = device_name(torch.device("cuda")) if has_gpu() else ""
    return Machine(cores=len(os.sched_getaffinity(0)), gpu=gpu)


def propose(data: Data, machine: Machine, most: int) -> dict[str, Any]:
    """Keys of the config by image size, number of images and machine; steps are not yet fitted.

    The shorter side of a crop has at most `most` pixels.
    """
    shorter = min(data.height, data.width)
    side = None if shorter <= most else most
    factor = 1.0 if side is None else side / shorter
    # at least two cells, at most as long as the image, or as a third more than `most`
    crop = [max(2 * CELL, int(min(length * factor, most * 4 / 3)) // CELL * CELL)
            for length in (data.height, data.width)]  # fmt: skip
    few = max(4, min(data.classes, data.train), math.ceil(data.train / 4))
    arms = ["scratch", "cross", "imagenet"]
    if data.unlabelled:
        arms.append("cross_pseudo")
    shared = {"batch": 16 if machine.gpu else 8, "workers": 4 if machine.gpu else 0}
    # images too few for a test leave only the seeds to test
    three_seeds = bool(machine.gpu) or data.val < MIN_IMAGES
    settings: dict[str, Any] = {
        "run_arms": arms,
        "label_counts": [few, "all"] if few < data.train else ["all"],
        "seeds": [0, 1, 2] if three_seeds else [0, 1],
        "image": {"short_side": side, "crop": crop, "scale": [0.75, 1.5]},
        "pretrain": {"grid": [length // 4 for length in crop], **shared},
        "finetune": shared,
    }
    if machine.gpu:
        settings["model"] = {
            "encoder": "resnet50", "output_stride": 16, "aspp_channels": 256,
            "aspp_rates": [6, 12, 18], "low_channels": 48, "decoder_channels": 256,
            "projection_channels": 256,
        }  # fmt: skip
    if data.height * data.width * factor**2 >= LARGE:
        settings["evaluate"] = {"window": crop}
    return settings


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """An experiment whose steps fit the time that it may take."""

    settings: Mapping[str, Any]  # keys of the config
    steps: int  # of each stage
    table: str  # the plan, as `cseg plan` prints it
    minutes: float  # until it is finished, at best
    machine: Machine  # where


def fit(folder: Mapping[str, Any], data: Data, machine: Machine) -> Fitted:
    """The largest crop with which a stage has enough steps in the time that it may take.

    `folder` are keys of the config that say where the images are and what they mean.
    """
    smallest, *larger = GPU_SIDES if machine.gpu else CPU_SIDES
    fitted = fit_steps(folder, propose(data, machine, smallest), data, machine)
    for side in larger:
        settings = propose(data, machine, side)
        wider = math.prod(settings["image"]["crop"]) / math.prod(fitted.settings["image"]["crop"])
        if wider == 1 or fitted.steps / wider < ENOUGH_STEPS:
            break
        fitted = fit_steps(folder, settings, data, machine)
    return fitted


def fit_steps(
    folder: Mapping[str, Any], settings: Mapping[str, Any], data: Data, machine: Machine
) -> Fitted:
    """The steps of each stage with which the experiment takes about the time that it may.

    Every arm is measured here for a few seconds, as `cseg plan` does.

    `folder` is as in `fit`; `settings` are the config's other keys, without steps.
    """
    config = {**folder, **settings}
    experiment, size = load([], config), (data.height, data.width)
    costs = calibrate(experiment, planned_arms(experiment), size_HW=size, devices=machine.devices)

    def planned(steps: int) -> tuple[Experiment, dict[Run, float]]:
        block = {"steps": steps}
        tried = load([], merge(config, {"pretrain": block, "finetune": block}))
        return tried, run_seconds(tried, data, costs)

    few, more = (finish(planned(n)[1], machine.devices) for n in (LEAST_STEPS, 2 * LEAST_STEPS))
    wanted = 60 * (GPU_MINUTES if machine.gpu else CPU_MINUTES)
    steps = LEAST_STEPS + (wanted - few) / max((more - few) / LEAST_STEPS, 1e-9)
    rounded = int(min(max(steps, LEAST_STEPS), MOST_STEPS) // 50 * 50)
    fitted, runs = planned(rounded)
    stages = {stage: {"steps": rounded, **settings[stage]} for stage in ("pretrain", "finetune")}
    return Fitted(
        settings={**settings, **stages},
        steps=rounded,
        table=render(fitted, data, costs, machine.devices),
        minutes=finish(runs, machine.devices) / 60,
        machine=machine,
    )
