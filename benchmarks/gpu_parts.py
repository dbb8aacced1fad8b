"""The parts of `benchmarks/gpu.py`: each measures one thing and returns rows of plain values."""

import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import loss_gpu
import pandas as pd
import plain_loop
import torch
from gpu_evidence import run_stage
from step import SETTINGS, Setting, marked, our_seconds, typical

from cseg import experiment
from cseg.estimate.calibrate import IMAGES, calibrate, paint, step_seconds
from cseg.estimate.flops import counted_costs, step_work
from cseg.estimate.plan import CONTEXT_MIB, KEPT, Sizes, run_seconds
from cseg.experiment import Experiment
from cseg.losses import PixelContrastLoss
from cseg.model import checkpoint
from cseg.settings.run import RunSettings
from cseg.stages.pretrain import pretrain
from cseg.stages.run import RunInputs, TrainingOutputs
from cseg.storage.files import read_json

Rows = list[dict[str, Any]]
FORMS = [(s, d) for d in ("all", "negatives") for s in ("within", "cross", "batch")]


@dataclass(frozen=True)
class Part:
    """What is measured."""

    name: str
    seconds: float  # somewhat more than it took on an H100; a guess if it has not run on a GPU yet
    measure: Callable[[torch.device, bool], Rows]


def ceilings(device: torch.device, tiny: bool) -> Rows:
    """Rates of square matrix products by type, and of copying memory."""
    size = 128 if tiny else 8192
    rows = []
    for name, dtype in (("bf16", torch.bfloat16), ("tf32", torch.float32), ("fp32", torch.float32)):
        torch.backends.cuda.matmul.allow_tf32 = name == "tf32"
        rate = loss_gpu.matmul_rate(device, dtype, size)
        rows.append({"what": f"products, {name}", "value": rate / 1e12, "unit": "TFLOP/s"})
    torch.backends.cuda.matmul.allow_tf32 = False
    source = torch.ones(2**20 if tiny else 2**30, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    seconds = median(loss_gpu.seconds(lambda: target.copy_(source), device) for _ in range(10))
    rate = 2 * source.numel() / seconds / 1e9
    return [*rows, {"what": "memory, read and written", "value": rate, "unit": "GB/s"}]


def correctness(device: torch.device, tiny: bool) -> Rows:
    """Relative errors of loss and gradients against all pairs in float64, for every form."""
    sizes = [(2, 40, 32)] if tiny else [(3, 1000, d) for d in (32, 64, 128, 256, 512)]
    rows = []
    for images, pixels, channels in sizes:
        feats, other, _ = loss_gpu.inputs(images, pixels, channels, device, torch.float64)
        labels = torch.randint(0, 8, (images, pixels), device=device)
        labels = torch.where(torch.rand(labels.shape, device=device) < 0.1, 255, labels)
        for name, dtype in loss_gpu.DTYPES.items():
            views = feats.to(dtype), other.to(dtype)
            wide = tuple(view.double() for view in views)  # rounded alike
            for scope, denominator in FORMS:
                exact = _value_and_grads(wide, labels, scope, denominator, "dense")
                found = _value_and_grads(views, labels, scope, denominator, "auto")
                rows.append({
                    "scope": scope, "denominator": denominator, "channels": channels,
                    "dtype": name, **loss_gpu.errors(found, exact),
                })  # fmt: skip
    return rows


def _value_and_grads(views, labels, scope, denominator, backend) -> list[torch.Tensor]:
    leaves = [view.detach().clone().requires_grad_() for view in views]
    loss = PixelContrastLoss(
        None, scope=scope, denominator=denominator, normalize=False, backend=backend
    )
    partner = torch.arange(len(labels)).roll(1)
    return loss_gpu.value_and_grads(
        lambda: loss(leaves[0], labels, leaves[1], partner=partner), leaves
    )


def loss_table(dtype: str, device: torch.device, tiny: bool) -> Rows:
    """Time, memory and shares of the matmul rate of our forms and their rivals, in one type."""
    sizes = (2, 200, 16) if tiny else (16, 4225, 256)
    kind = loss_gpu.DTYPES[dtype]
    rate = loss_gpu.matmul_rate(device, kind, 128 if tiny else 8192)
    return list(loss_gpu.measured_rows(*sizes, kind, device, 2 if tiny else 10, rate))


@contextmanager
def _painted(
    tiny: bool, device: torch.device, name: str = "paper", **changes: Any
) -> Iterator[tuple[Experiment, Setting, RunInputs, Path]]:
    """An experiment, what is trained in it, and images in a folder that the block may use."""
    chosen = SETTINGS["smoke" if tiny else name]
    planned = experiment.load(chosen.configs, {**chosen.changes, "device": device.type, **changes})
    with tempfile.TemporaryDirectory() as folder:
        yield planned, chosen, paint(Path(folder), planned.info, chosen.size_HW), Path(folder)


def step(stage: str, precision: str, compiled: bool, device: torch.device, tiny: bool) -> Rows:
    """A step of a stage in parts, next to the same step written plainly with torchvision."""
    threads = 1 if tiny else 8
    painted = _painted(tiny, device, precision=precision, compile=compiled)
    with painted as (planned, chosen, data, folder):
        settings, info = planned.run_settings("within", 0), planned.info
        seconds, cost = step_seconds(stage, settings, data, folder, threads=threads)
        peak = read_json(cost)["peak_memory_mib"]
        with marked() as steps:
            step_seconds(stage, settings, data, folder, threads=threads)
        times = plain_loop.plain_steps(
            stage, settings, data, info, chosen.torchvisions, device, 2 if tiny else 6
        )
    work, activations = step_work(stage, settings, info.num_classes)
    plain = median(times[1:])
    return [{
        "stage": stage, "precision": precision, "compiled": compiled,
        "step_ms": 1000 * seconds, "plain_ms": 1000 * plain,
        "faster": plain / seconds, "peak_mib": peak,
        "planned_activations_mib": activations / 2**20, "network_tflops": work / seconds / 1e12,
        **{f"{part}_ms": value for part, value in typical(steps, 4).items()},
    }]  # fmt: skip


def _trained(settings: RunSettings, data: RunInputs, folder: Path, steps: int) -> TrainingOutputs:
    out = TrainingOutputs.of(folder, "pretrain")
    short = {"steps": steps, "warmup_steps": 0, "log_every": steps}
    settings = replace(settings, pretrain=replace(settings.pretrain, **short))
    pretrain(data, settings, out=out, threads=1, title=folder.name)
    return out


def strict(device: torch.device, tiny: bool) -> Rows:
    """Whether strict mode repeats every bit of the weights, and its time over the usual one's."""
    seconds, weights = {}, []
    with _painted(tiny, device) as (planned, _, data, folder):
        for number, mode in enumerate((False, False, True, True)):  # the first of each warms up
            own = replace(planned.run_settings("within", 0), deterministic=mode)
            torch.use_deterministic_algorithms(mode)
            done = _trained(own, data, folder / str(number), 4 if tiny else 20)
            seconds[mode] = read_json(done.cost)["seconds"]
            if mode:
                weights.append(checkpoint.load(done.weights, "pretrain")["network"])
        torch.use_deterministic_algorithms(False)
    same = all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    return [{"same_bits": same, "times_the_usual": seconds[True] / max(seconds[False], 1e-9)}]


def precisions(device: torch.device, tiny: bool) -> Rows:
    """The loss after a short training in float32 and in bfloat16, from the same start."""
    rows = []
    for precision in ("fp32", "bf16"):
        with _painted(tiny, device, precision=precision) as (planned, _, data, folder):
            settings = planned.run_settings("within", 0)
            done = _trained(settings, data, folder / precision, 4 if tiny else 60)
            last = pd.read_csv(done.curve)["loss"].iloc[-1]
            rows.append({"precision": precision, "loss": float(last)})
    return rows


def shared_card(device: torch.device, tiny: bool) -> Rows:
    """A step of the demo's network alone and in two processes on one card."""
    with _painted(tiny, device, "demo") as (planned, _, data, folder):
        settings = planned.run_settings("within", 0)
        alone, both = (
            our_seconds("finetune", settings, data, folder, 1, copies) for copies in (1, 2)
        )
    return [{"alone_ms": 1000 * alone, "two_ms_per_step": 1000 * both, "gain": alone / both}]


def forecast(device: torch.device, tiny: bool) -> Rows:
    """What the plan forecasts for one short run of the arm `within`, and what the run then takes.

    The forecast is that of `cseg plan`: measured on this device by short runs, on a GPU the memory
    also as counted without a device. A GPU's memory is what the card has less while the job lives.
    """
    loop = {"steps": 8 if tiny else 200, "warmup_steps": 0}
    changes = {"run_arms": ["within"], "seeds": [0], "label_counts": ["all"],
               "budget": "equal_finetune", "pretrain": loop, "finetune": loop}  # fmt: skip
    with _painted(tiny, device, **changes) as (planned, chosen, data, folder):
        (cost,) = calibrate(planned, ["within"], size_HW=chosen.size_HW, devices=1).values()
        (planned_seconds,) = run_seconds(planned, Sizes(IMAGES, IMAGES), {"within": cost}).values()
        seconds, peak, used = _taken(folder, data, planned.run_settings("within", 0))
    pairs = {
        "a run in three jobs, s": (planned_seconds, seconds),
        "largest peak as measured by the plan, MiB": (cost.memory_mib, peak),
    }
    if device.type == "cuda":  # on a CPU a job's memory is mostly its libraries
        counted = counted_costs(planned, ["within"], size_HW=chosen.size_HW, teraflops=1.0)
        pairs["largest peak as counted by the plan, MiB"] = (counted["within"].memory_mib, peak)
        pairs["a job's memory on the card, MiB"] = (CONTEXT_MIB + KEPT * cost.memory_mib, used)
    return [
        {"what": what, "forecast": told, "taken": taken, "taken_over_forecast": taken / told}
        for what, (told, taken) in pairs.items()
    ]


def _taken(folder: Path, data: RunInputs, settings: RunSettings) -> tuple[float, float, float]:
    """Seconds of all jobs from start to end, the largest peak, and the most of the card, MiB."""
    seconds, used = 0.0, 0.0
    for stage in (*settings.trainings, "evaluate"):
        before = _free(settings.device)
        started = time.monotonic()
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as job:
            left = job.submit(_run_job, stage, data, settings, folder).result()
        seconds += time.monotonic() - started
        used = max(used, before - left)
    costs = [TrainingOutputs.of(folder, stage).cost for stage in settings.trainings]
    peaks = [read_json(cost)["peak_memory_mib"] for cost in costs]
    return seconds, max(peaks), used


def _free(device: str) -> float:
    return torch.cuda.mem_get_info()[0] / 2**20 if device == "cuda" else 0.0


def _run_job(stage: str, data: RunInputs, settings: RunSettings, folder: Path) -> float:
    """Do one stage of the run; returns the card's free memory at its end, MiB."""
    run_stage(stage, data, settings, folder, arm="within", threads=1)
    return _free(settings.device)


PARTS = [
    Part("ceilings", 5, ceilings),
    Part("correctness", 135, correctness),
    Part("loss_bf16", 50, partial(loss_table, "bf16")),
    Part("loss_fp32", 55, partial(loss_table, "fp32")),
    Part("step_pretrain_bf16", 35, partial(step, "pretrain", "bf16", False)),
    Part("step_finetune_bf16", 25, partial(step, "finetune", "bf16", False)),
    Part("step_pretrain_fp32", 35, partial(step, "pretrain", "fp32", False)),
    Part("step_finetune_fp32", 25, partial(step, "finetune", "fp32", False)),
    Part("strict", 25, strict),
    Part("precisions", 25, precisions),
    Part("shared_card", 25, shared_card),
    Part("forecast", 110, forecast),
    Part("step_pretrain_bf16_compiled", 85, partial(step, "pretrain", "bf16", True)),
    Part("step_finetune_bf16_compiled", 85, partial(step, "finetune", "bf16", True)),
    Part("step_pretrain_fp32_compiled", 85, partial(step, "pretrain", "fp32", True)),
    Part("step_finetune_fp32_compiled", 85, partial(step, "finetune", "fp32", True)),
]
