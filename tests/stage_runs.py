"""Run a training stage in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from small_runs import ROOT

NAMES = ("weights.pt", "curve.csv", "cost.json")
SCRIPT = """
import json, sys
from pathlib import Path
from cseg.stages.finetune import finetune
from cseg.stages.pretrain import pretrain
name, data, settings, out = sys.argv[1], *map(json.loads, sys.argv[2:4]), Path(sys.argv[4])
start = [None] if name == "finetune" else []
run = {"pretrain": pretrain, "finetune": finetune}[name]
paths = [out / name for name in ("weights.pt", "curve.csv", "cost.json")]
run(*map(Path, data), *start, settings, 1, "test", *paths)
"""


def outputs(folder: Path) -> tuple[Path, Path, Path]:
    """Where a stage writes, below `folder`, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    return tuple(folder / name for name in NAMES)


def start(
    stage: str, data: tuple[Path, ...], settings: dict[str, Any], out: Path
) -> subprocess.Popen:
    """Begin `stage` (pretrain or finetune) on `small_data`; its outputs lie in `out`."""
    outputs(out)
    command = [sys.executable, "-c", SCRIPT, stage, json.dumps([str(path) for path in data])]
    command += [json.dumps(settings), str(out)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
