"""Short runs of the real stages on painted images, from which `cseg.estimate.plan` extrapolates."""

import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stderr
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from cseg.compute.device import gpu_memory, has_gpu
from cseg.datasets.samples import UNLABELLED, DatasetInfo, info_to_json
from cseg.experiment import Experiment
from cseg.settings.keys import plain
from cseg.settings.run import RunSettings, Stage
from cseg.settings.training import ContrastSettings, LoopSettings
from cseg.stages.evaluate import EvaluateOutputs, evaluate
from cseg.stages.finetune import finetune
from cseg.stages.pretrain import pretrain
from cseg.stages.run import RunInputs, TrainingOutputs
from cseg.storage.files import fingerprint, read_json, sha256_file, write_json

MIB = 2**20
IMAGES = 16  # painted for training; a run's own images are read once and then kept in memory
FIRST_STEPS = 4  # they pay for what only the first steps do
SECONDS = 4.0  # that a stage is measured for, about
# keys of a stage that do not change the work of a step
FREE = (
    "steps", "lr", "momentum", "weight_decay", "warmup_steps", "log_every", "checkpoint_minutes",
)  # fmt: skip


@dataclass(frozen=True)
class ArmCost:
    """What one arm takes on one device."""

    pretrain_step: float  # seconds of an optimiser step; 0 without pretraining
    finetune_step: float  # the same
    image: float  # seconds to predict and measure one image
    job: float  # seconds until a job begins to work: interpreter and libraries
    memory_mib: float  # largest peak
    weights_mib: float  # the weights that a run leaves
    prediction_mib: float  # one predicted map; an untrained network's, which compresses badly
    device: str  # where this was measured
    device_mib: float = 0.0  # memory of that GPU; 0 for a CPU, or if nothing was measured


def calibrate(
    experiment: Experiment, arms: Sequence[str], *, size_HW: tuple[int, int], devices: int
) -> dict[str, ArmCost]:
    """Measure every arm; arms whose steps do the same work are measured once.

    The files of the dataset are not needed; sizes are in pixels. On CPUs `devices` processes
    measure at the same time, up to one for each, as neighbours slow each other down.
    """
    alone = experiment.device != "cpu" and has_gpu()
    copies = 1 if alone else min(devices, len(os.sched_getaffinity(0)))
    if copies == 1:
        return _measure_all(experiment, arms, size_HW)
    with ProcessPoolExecutor(copies, mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(_measure_all, experiment, arms, size_HW) for _ in range(copies)]
        measured = [job.result() for job in jobs]
    means = {}
    for arm in arms:
        costs = pd.DataFrame([vars(each[arm]) for each in measured])
        numbers = costs.drop(columns="device").mean().to_dict()
        means[arm] = ArmCost(**numbers, device=costs["device"].iloc[0])
    return means


def _measure_all(
    experiment: Experiment, arms: Sequence[str], size_HW: tuple[int, int]
) -> dict[str, ArmCost]:
    job = job_seconds()
    known: dict[str, ArmCost] = {}
    found = {}
    for arm in arms:
        settings = experiment.run_settings(arm, 0)
        work = fingerprint(plain(_same_work(settings)))
        if work not in known:
            print(f"calibrate: {arm}", file=sys.stderr, flush=True)
            with tempfile.TemporaryDirectory() as folder, redirect_stderr(io.StringIO()):
                known[work] = _measure(settings, experiment.info, size_HW, job, Path(folder))
        found[arm] = known[work]
    return found


def _same_work(settings: RunSettings) -> RunSettings:
    """The settings with all that does not change the work of a step put to its default."""
    loop = {name: getattr(LoopSettings(), name) for name in FREE}
    return replace(
        settings,
        pretrain=replace(settings.pretrain, **loop, temperature=ContrastSettings().temperature),
        finetune=replace(settings.finetune, **loop, validate_every=0, report="last"),
    )


def job_seconds() -> float:
    """Seconds until a training job begins to work on this machine."""
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", "import cseg.stages.finetune"], check=True)
    return time.monotonic() - started


