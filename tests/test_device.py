"""Where a stage computes: a GPU that others fill is refused before anything is done."""

import pytest
import torch
from small_runs import ROOT

from cseg.compute.device import open_device
from cseg.errors import TrainingError
from cseg.jobs.adapter import stage

MIB = 2**20


@pytest.fixture
def gpu(monkeypatch):
    """A made-up GPU whose free memory, in MiB, is what the test says; None fails as CUDA does."""

    def put(free: int | None) -> list[torch.device]:
        def memory(device):
            if free is None:
                raise RuntimeError("CUDA error: out of memory")
            return free * MIB, 81_920 * MIB

        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "mem_get_info", memory)
        monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", begun.append)
        return begun

    begun: list[torch.device] = []
    return put


def test_a_gpu_with_room_is_taken(gpu):
    gpu(2_000)
    assert open_device("auto", 1) == torch.device("cuda")
    assert open_device("cpu", 1) == torch.device("cpu")


def test_each_stage_measures_its_own_peak_of_memory(gpu):
    begun = gpu(2_000)
    for _ in range(2):  # stages of one process
        open_device("auto", 1)
    assert begun == [torch.device("cuda")] * 2


def test_float32_lets_convolutions_alone_round(gpu):
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = False, True
    gpu(2_000)
    open_device("auto", 1)
    assert torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32


def test_one_place_says_whether_there_is_a_gpu():
    asked = [
        path.name
        for folder in ("cseg", "tests", "benchmarks", "workflow")
        for path in (ROOT / folder).rglob("*.py")
        if "cuda.is_available()" in path.read_text()
    ]
    assert sorted(asked) == ["device.py", "test_device.py"]


def test_a_gpu_that_others_fill_is_a_sentence(gpu):
    gpu(200)
    with pytest.raises(TrainingError, match="200 of 81920 MiB are free; see nvidia-smi"):
        open_device("auto", 1)


def test_a_gpu_without_room_for_cuda_itself_is_a_sentence(gpu):
    gpu(None)
    with pytest.raises(TrainingError, match="CUDA error: out of memory; see nvidia-smi"):
        open_device("cuda", 1)


def test_memory_that_ends_later_is_a_sentence_too(tmp_path, capsys):
    with pytest.raises(SystemExit), stage(str(tmp_path / "log")):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    assert capsys.readouterr().err.startswith("error: CUDA out of memory, Tried to allocate")
