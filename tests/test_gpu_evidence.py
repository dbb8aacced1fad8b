"""The last part of `make gpu` trains on images, and goes on at the step where it was killed."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_runs import ROOT

from cseg.storage.files import read_json
from cseg.training import loop

CONFIG = """
dataset: folder
dataset_options:
  folder:
    description:
      name: halves
      classes: [{name: dark, colour: [0, 0, 0]}, {name: light, colour: [255, 255, 255]}]
      labels_by: stored
      val_share: 0.34
"""
KILLED = """
import os, signal, sys
sys.path.insert(0, "benchmarks")
import gpu_evidence
from cseg.training import loop
real, count = loop._step, 0
def step(*arguments):
    global count
    count += 1
    if count == 11:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments)
loop._step = step
gpu_evidence.main()
"""


def draw(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    for i in range(6):
        label = np.zeros((32, 32), np.uint8)
        label[:, rng.integers(8, 24) :] = 1
        pixels = 150 * label[..., None] + rng.integers(0, 100, (32, 32, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(folder / "images" / f"{i}.png")
        Image.fromarray(label).save(folder / "labels" / f"{i}.png")


def command(tmp_path: Path, out: str, *more: str) -> list[str]:
    return ["--data", str(tmp_path / "data"), "--config", str(tmp_path / "halves.yaml"), "--device",
            "cpu", "--threads", "1", "--tiny", "--out", str(tmp_path / out), *more]  # fmt: skip


@pytest.fixture
def evidence(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    monkeypatch.chdir(ROOT)
    import gpu_evidence

    draw(tmp_path / "data")
    (tmp_path / "halves.yaml").write_text(CONFIG)

    def main(out, *more):
        monkeypatch.setattr(sys, "argv", ["gpu_evidence.py", *command(tmp_path, out, *more)])
        gpu_evidence.main()
        found = {
            path.stem: read_json(path) for path in (tmp_path / out / "evidence").glob("*.json")
        }
        for run in found.values():
            del run["costs"]
        return found

    return main


@pytest.mark.slow
def test_a_killed_call_goes_on_with_the_step_that_was_saved(tmp_path, evidence, monkeypatch):
    done = subprocess.run(
        [sys.executable, "-c", KILLED, *command(tmp_path, "killed")],
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == -9, done.stderr
    folder = tmp_path / "killed" / "evidence"
    assert [path.name for path in folder.glob("*.json")] == ["scratch_nall_seed0.json"]
    steps, real = [], loop._step
    monkeypatch.setattr(
        loop, "_step", lambda *given: steps.append((given[3].stage, given[4])) or real(*given)
    )
    resumed = evidence("killed")
    # 8 steps from scratch and 2 of pretraining were done; then 8 of the arm imagenet
    tuned = [("finetune", step) for step in range(4)]
    tuned_longer = [("finetune", step) for step in range(8)]
    assert steps == [("pretrain", 2), ("pretrain", 3), *tuned, *tuned_longer]
    steps.clear()
    whole = evidence("whole")
    assert len(steps) == 24
    assert set(whole) == {f"{arm}_nall_seed0" for arm in ("scratch", "cross", "imagenet")}
    assert resumed == whole
    assert 0 < whole["cross_nall_seed0"]["miou"] <= 1
    assert list(whole["cross_nall_seed0"]["curves"]) == ["pretrain", "finetune"]
    assert whole["cross_nall_seed0"]["curves"]["pretrain"]["step"] == [1, 2, 3, 4]
    steps.clear()
    assert evidence("whole") == whole and not steps


@pytest.mark.slow
def test_an_arm_whose_weights_are_not_there_is_left_out_with_a_sentence(
    tmp_path, evidence, monkeypatch, capsys
):
    import gpu_evidence

    monkeypatch.setattr(gpu_evidence, "ARMS", ("imagenet",))
    assert evidence("out", "--weights", str(tmp_path / "none.pth")) == {}
    assert "imagenet: weights" in capsys.readouterr().out


def test_a_folder_that_is_not_there_ends_in_a_sentence(tmp_path, evidence):
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    with pytest.raises(SystemExit, match="which is no folder; give that of the images"):
        evidence("out")
