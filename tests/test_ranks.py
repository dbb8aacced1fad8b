"""Two processes that share a batch train as one process does on the whole of it."""

import json
import os
import pickle
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from small_runs import ROOT, small_data, small_settings
from stage_runs import wait_for

from cseg.compute.ranks import Share, check_batch
from cseg.errors import ConfigError
from cseg.model import checkpoint
from cseg.settings.run import RunSettings

NAMES = ("weights.pt", "curve.csv", "cost.json")
SCRIPT = """
import pickle, sys
from functools import partial
from dataclasses import replace
from pathlib import Path
from cseg.jobs.adapter import stage
from cseg.jobs.launch import launch
from cseg.stages.evaluate import evaluate
from stage_runs import STAGES, measured, outputs
name, processes, data, settings, out = pickle.loads(bytes.fromhex(sys.argv[1]))
log = str(out / "log.txt")
with stage(log):
    if name == "evaluate":
        wanted = measured(out / str(processes))
        run = partial(evaluate, data, settings, arm="a", weights=out / "weights.pt", costs=[],
                      out=wanted, threads=1)
    else:
        run = partial(STAGES[name], data, settings, out=outputs(out), threads=1, title="test")
    launch(log, run, processes=processes)
"""


def command(stage, processes, data, settings, out) -> list[str]:
    out.mkdir(parents=True, exist_ok=True)
    run = pickle.dumps((stage, processes, data, settings, out)).hex()
    return [sys.executable, "-c", SCRIPT, run]


def start(*arguments) -> subprocess.Popen:
    paths = f"{ROOT}{os.pathsep}{ROOT / 'tests'}"
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command(*arguments), env=environment, stderr=subprocess.PIPE, text=True)


def run(*arguments) -> str:
    process = start(*arguments)
    said = process.communicate(timeout=600)[1]
    assert process.returncode == 0, said
    return said


def small(arm: str, **blocks) -> RunSettings:
    """Settings without dropout, whose masks differ between ranks by design."""
    return small_settings(arm, model={"aspp_dropout": 0.0}, **blocks)


def test_shares_are_equal_and_leave_nothing_out():
    items = list(range(12))
    for ranks in (1, 2, 3, 4):
        parts = [Share(rank, ranks).part(items) for rank in range(ranks)]
        assert [item for part in parts for item in part] == items
        assert {len(part) for part in parts} == {12 // ranks}
    assert [Share(rank, 2).leads for rank in (0, 1)] == [True, False]


def test_a_batch_that_ranks_do_not_divide_is_a_sentence():
    check_batch(8, 2, Share(0, 2), "pretrain")
    check_batch(3, 1, Share(), "pretrain")
    for batch, pieces, ranks in ((6, 1, 4), (4, 1, 4), (8, 4, 2)):
        with pytest.raises(ConfigError, match=r"pretrain\.batch is \d, which \d processes"):
            check_batch(batch, pieces, Share(0, ranks), "pretrain")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "arm", "block"),
    [
        ("pretrain", "within", {"distortion": 1.0, "batch": 8}),
        ("pretrain", "batch", {"distortion": 1.0}),
        ("finetune", "scratch", {"distortion": 1.0, "validate_every": 10}),
        # a box would come from another image, of the same process
        ("finetune", "scratch", {"consistency": {"weight": 1.0, "cutmix": 0.0, "ratio": 2}}),
    ],
)
def test_two_processes_have_the_curve_of_one_with_the_doubled_batch(tmp_path, stage, arm, block):
    data = small_data(tmp_path, n=8)
    block = {"steps": 40, "log_every": 2, "warmup_steps": 0, "lr": 0.01, **block}
    settings = small(arm, **{stage: block})
    curves, weights = [], []
    for processes in (1, 2):
        out = tmp_path / str(processes)
        run(stage, processes, data, settings, out)
        curves.append(pd.read_csv(out / NAMES[1]))
        weights.append(checkpoint.load(out / NAMES[0], stage)["network"])
    assert curves[0]["loss"].iloc[-1] < curves[0]["loss"].iloc[0]
    # rounding alone differs, which training enlarges: measured 1e-7 in the first steps, 1e-3 later
    np.testing.assert_allclose(curves[1].iloc[0, :2], curves[0].iloc[0, :2], rtol=1e-5)
    np.testing.assert_allclose(curves[1]["loss"], curves[0]["loss"], rtol=0.01)
    assert weights[0].keys() == weights[1].keys()


