"""`make gpu`: runs on a bare machine, in parts, and goes on where it was stopped."""

import os
import subprocess
import sys
import time

import pytest
from small_runs import ROOT

from cseg.storage.files import read_json

ABSENT = ("snakemake", "pydantic", "jsonschema", "matplotlib", "skimage", "scipy", "seaborn",
          "tabulate", "sklearn", "pytorch_metric_learning", "onnx")  # fmt: skip
BARE = f"""
import sys
for name in {ABSENT}:
    sys.modules[name] = None
sys.path.insert(0, "benchmarks")
import gpu
from cseg.stages import evaluate, fetch, finetune, index, pretrain, subset
"""


def environment():
    return os.environ | {"PYTHONPATH": str(ROOT)}


def driver(out, minutes):
    command = [sys.executable, "benchmarks/gpu.py", "--device", "cpu", "--tiny",
               "--minutes", str(minutes), "--out", str(out)]  # fmt: skip
    return subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True)


def test_it_needs_no_more_than_a_bare_machine_has():
    done = subprocess.run(
        [sys.executable, "-c", BARE], cwd=ROOT, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_every_part_runs_small_and_a_killed_run_goes_on(tmp_path):
    first = driver(tmp_path, 30)
    while not (tmp_path / "correctness.json").exists():
        assert first.poll() is None
        time.sleep(0.2)
    first.kill()
    first.communicate()
    before = (tmp_path / "ceilings.json").stat().st_mtime_ns
    told, _ = driver(tmp_path, 30).communicate()
    assert "ceilings: there already" in told and "failed" not in told
    assert (tmp_path / "ceilings.json").stat().st_mtime_ns == before
    report = (tmp_path / "report.md").read_text()
    assert "Not measured on a GPU" in report and "| pass |" in report
    for row in read_json(tmp_path / "correctness.json")["rows"]:
        assert row["gradient_error"] < (5e-3 if row["dtype"] == "bf16" else 1e-5), row
    assert read_json(tmp_path / "strict.json")["rows"][0]["same_bits"] is True


def test_what_does_not_fit_into_the_time_is_said(tmp_path):
    told, _ = driver(tmp_path, 0.01).communicate()
    assert "shared_card: not begun" in told
    assert not list(tmp_path.glob("*.json"))
