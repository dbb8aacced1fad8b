"""The benchmarks run: their numbers are kept in benchmarks/results, not asserted here."""

import subprocess
import sys

import pandas as pd
import pytest
from small_runs import ROOT


@pytest.mark.slow
def test_a_step_is_measured_in_parts_beside_the_plain_way(tmp_path):
    out = tmp_path / "step.csv"
    command = [sys.executable, "benchmarks/step.py", "smoke", "--rounds", "1", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(out)
    assert list(table["stage"]) == ["pretrain", "finetune"]
    parts = table[[f"{name}_ms" for name in ("load", "forward", "loss", "backward", "optimizer")]]
    assert (parts > 0).all(axis=None)
    assert (table[["step_ms", "plain_ms", "times_plain", "network_gflop"]] > 0).all(axis=None)
    # two views in pretraining, and a projection head instead of a classifier
    assert 1.8 < table["network_gflop"].iloc[0] / table["network_gflop"].iloc[1] < 2.6
    page = out.with_suffix(".md").read_text()
    assert all(len(line.split("|")) == 16 for line in page.splitlines() if line.startswith("|"))


@pytest.mark.slow
def test_the_gpu_benchmark_of_the_loss_runs_small_on_a_cpu(tmp_path):
    out = tmp_path / "loss_gpu.csv"
    command = [sys.executable, "benchmarks/loss_gpu.py", "--device", "cpu", "--images", "2",
               "--pixels", "200", "--channels", "8", "--dtype", "fp32", "--repeats", "2",
               "--out", str(out)]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(out)
    assert len(table) == 9 and (table["median_ms"] > 0).all()
    assert table["share"].notna().sum() == table["row"].str.startswith("ours").sum() == 5
    assert "eager released form, within" in out.with_suffix(".md").read_text()
