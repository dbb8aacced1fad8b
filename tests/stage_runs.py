"""Run a training stage, here or in a process of its own."""

import os
import pickle
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from small_runs import ROOT

from cseg.settings.run import RunSettings
from cseg.stages.evaluate import EvaluateOutputs, evaluate
from cseg.stages.finetune import finetune
from cseg.stages.pretrain import pretrain
from cseg.stages.run import RunInputs, TrainingOutputs

NAMES = ("weights.pt", "curve.csv", "cost.json")
STAGES = {"pretrain": pretrain, "finetune": finetune}
SCRIPT = """
import pickle, sys
from stage_runs import trained
trained(*pickle.loads(bytes.fromhex(sys.argv[1])))
"""


def outputs(folder: Path) -> TrainingOutputs:
    """Where a training stage writes, below `folder`, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    return TrainingOutputs(
        weights=folder / NAMES[0], curve=folder / NAMES[1], cost=folder / NAMES[2]
    )


def measured(folder: Path) -> EvaluateOutputs:
    """Where `evaluate` writes, in `folder`."""
    return EvaluateOutputs.of(folder)


def trained(
    stage: str,
    data: RunInputs,
    settings: RunSettings,
    folder: Path,
    pretrained: Path | None = None,
    title: str = "test",
) -> TrainingOutputs:
    """Run pretrain or finetune in this process; returns what it wrote."""
    out = outputs(folder)
    inputs = replace(data, pretrained=pretrained)
    STAGES[stage](inputs, settings, out=out, threads=1, title=title)
    return out


def evaluated(
    data: RunInputs, settings: RunSettings, weights: Path, folder: Path, arm: str = "scratch"
) -> EvaluateOutputs:
    """Run evaluate in this process; returns what it wrote."""
    out = measured(folder)
    evaluate(data, settings, arm=arm, weights=weights, costs=[], out=out, threads=1)
    return out


def start(
    stage: str,
    data: RunInputs,
    settings: RunSettings,
    folder: Path,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen:
    """Begin pretrain or finetune in a process of its own; its outputs lie in `folder`."""
    outputs(folder)
    environment = os.environ | (environment or {})
    paths = [str(ROOT), str(ROOT / "tests"), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    run = pickle.dumps((stage, data, settings, folder)).hex()
    command = [sys.executable, "-c", SCRIPT, run]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def wait_for(path: Path, process: subprocess.Popen, seconds: float = 600) -> None:
    """Return once `path` exists; fail if the process ends before, or hangs."""
    deadline = time.monotonic() + seconds
    while not path.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert path.exists(), "the run ended before it saved a state"
