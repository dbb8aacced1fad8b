"""The benchmarks run: their numbers are kept in benchmarks/results, not asserted here."""

import subprocess
import sys

import pandas as pd
import pytest
import torch
from small_runs import ROOT, small_settings


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


def test_the_plain_network_of_torchvision_offers_what_a_pretraining_step_calls(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from plain_loop import plain_network

    settings = small_settings("cross")
    ours, plain = (plain_network(settings.model, 3, other) for other in (False, True))
    for network in (ours.eval(), plain.eval()):
        feats = network.project(network.features(torch.zeros(2, 3, 64, 48)), (8, 6))
        assert feats.shape == (2, settings.model.projection_channels, 8, 6)
        assert network(torch.zeros(2, 3, 64, 48)).shape[:2] == (2, 3)
