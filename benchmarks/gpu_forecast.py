"""Time and memory that `cseg plan` forecasts for a run, next to what its jobs then take."""

import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from gpu_evidence import run_stage
from step import SETTINGS

from cseg import experiment
from cseg.estimate.calibrate import IMAGES, calibrate, paint
from cseg.estimate.flops import counted_costs
from cseg.estimate.plan import CONTEXT_MIB, KEPT, Sizes, run_seconds
from cseg.settings.run import RunSettings
from cseg.stages.run import RunInputs
from cseg.stages.training_outputs import TrainingOutputs
from cseg.storage.files import read_json

MIB = 2**20


def forecast(device: torch.device, tiny: bool) -> list[dict[str, Any]]:
    """What the plan forecasts for one short run of the arm `within`, and what the run then takes.

    The forecast is that of `cseg plan`: measured on this device by short runs, on a GPU the memory
    also as counted without a device. A GPU's memory is what the card has less while the job lives.
    """
    chosen, steps = SETTINGS["smoke" if tiny else "paper"], 8 if tiny else 200
    loop = {"steps": steps, "warmup_steps": 0}
    changes = {**chosen.changes, "device": device.type, "run_arms": ["within"], "seeds": [0],
               "label_counts": ["all"], "budget": "equal_finetune", "pretrain": loop,
               "finetune": loop}  # fmt: skip
    planned = experiment.load(chosen.configs, changes)
    (cost,) = calibrate(planned, ["within"], size_HW=chosen.size_HW, copies=1).values()
    (forecast,) = run_seconds(planned, Sizes(IMAGES, IMAGES), {"within": cost}).values()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = paint(folder, planned.info, chosen.size_HW)
        settings = planned.run_settings("within", 0)
        seconds, peak, used = _taken(folder, data, settings)
    pairs = {
        "a run in three jobs, s": (forecast, seconds),
        "largest peak as measured by the plan, MiB": (cost.memory_mib, peak),
    }
    if device.type == "cuda":  # on a CPU a job's memory is mostly its libraries
        counted = counted_costs(planned, ["within"], size_HW=chosen.size_HW, teraflops=1.0)
        pairs["largest peak as counted by the plan, MiB"] = (counted["within"].memory_mib, peak)
        pairs["a job's memory on the card, MiB"] = (CONTEXT_MIB + KEPT * cost.memory_mib, used)
    return [
        {
            "what": what,
            "forecast": expected,
            "taken": taken,
            "taken_over_forecast": taken / expected,
        }
        for what, (expected, taken) in pairs.items()
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
    return torch.cuda.mem_get_info()[0] / MIB if device == "cuda" else 0.0


def _run_job(stage: str, data: RunInputs, settings: RunSettings, folder: Path) -> float:
    """Do one stage of the run; returns the card's free memory at its end, MiB."""
    run_stage(stage, data, settings, folder, arm="within", threads=1)
    return _free(settings.device)
