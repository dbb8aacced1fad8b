"""Training: learns, resumes to the same bytes, refuses what is foreign, stops with a sentence."""

import os
import signal

import pandas as pd
import pytest
import torch
from small_runs import SMOKE, changed, small_data, small_settings
from stage_runs import NAMES, start, trained, wait_for

from cseg import experiment
from cseg.compute.device import has_gpu
from cseg.errors import ConfigError, TrainingError
from cseg.model import checkpoint
from cseg.training.loop import learning_rate


def test_pieces_must_divide_the_batch(tmp_path):
    for batch, pieces in ((4, 3), (4, 4)):
        path = tmp_path / "mine.yaml"
        path.write_text(f"pretrain: {{batch: {batch}, accumulate: {pieces}}}\n")
        with pytest.raises(ConfigError, match=r"pretrain\.accumulate is \d .* divides the batch"):
            experiment.load([SMOKE, path])


@pytest.mark.parametrize(
    "arm", ["cross", *(pytest.param(arm, marks=pytest.mark.slow) for arm in ("within", "batch"))]
)
def test_contrastive_loss_falls_in_pretraining(tmp_path, arm):
    data = small_data(tmp_path)
    settings = small_settings(arm, pretrain={"steps": 48, "lr": 0.3, "log_every": 8})
    curve = pd.read_csv(trained("pretrain", data, settings, tmp_path / arm).curve)
    assert curve["loss"].iloc[-1] < curve["loss"].iloc[0] - 0.03  # it falls by 0.07
    assert list(curve["step"]) == [8, 16, 24, 32, 40, 48]


def test_finetuning_starts_from_the_pretrained_features(tmp_path):
    data = small_data(tmp_path)
    settings = small_settings()
    trained("pretrain", data, settings, tmp_path / "a")
    frozen = small_settings(finetune={"lr": 1e-12, "warmup_steps": 0, "weight_decay": 0.0})
    trained("finetune", data, frozen, tmp_path / "b", tmp_path / "a" / NAMES[0])
    before = checkpoint.load(tmp_path / "a" / NAMES[0], "pretrain")["network"]
    after = checkpoint.load(tmp_path / "b" / NAMES[0], "finetune")["network"]
    assert not any(key.startswith("projector") for key in after)
    key = "encoder.net.conv_stem.weight"
    assert torch.allclose(before[key], after[key], atol=1e-8)


def test_a_linear_probe_changes_the_classifier_and_nothing_else(tmp_path):
    data = small_data(tmp_path)
    trained("pretrain", data, small_settings(), tmp_path / "a")
    probe = small_settings(finetune={"trained": "classifier", "weight_decay": 0.1})
    trained("finetune", data, probe, tmp_path / "b", tmp_path / "a" / NAMES[0])
    before = checkpoint.load(tmp_path / "a" / NAMES[0], "pretrain")["network"]
    after = checkpoint.load(tmp_path / "b" / NAMES[0], "finetune")["network"]
    changed = {name for name in after if not torch.equal(before[name], after[name])}
    assert changed == {"classifier.weight", "classifier.bias"}  # no weight, no statistic


def test_same_settings_same_bytes_whatever_the_workers(tmp_path):
    data = small_data(tmp_path)
    for name, workers in (("a", 0), ("b", 2)):
        settings = small_settings("scratch", finetune={"workers": workers})
        trained("finetune", data, settings, tmp_path / name)
    first = checkpoint.load(tmp_path / "a" / NAMES[0], "finetune")["network"]
    second = checkpoint.load(tmp_path / "b" / NAMES[0], "finetune")["network"]
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert (tmp_path / "a" / NAMES[1]).read_bytes() == (tmp_path / "b" / NAMES[1]).read_bytes()


@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.parametrize(
    ("stage", "number", "arm", "changes"),
    [
        ("pretrain", signal.SIGKILL, "cross", {}),
        ("pretrain", signal.SIGKILL, "batch", {"pretrain": {"memory_images": 12}}),
        ("finetune", signal.SIGTERM, "scratch", {}),
        ("finetune", signal.SIGKILL, "scratch", {"finetune": {"contrast_scope": "batch"}}),
        ("finetune", signal.SIGKILL, "scratch", {"finetune": {"consistency": {"weight": 1.0}}}),
    ],
)
def test_a_killed_run_resumes_to_the_same_bytes(tmp_path, tried, stage, number, arm, changes):
    data = small_data(tmp_path)
    block = {"steps": 300, "log_every": 7, "checkpoint_minutes": 0.002}
    settings = changed(small_settings(arm, **{stage: block}), **changes)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert start(stage, data, settings, whole).wait(1200) == 0
    state = broken / "weights.state"
    process = start(stage, data, settings, broken)
    wait_for(state, process)
    process.send_signal(number)
    process.communicate(timeout=600)
    assert process.returncode != 0
    assert state.exists() and not (broken / NAMES[0]).exists()
    step = checkpoint.load(state, "training_state")["step"]
    assert 0 < step < 300
    again = start(stage, data, settings, broken)
    said = again.communicate(timeout=600)[1]
    assert again.returncode == 0, said
    assert f"resumes after step {step}" in said
    for name in NAMES[:2]:
        assert (whole / name).read_bytes() == (broken / name).read_bytes(), name
    assert not state.exists()
    tried("Kills", f"{number.name} in {stage} ({arm}) with a saved state", 1,
          "goes on from the state to the same weights and curve")  # fmt: skip


