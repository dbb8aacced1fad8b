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
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
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
