"""A checkpoint is saved whole, or the one before it stays."""

import pytest
import torch
from faults import dies_writing, file_limit

from cseg.errors import CsegError
from cseg.model import checkpoint


def save_large(path):
    checkpoint.save(path, "training_state", {"step": 2, "weights": torch.zeros(2**20)})


@pytest.mark.fault
def test_a_process_that_dies_while_it_saves_leaves_the_state_before(tmp_path, tried):
    path = tmp_path / "weights.state"
    checkpoint.save(path, "training_state", {"step": 1})
    assert dies_writing(2**20, save_large, path)
    half = [p for p in tmp_path.iterdir() if p != path]
    assert [p.stat().st_size for p in half] == [2**20]
    assert checkpoint.load(path, "training_state")["step"] == 1
    save_large(path)
    assert checkpoint.load(path, "training_state")["step"] == 2
    assert [p.name for p in tmp_path.iterdir()] == ["weights.state"]
    tried("Kills", "the process dies in the middle of saving a state", 1,
          "the state before is whole, and the next save overwrites the half file")  # fmt: skip


@pytest.mark.fault
def test_a_state_that_finds_no_space_is_a_sentence_and_leaves_the_one_before(tmp_path, tried):
    path = tmp_path / "weights.state"
    checkpoint.save(path, "training_state", {"step": 1})
    for limit in (100, 2**20):  # in torch's first bytes, and in the middle of a tensor
        refused = pytest.raises(CsegError, match=r"cannot write .*weights\.state: .*; free space")
        with file_limit(limit), refused:
            save_large(path)
    assert checkpoint.load(path, "training_state")["step"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["weights.state"]
    tried("Full disk", "a quota that ends in the middle of saving a state", 2,
          "one sentence that names the state; the state before is whole")  # fmt: skip


def test_a_name_that_is_not_there_is_answered_with_those_that_are(tmp_path):
    with pytest.raises(CsegError, match=r"n25\.pt does not exist; run the stage before it$"):
        checkpoint.load(tmp_path / "n25.pt", "training_state")
    for name in ("nall.pt", "n12.pt"):
        checkpoint.save(tmp_path / name, "training_state", {"step": 1})
    with pytest.raises(CsegError, match=r"n25\.pt does not exist; name one of n12\.pt, nall\.pt$"):
        checkpoint.load(tmp_path / "n25.pt", "training_state")
