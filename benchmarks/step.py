"""What a training step takes and where, beside the same training written the plain way.

    python benchmarks/step.py [demo ...] [--threads 1] [--rounds 3]

For every setting below both stages run for a few seconds by the project's own stages and by
benchmarks/plain_loop.py, in turns, in each of the rounds; ratios are medians of those within a
round. The parts of a step are taken in a run of their own. Writes benchmarks/results/step.{csv,md}.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, median
from typing import Any

import pandas as pd
import plain_loop
import torch
from loss import called
from loss_gpu import DTYPES, matmul_rate
from torch import nn
from torch.nn.modules import module as hooks
from torch.optim import optimizer as optimizers

from cseg import experiment
from cseg.compute.device import has_gpu, open_device
from cseg.estimate.calibrate import paint, step_seconds
from cseg.estimate.flops import step_work
from cseg.model.network import Segmenter
from cseg.settings.run import RunSettings
from cseg.storage.files import write_text
from cseg.storage.provenance import git_revision
from cseg.storage.tables import markdown, write_table
from cseg.training import loop

HERE = Path(__file__).parent
CONFIGS = HERE.parent / "workflow" / "configs"
STAGES = ("pretrain", "finetune")
PARTS = ("load", "forward", "loss", "backward", "optimizer", "other")


@dataclass(frozen=True)
class Setting:
    """What is trained."""

    configs: tuple[Path, ...]  # overlays on config.yaml
    changes: Mapping[str, Any]  # on top of the overlays
    size_HW: tuple[int, int]  # size of the painted images
    torchvisions: bool  # whether the plain way takes torchvision's deeplabv3_resnet50
    plain: int  # steps of the plain way in a round, the first one not counted
    # whether ours trains a run on each core at a time, as the workflow does, and the plain way one
    # run on all cores, as torch does by itself; a step's time is then that of all runs
    all_cores: bool = False


SMALL = {
    "image": {"crop": [129, 129]},
    "pretrain": {"batch": 4, "grid": [33, 33], "workers": 0, "cache_mib": 256},
    "finetune": {"batch": 4, "workers": 0, "cache_mib": 256},
}
PAPER = {"precision": "bf16", "compile": False}
SETTINGS = {
    "smoke": Setting((CONFIGS / "smoke.yaml",), {}, (32, 32), False, 3),  # for the test
    "demo": Setting((), {}, (48, 48), False, 20),
    "demo, all cores": Setting((), {}, (48, 48), False, 20, all_cores=True),
    "resnet50 at 129": Setting((CONFIGS / "voc2012.yaml",), SMALL, (129, 172), False, 3),
    "resnet50 at 129, torchvision's network": Setting(
        (CONFIGS / "voc2012.yaml",), SMALL, (129, 172), True, 3
    ),
    "paper": Setting((CONFIGS / "voc2012.yaml",), PAPER, (375, 500), True, 10),  # for a GPU
}
DEFAULT = [name for name in SETTINGS if name not in ("smoke", "paper")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("settings", nargs="*", help=f"of {', '.join(SETTINGS)}")
    parser.add_argument("--arm", default="within")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "step.csv")
    args = parser.parse_args()
    device = open_device("auto", args.threads)
    facts = {
        "arm": args.arm,
        "threads": args.threads,
        "device": called(device),
        "torch_version": torch.__version__,
        "revision": git_revision(),
    }
    rows = []
    for name in args.settings or (DEFAULT if device.type == "cpu" else ["paper"]):
        rows += measure(name, SETTINGS[name], args.arm, args.threads, args.rounds, device)
        table = pd.DataFrame(rows).assign(**facts)  # written each time: a setting takes minutes
        write_table(args.out, table, float_format="%.6g")
        write_text(args.out.with_suffix(".md"), report(table, facts))
    print(args.out.with_suffix(".md").read_text())


def measure(
    name: str, setting: Setting, arm: str, threads: int, rounds: int, device: torch.device
) -> list[dict[str, Any]]:
    """A row for each stage of one setting."""
    planned = experiment.load(setting.configs, setting.changes)
    settings, info = planned.run_settings(arm, 0), planned.info
    rows = []
    copies = len(os.sched_getaffinity(0)) if setting.all_cores else 1
    side = 8192 if device.type == "cuda" else 1024
    with tempfile.TemporaryDirectory() as folder:
        data = paint(Path(folder), info, setting.size_HW)
        for stage in STAGES:
            ours, plain, rates = [], [], []
            for _ in range(rounds):
                rates.append(copies * matmul_rate(device, DTYPES[settings.precision], side))
                ours.append(our_seconds(stage, settings, data, Path(folder), threads, copies))
                torch.set_num_threads(threads * copies)
                seconds = plain_loop.plain_steps(
                    stage, settings, data, info, setting.torchvisions, device, setting.plain
                )
                torch.set_num_threads(threads)
                plain.append(median(seconds[1:]))
                print(f"{name}, {stage}: {ours[-1]:.4f} s, plain {plain[-1]:.4f} s", flush=True)
            with marked() as steps:
                step_seconds(stage, settings, data, Path(folder), threads=threads)
            work, _ = step_work(stage, settings, info.num_classes)
            own = getattr(settings, stage)
            rows.append(
                {
                    "setting": name,
                    "stage": stage,
                    "step_ms": 1000 * median(ours),
                    "step_ms_min": 1000 * min(ours),
                    "step_ms_max": 1000 * max(ours),
                    "images_per_second": own.batch / median(ours),
                    **{f"{k}_ms": v for k, v in typical(steps, 8).items()},
                    "network_gflop": work / 1e9,
                    "matmul_gflops": median(rates) / 1e9,
                    "share_of_matmul": median(work / t / rate for t, rate in zip(ours, rates)),
                    "plain_ms": 1000 * median(plain),
                    "plain_ms_min": 1000 * min(plain),
                    "plain_ms_max": 1000 * max(plain),
                    "times_plain": median(b / a for a, b in zip(ours, plain)),
                    "planned_steps": own.steps,
                    "planned_hours": own.steps * median(ours) / 3600,
                }
            )
    return rows


def our_seconds(
    stage: str, settings: RunSettings, data: Any, folder: Path, threads: int, copies: int
) -> float:
    """Seconds of a step, over the number of runs that train at the same time."""
    if copies == 1:
        return step_seconds(stage, settings, data, folder, threads=threads)[0]
    with get_context("spawn").Pool(copies) as pool:
        arguments = [(stage, settings, data, folder / str(number)) for number in range(copies)]
        timed = pool.starmap(partial(step_seconds, threads=threads), arguments)
        return mean(seconds for seconds, _ in timed) / copies


def report(table: pd.DataFrame, facts: Mapping[str, Any]) -> str:
    """The rows in Markdown."""
    lines = [
        f"Arm {facts['arm']}, {facts['threads']} thread(s) of {facts['device']}, torch "
        f"{facts['torch_version']}, revision {facts['revision']}. The plain way: torchvision's "
        "transforms, each image decoded for every batch, float32, NCHW, eager, the dense loss; "
        "times are medians over the rounds (least to most). `all cores`: ours trains a run on each "
        "core, the plain way one run on all of them; a step's time is that of a step of all runs.",
        "",
    ]
    header = ("setting", "stage", "ms a step", "images/s", *PARTS,
              "share of matmul rate", "plain, ms", "faster", "steps planned: hours")  # fmt: skip
    rows = []
    for r in table.to_dict("records"):
        whole = sum(r[f"{part}_ms"] for part in PARTS)
        rows.append((
            r["setting"], r["stage"], _spread(r, "step_ms"), f"{r['images_per_second']:.1f}",
            *(f"{r[f'{part}_ms'] / whole:.0%}" for part in PARTS),
            f"{r['share_of_matmul']:.0%}", _spread(r, "plain_ms"), f"{r['times_plain']:.2f}x",
            f"{r['planned_steps']}: {r['planned_hours']:.3g}",
        ))  # fmt: skip
    return "\n".join([*lines, *markdown(header, rows, left=2)]) + "\n"


def _spread(row: Mapping[str, Any], name: str) -> str:
    return f"{row[name]:.1f} ({row[f'{name}_min']:.1f} - {row[f'{name}_max']:.1f})"


@contextmanager
def marked() -> Iterator[list[dict[str, float]]]:
    """Collect the seconds of the parts of every step inside the block, by hooks of torch.

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


if __name__ == "__main__":
    main()