NORM = """
import json, sys
import torch
import torch.distributed as dist
from torch import nn
from cseg.compute.ranks import share_batch_norm
rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=rank, world_size=2)
torch.manual_seed(0)
images = torch.randn(4, 3, 5, 6, dtype=torch.float64)
mine = images[2 * rank : 2 * rank + 2].clone().requires_grad_()
network = nn.Sequential(nn.BatchNorm2d(3, momentum=0.3, dtype=torch.float64))
share_batch_norm(network, torch.device("cpu"))
for _ in range(3):
    mine.grad = None
    out = network(mine)
    (out.pow(3) * (rank + 1)).sum().backward()  # ranks with different losses
norm = network[0]
for grad in (norm.weight.grad, norm.bias.grad):
    dist.all_reduce(grad)
told = [out, mine.grad, norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var]
print(json.dumps([value.tolist() for value in told]))
"""


def test_batch_norm_of_two_ranks_is_that_of_the_whole_batch(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", NORM, str(rank), str(tmp_path / "store")],
            stdout=subprocess.PIPE, text=True, env=environment,
        )
        for rank in (0, 1)
    ]  # fmt: skip
    said = [json.loads(rank.communicate(timeout=600)[0].splitlines()[-1]) for rank in ranks]
    torch.manual_seed(0)
    images = torch.randn(4, 3, 5, 6, dtype=torch.float64).requires_grad_()
    norm = torch.nn.BatchNorm2d(3, momentum=0.3, dtype=torch.float64)
    scale = torch.tensor([1, 1, 2, 2])[:, None, None, None]
    for _ in range(3):
        images.grad = None
        out = norm(images)
        (out.pow(3) * scale).sum().backward()
    wanted = [norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var]
    for rank, values in enumerate(said):
        got = [torch.tensor(value, dtype=torch.float64) for value in values]
        mine = slice(2 * rank, 2 * rank + 2)
        for one, other in zip(got, [out[mine], images.grad[mine], *wanted], strict=True):
            torch.testing.assert_close(one, other.detach(), rtol=1e-9, atol=1e-9)


@pytest.mark.slow
def test_evaluation_in_two_processes_counts_every_image_once(tmp_path):
    data = small_data(tmp_path)
    settings = small("scratch", finetune={"steps": 10})
    out = tmp_path / "run"
    run("finetune", 1, data, settings, out)
    for processes in (1, 2):
        run("evaluate", processes, data, settings, out)
    for name in ("per_class.csv", "per_image.csv", "confusion.csv", "predictions.zip"):
        assert (out / "1" / name).read_bytes() == (out / "2" / name).read_bytes(), name
    images = pd.read_csv(data.index, dtype=str)
    assert list(pd.read_csv(out / "2" / "per_image.csv", dtype=str)["id"]) == list(
        images["id"][images["split"] == "val"]
    )


@pytest.mark.slow
@pytest.mark.fault
def test_two_processes_stopped_by_a_signal_go_on_to_the_same_bytes(tmp_path, tried):
    data = small_data(tmp_path)
    block = {"steps": 80, "log_every": 7, "checkpoint_minutes": 0.005}
    settings = small("cross", pretrain=block)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    run("pretrain", 2, data, settings, whole)
    process = start("pretrain", 2, data, settings, broken)
    state = broken / "weights.state"
    wait_for(state, process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=600)
    assert process.returncode != 0
    step = checkpoint.load(state, "training_state")["step"]
    assert 0 < step < 80
    run("pretrain", 2, data, settings, broken)
    assert f"resumes after step {step}" in (broken / "log.txt").read_text()
    for name in NAMES[:2]:
        assert (whole / name).read_bytes() == (broken / name).read_bytes(), name
    tried("Kills", "SIGTERM in pretrain of two processes with a saved state", 1,
          "goes on from the state to the same weights and curve")  # fmt: skip


@pytest.mark.slow
def test_a_failure_in_every_process_is_told_and_ends_the_job(tmp_path):
    data = small_data(tmp_path)
    settings = small("scratch", finetune={"lr": 1e30, "warmup_steps": 0, "steps": 8})
    process = start("finetune", 2, data, settings, tmp_path / "run")
    said = process.communicate(timeout=600)[1]
    assert process.returncode == 1
    assert "the loss is nan at step" in said and "one of 2 processes failed" in said
    assert "Traceback" not in said
    assert not (tmp_path / "run" / NAMES[0]).exists()