def _measure(
    settings: RunSettings, info: DatasetInfo, size_HW: tuple[int, int], job: float, folder: Path
) -> ArmCost:
    inputs = paint(folder, info, size_HW)
    steps, costs = {}, []
    for stage in settings.trainings:
        steps[stage], cost = step_seconds(stage, settings, inputs, folder)
        costs.append(cost)
    out = EvaluateOutputs.of(folder)
    measured = replace(settings, evaluate=replace(settings.evaluate, train_images=IMAGES))
    weights = folder / "finetune.pt"
    evaluate(inputs, measured, arm="calibrated", weights=weights, costs=costs, out=out, threads=1)
    row = pd.read_csv(out.metrics).iloc[0]
    facts = [read_json(cost) for cost in costs]
    return ArmCost(
        pretrain_step=steps.get("pretrain", 0.0),
        finetune_step=steps["finetune"],
        image=row["evaluate_seconds"] / (2 * IMAGES),
        job=job,
        memory_mib=max(fact["peak_memory_mib"] for fact in facts),
        weights_mib=sum((folder / f"{stage}.pt").stat().st_size for stage in steps) / MIB,
        prediction_mib=out.predictions.stat().st_size / IMAGES / MIB,
        device=facts[-1]["device"],
        device_mib=gpu_memory(settings.device),
    )


def step_seconds(
    stage: Stage, settings: RunSettings, inputs: RunInputs, folder: Path, *, threads: int = 1
) -> tuple[float, Path]:
    """Seconds of an optimiser step, as the difference of a short and a longer run; the cost file.

    The run before them is not timed: compilers and libraries choose their code in it. `inputs` are
    from `paint`, and the runs leave their files in `folder`.
    """
    out = TrainingOutputs.of(folder, stage)

    def seconds(steps: int) -> float:
        short: dict[str, Any] = {"steps": steps, "warmup_steps": 0, "log_every": 1}
        chosen = replace(
            settings,
            pretrain=replace(settings.pretrain, **short),
            finetune=replace(settings.finetune, **short, validate_every=0, report="last"),
        )
        run = pretrain if stage == "pretrain" else finetune
        run(inputs, chosen, out=out, threads=threads, title="calibration")
        return float(read_json(out.cost)["seconds"])

    seconds(FIRST_STEPS)
    first = seconds(FIRST_STEPS)
    more = int(np.clip(SECONDS * FIRST_STEPS / max(first, 1e-3), 8, 400))
    return max((seconds(FIRST_STEPS + more) - first) / more, 1e-6), out.cost


def paint(folder: Path, info: DatasetInfo, size_HW: tuple[int, int]) -> RunInputs:
    """Write what a run reads: blocks of colour, labels of every class, their index and a subset."""
    generator = np.random.default_rng(0)
    # class ids are written, whatever the dataset's own labels hold
    own = {c: c for c in range(info.num_classes)}
    info = replace(info, label_map=own, colour_map={}, labels_by="stored")
    rows: list[dict[str, Any]] = []
    for split in ("train", "val", UNLABELLED):
        for i in range(IMAGES):
            name = f"{split}_{i}"
            blocks = generator.integers(0, 256, (8, 8, 3)).astype(np.uint8)
            picture = Image.fromarray(blocks).resize(size_HW[::-1], Image.Resampling.BILINEAR)
            picture.save(folder / f"{name}.jpg", quality=92)
            classes = generator.integers(0, info.num_classes, (8, 8)).astype(np.uint8)
            label = Image.fromarray(classes).resize(size_HW[::-1], Image.Resampling.NEAREST)
            label.save(folder / f"{name}.png")
            files = {"image": folder / f"{name}.jpg", "label": folder / f"{name}.png"}
            sums = {f"{kind}_sha256": sha256_file(path) for kind, path in files.items()}
            rows.append({"split": split, "id": name, **files, **sums})
    index, dataset, subset = (folder / name for name in ("index.csv", "dataset.json", "subset.csv"))
    pd.DataFrame(rows).to_csv(index, index=False)
    facts = {"index_fingerprint": "painted", "train_size": IMAGES, "val_size": IMAGES}
    write_json(dataset, {**info_to_json(info), **facts})
    ids = [row["id"] for row in rows if row["split"] == "train"]
    pd.DataFrame({"id": ids, "fingerprint": "painted"}).to_csv(subset, index=False)
    return RunInputs(index=index, dataset=dataset, subset=subset)
