"""Loader processes: however they are started the same batches; their failures are sentences."""

import multiprocessing
import os
import re
import signal
import subprocess
import sys

import pytest
import torch
from small_runs import ROOT, small_data

from cseg.datasets.samples import load_info
from cseg.errors import DataError, TrainingError
from cseg.jobs.adapter import stage
from cseg.settings.network import ImageSettings
from cseg.stages.run import RunInputs, labelled_pairs
from cseg.training.loader import iterate
from cseg.training.sampling import StepBatches

SCRIPT = """
import multiprocessing, sys
from pathlib import Path
multiprocessing.set_start_method(sys.argv[1])
sys.path.insert(0, {tests!r})
from test_loader import source
from cseg.training.loader import iterate
total = sum(int(images.sum()) for images, _ in iterate(source(Path(sys.argv[2])), 2, pin=False))
print("total", total)
"""


def source(folder, steps=8, crop=(16, 16)) -> StepBatches:
    """Batches of the painted dataset, which is made in `folder` the first time."""
    made = folder / "index.csv", folder / "dataset.json", folder / "n4_seed0.csv"
    known = RunInputs(index=made[0], dataset=made[1], subset=made[2])
    data = known if made[0].exists() else small_data(folder)
    pairs, _ = labelled_pairs(data)
    image = ImageSettings(short_side=None, crop=crop, scale=(0.5, 2.0), flip=True)
    return StepBatches(pairs, load_info(data.dataset), image, 4, 3, steps, 64)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_the_batches_are_the_same_however_workers_are_started(tmp_path, method):
    """In a script without a guard, as adapters are: starting it again would never end."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(tests=str(ROOT / "tests")))
    wanted = sum(int(images.sum()) for images, _ in iterate(source(tmp_path), 0, pin=False))
    done = subprocess.run(
        [sys.executable, str(script), method, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.stdout == f"total {wanted}\n", done.stderr


@pytest.fixture
def small_shared_memory(tmp_path):
    """A filesystem of one megabyte, as containers have small ones."""
    folder = tmp_path / "shm"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can mount a filesystem, and not in every container")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_too_little_shared_memory_is_told_before_training(tmp_path, small_shared_memory):
    need = 9 * 4 * 128 * 128 * 4 / 2**20  # batches x images x pixels x bytes
    batches = source(tmp_path, crop=(128, 128))
    with pytest.raises(
        TrainingError, match=rf"has 1\.0 MiB free.* need {need:.1f} MiB; set workers"
    ):
        next(iterate(batches, 2, pin=False, shared=small_shared_memory))
    next(iterate(batches, 0, pin=False, shared=small_shared_memory))  # needs none
    next(iterate(source(tmp_path), 2, pin=False, shared=small_shared_memory))  # 0.1 MiB


def test_what_a_worker_meets_is_the_sentence_of_a_training_without_workers(tmp_path):
    batches = source(tmp_path)
    batches.pairs[0].image.write_bytes(b"no image")
    said = []
    for workers in (0, 2):
        with pytest.raises(DataError) as raised:
            list(iterate(batches, workers, pin=False))
        said.append(str(raised.value))
    assert said[0] == said[1] and "has changed since it was indexed" in said[0]


@pytest.mark.slow
@pytest.mark.fault
def test_a_worker_that_dies_ends_a_training_in_one_sentence(tmp_path, tried, capsys):
    batches = source(tmp_path, steps=10_000)
    with pytest.raises(SystemExit), stage(str(tmp_path / "log")):
        for _ in iterate(batches, 2, pin=False):
            for child in multiprocessing.active_children():
                child.kill()
    said = capsys.readouterr().err
    assert re.fullmatch(r"error: DataLoader worker .*; lower workers or cache_mib .*\n", said)
    tried("Kills", "SIGKILL of a loader's process", 1, "the training ends in one sentence")


def test_a_connection_lost_to_a_worker_is_told_as_its_death(tmp_path, capsys, monkeypatch):
    """A worker may die while its batch is handed over, before torch has heard of it."""

    def lost(*_, **__):
        yield from ()
        raise ConnectionResetError(104, "Connection reset by peer")

    monkeypatch.setattr("cseg.training.loader.DataLoader", lost)
    with pytest.raises(SystemExit), stage(str(tmp_path / "log")):
        list(iterate(source(tmp_path, steps=1), 1, pin=False))
    said = capsys.readouterr().err
    assert said.startswith(
        "error: DataLoader worker died ([Errno 104] Connection reset by peer); lower"
    )


def test_workers_go_on_at_the_signals_that_stop_a_training(tmp_path):
    """Ctrl-C and Slurm send them to all processes, and the state is yet to be saved."""
    batches = source(tmp_path, steps=40)
    wanted = [images for images, _ in iterate(batches, 0, pin=False)]
    found = iterate(batches, 2, pin=False)
    got = [next(found)[0] for _ in range(2)]  # one of each worker: both have begun
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        for child in multiprocessing.active_children():
            os.kill(child.pid, number)
        got.append(next(found)[0])
    got += [images for images, _ in found]
    assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True))
