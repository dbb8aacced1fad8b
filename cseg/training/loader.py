"""The batches of a training, loaded ahead by further processes: `workers` of them, or none.

Batches are a function of the step, so that neither the number of workers nor the way they are
started (fork, forkserver, spawn) changes a byte.
"""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import torch.distributed as dist
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cseg.compute.processes import main_not_imported_again
from cseg.errors import CsegError, TrainingError, reason
from cseg.training.sampling import StepBatches

SHARED_MEMORY = Path("/dev/shm")  # batches come from the workers through it
AHEAD = 4  # batches that a worker prepares before they are asked for


def iterate(
    batches: StepBatches, workers: int, pin: bool, first: int = 0, shared: Path = SHARED_MEMORY
) -> Iterator[tuple[Tensor, ...]]:
    """Iterate over the batches from step `first` on, loading ahead in `workers` processes.

    With 0 workers this process loads. `pin` copies to page-locked memory, from which a GPU fetches
    without waiting; `shared` is where the filesystem of shared memory is mounted.

    Raises:
        TrainingError: shared memory cannot hold the batches of the workers.
        CsegError: what a worker met, as without workers.
        RuntimeError: a worker died; torch raises it wherever the training is just then.
    """
    if workers:
        _check_room(batches, workers, shared)
    loader = DataLoader(
        _Answers(batches),
        batch_size=None,
        sampler=range(first, batches.steps),
        num_workers=workers,
        pin_memory=pin,
        prefetch_factor=AHEAD if workers else None,
        worker_init_fn=_leave_signals_to_the_training,
    )
    with main_not_imported_again():
        answers = iter(loader)
    try:
        for answer in answers:
            if isinstance(answer, CsegError):
                raise answer
            yield answer
    except (ConnectionError, EOFError) as error:  # met before torch has heard of the death
        raise RuntimeError(f"DataLoader worker died ({reason(error)})") from error


class _Answers(Dataset):
    """Batches, or the failure that each of them met, which a worker then hands on as it is."""

    def __init__(self, batches: StepBatches) -> None:
        self.batches = batches

    def __getitem__(self, step: int) -> tuple[Tensor, ...] | CsegError:
        try:
            return self.batches[step]
        except CsegError as error:
            return error


def _leave_signals_to_the_training(worker: int) -> None:
    """Ctrl-C and Slurm reach every process; the training still needs batches to save its state."""
    for number in (signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    # Python itself ends a worker by SIGTERM, more than once, when the training has ended.
    signal.signal(signal.SIGTERM, lambda number, _: signal.signal(number, signal.SIG_DFL))


def _check_room(batches: StepBatches, workers: int, shared: Path) -> None:
    if not shared.is_dir():  # a system that shares memory in another way
        return
    neighbours = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if dist.is_initialized() else 1
    height, width = batches.settings.crop
    held = neighbours * (workers * AHEAD + 1) * batches.images_per_step
    need = held * height * width * 4  # RGB and a label
    free = shutil.disk_usage(shared).free
    if need > free:
        raise TrainingError(
            f"{shared} has {free / 2**20:.1f} MiB free, but the batches of {workers} loader "
            f"workers need {need / 2**20:.1f} MiB; set workers to 0, or give the "
            "container more (docker run --shm-size)"
        )
