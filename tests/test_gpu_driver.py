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


@pytest.mark.slow
def test_what_does_not_fit_into_the_time_is_said(tmp_path):
    told, _ = driver(tmp_path, 0.01).communicate()
    assert "shared_card: not begun" in told
    assert not list(tmp_path.glob("*.json"))


@pytest.mark.slow
def test_the_sweep_of_blocks_goes_on_where_it_stopped(tmp_path):
    pytest.importorskip("triton")
    out = tmp_path / "blocks.csv"
    command = [sys.executable, "benchmarks/gpu_blocks.py", "--device", "cpu", "--tiny",
               "--processes", "1", "--out", str(out)]  # fmt: skip
    given = {"cwd": ROOT, "env": environment() | {"TRITON_INTERPRET": "1"}, "text": True}
    first, second = (subprocess.run(command, **given, capture_output=True) for _ in range(2))
    assert first.returncode == 0, first.stderr
    rows = out.read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["form", "all", "negatives"]
    assert all(float(row.split(",")[-1]) > 0 for row in rows[1:])
    assert second.stdout.splitlines() == first.stdout.splitlines()[-2:]


@pytest.mark.slow
def test_the_revision_of_a_copy_is_the_one_given(tmp_path):
    command = [sys.executable, "benchmarks/gpu.py", "--device", "cpu", "--tiny", "--minutes", "0",
               "--revision", "abc1234", "--out", str(tmp_path)]  # fmt: skip
    subprocess.run(command, cwd=ROOT, env=environment(), check=True, capture_output=True)
    assert "revision abc1234." in (tmp_path / "report.md").read_text()
