"""A checkpoint is saved whole, or the one before it stays."""

import torch
from faults import dies_writing

from cseg.training import checkpoint


def save_large(path):
    checkpoint.save(path, "training_state", {"step": 2, "weights": torch.zeros(2**20)})


def test_a_process_that_dies_while_it_saves_leaves_the_state_before(tmp_path):
    path = tmp_path / "weights.state"
    checkpoint.save(path, "training_state", {"step": 1})
    assert dies_writing(2**20, "test_checkpoint", "save_large", path)
    half = [p for p in tmp_path.iterdir() if p != path]
    assert [p.stat().st_size for p in half] == [2**20]
    assert checkpoint.load(path, "training_state")["step"] == 1
    save_large(path)
    assert checkpoint.load(path, "training_state")["step"] == 2
    assert [p.name for p in tmp_path.iterdir()] == ["weights.state"]