@pytest.fixture
def stopped_at(monkeypatch):
    """Runs a training stage that gets SIGTERM in this step and ends with its state saved."""

    def run(at, *arguments):
        def rate(step, settings):
            if step == at:
                signal.raise_signal(signal.SIGTERM)
            return learning_rate(step, settings)

        with monkeypatch.context() as patch:
            patch.setattr("cseg.training.loop.learning_rate", rate)
            with pytest.raises(SystemExit, match=f"by a signal after step {at + 1}; state saved"):
                trained(*arguments)

    return run


@pytest.mark.parametrize(
    ("stage", "arm", "changes"),
    [
        ("finetune", "scratch", {"finetune": {"consistency": {"weight": 1.0}}}),
        ("pretrain", "batch", {"pretrain": {"memory_images": 12}}),
    ],
)
def test_a_stopped_run_resumes_to_the_same_bytes(tmp_path, stopped_at, capsys, stage, arm, changes):
    data = small_data(tmp_path)
    settings = changed(small_settings(arm, **{stage: {"steps": 12, "log_every": 5}}), **changes)
    whole = trained(stage, data, settings, tmp_path / "whole")
    stopped_at(6, stage, data, settings, tmp_path / "broken")
    assert not (tmp_path / "broken" / NAMES[0]).exists()
    again = trained(stage, data, settings, tmp_path / "broken")
    assert "resumes after step 7" in capsys.readouterr().err
    assert again.weights.read_bytes() == whole.weights.read_bytes()
    assert again.curve.read_bytes() == whole.curve.read_bytes()
    assert not (tmp_path / "broken" / "weights.state").exists()


@pytest.mark.fault
def test_a_state_of_other_settings_is_refused(tmp_path, tried, stopped_at):
    data = small_data(tmp_path)
    block = {"steps": 8}
    settings = small_settings("scratch", finetune=block)
    stopped_at(1, "finetune", data, settings, tmp_path / "run")
    other = small_settings("scratch", finetune={**block, "lr": 0.03})
    with pytest.raises(
        TrainingError, match=r"weights\.state was saved by a run with other settings"
    ):
        trained("finetune", data, other, tmp_path / "run")
    (tmp_path / "run" / "weights.state").write_bytes(b"PK damaged")
    with pytest.raises(TrainingError, match="damaged"):
        trained("finetune", data, other, tmp_path / "run")
    tried("Kills", "a killed run's state: settings changed, or the file damaged", 2,
          "refused by name, with the remedy")  # fmt: skip


def test_a_state_of_another_start_is_refused(tmp_path, stopped_at):
    data, settings = small_data(tmp_path), small_settings("cross", finetune={"steps": 8})
    starts = []
    for seed in (0, 1):
        own = small_settings("cross", seed, pretrain={"steps": 2})
        starts.append(trained("pretrain", data, own, tmp_path / f"start{seed}").weights)
    stopped_at(1, "finetune", data, settings, tmp_path / "run", starts[0])
    for other in (starts[1], None):
        with pytest.raises(TrainingError, match="was saved by a run with other settings"):
            trained("finetune", data, settings, tmp_path / "run", other)
    trained("finetune", data, settings, tmp_path / "run", starts[0])


@pytest.mark.fault
def test_a_loss_that_is_not_finite_names_step_rate_and_images(tmp_path, tried):
    data = small_data(tmp_path)
    settings = small_settings("scratch", finetune={"lr": 1e30, "warmup_steps": 0, "steps": 8})
    with pytest.raises(TrainingError, match=r"at step \d+, learning rate .*images train_0"):
        trained("finetune", data, settings, tmp_path / "run")
    assert not (tmp_path / "run" / NAMES[0]).exists()
    tried("Surroundings", "a loss that is not finite", 1, "step, rate and images named; no weights")


@pytest.mark.fault
def test_foreign_checkpoints_are_refused_by_name(tmp_path, tried):
    class Danger:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "executed"),))

    torch.save({"cseg_format": 3, "kind": "pretrain", "network": Danger()}, tmp_path / "evil.pt")
    with pytest.raises(TrainingError, match=r"evil\.pt is damaged or not a checkpoint"):
        checkpoint.load(tmp_path / "evil.pt", "pretrain")
    assert not (tmp_path / "executed").exists()
    torch.save({"cseg_format": 1, "kind": "finetune", "network": {}}, tmp_path / "old.pt")
    with pytest.raises(TrainingError, match=r"old\.pt is of an older cseg, whose settings"):
        checkpoint.load(tmp_path / "old.pt", "finetune")
    checkpoint.save(tmp_path / "a.pt", "pretrain", {"network": {}})
    with pytest.raises(TrainingError, match=r"a\.pt holds a pretrain, not a finetune"):
        checkpoint.load(tmp_path / "a.pt", "finetune")
    with pytest.raises(TrainingError, match="does not exist"):
        checkpoint.load(tmp_path / "absent.pt", "finetune")
    tried(
        "Hostile files", "a checkpoint with a pickle that runs code", 1, "refused, nothing executed"
    )
    tried("Damaged files", "a checkpoint of another kind, or absent", 2, "refused by name")


def test_cuda_asked_for_and_not_there_is_a_sentence(tmp_path):
    if has_gpu():
        pytest.skip("this machine has a GPU")
    data = small_data(tmp_path)
    settings = small_settings("scratch", device="cuda")
    with pytest.raises(ConfigError, match="device is cuda"):
        trained("finetune", data, settings, tmp_path / "run")
