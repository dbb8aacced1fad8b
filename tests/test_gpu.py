"""What only a GPU can show of training: strict determinism, and steps that never wait for it."""

import pandas as pd
import pytest
import stage_runs
import torch
from small_runs import small_data, small_settings

from cseg.compute.device import has_gpu
from cseg.model import checkpoint
from cseg.training import loop

GPU = pytest.mark.skipif(not has_gpu(), reason="this machine has no GPU")
BLOCKS = {
    "pretrain": {"distortion": 1.0, "steps": 20, "log_every": 10},
    "finetune": {"distortion": 1.0, "steps": 20, "log_every": 10},
}


def trained(folder, stage, data, **changes):
    """Weights and curve of a short run of one stage."""
    arm = "cross" if stage == "pretrain" else "scratch"
    settings = small_settings(arm, **{stage: BLOCKS[stage]}, **changes)
    done = stage_runs.trained(stage, data, settings, folder)
    return checkpoint.load(done.weights, stage)["network"], pd.read_csv(done.curve)


@pytest.fixture
def as_it_was():
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_strict_mode_changes_no_bit_on_a_cpu(tmp_path, as_it_was, stage):
    data = small_data(tmp_path)
    plain, _ = trained(tmp_path / "plain", stage, data)
    strict, _ = trained(tmp_path / "strict", stage, data, deterministic=True)
    assert torch.are_deterministic_algorithms_enabled()
    assert all(torch.equal(plain[name], strict[name]) for name in plain)


@GPU
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_strict_mode_gives_the_same_bits_twice_on_a_gpu(tmp_path, as_it_was, stage, precision):
    data = small_data(tmp_path)
    wanted = {"deterministic": True, "device": "cuda", "precision": precision}
    (first, curve), (second, again) = (
        trained(tmp_path / name, stage, data, **wanted) for name in ("a", "b")
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert curve.equals(again)


@GPU
@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_a_step_never_waits_for_the_gpu(tmp_path, monkeypatch, stage):
    real = loop._step

    def watched(*arguments):
        if arguments[4] < 2:  # the first steps choose algorithms
            return real(*arguments)
        torch.cuda.set_sync_debug_mode("error")
        try:
            return real(*arguments)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(loop, "_step", watched)
    trained(tmp_path / "run", stage, small_data(tmp_path), device="cuda", precision="bf16")
