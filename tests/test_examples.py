"""The scripts in examples/ run as they are, and what they train learns."""

import os
import re
import subprocess
import sys

import pytest
from small_runs import ROOT

SCRIPTS = {"plain_loop": 40, "torchvision_features": 12}


def test_every_example_is_run():
    assert {path.stem for path in (ROOT / "examples").glob("*.py")} == set(SCRIPTS)


@pytest.mark.slow
@pytest.mark.parametrize("name", SCRIPTS)
def test_an_example_learns(name):
    path = ROOT / "examples" / f"{name}.py"
    assert len(path.read_text().splitlines()) <= 55
    done = subprocess.run(
        [sys.executable, str(path), str(SCRIPTS[name])],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    first, last = (float(value) for value in re.findall(r"loss ([0-9.]+)", done.stdout))
    assert last < first - 0.2
    if name == "torchvision_features":
        assert "temperature 0.1000" not in done.stdout
