"""Run a stage in as many processes as it was given GPUs, by torch's launcher."""

import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from cseg.adapter import stage
from cseg.errors import TrainingError
from cseg.training.ranks import group


def launch(log: str, processes: int, run: Callable[..., None], *arguments: Any) -> None:
    """Call `run(*arguments)`, in one process or in several that share its batches.

    Args:
        log: what the further processes say goes there.
        processes: how many; 0 and 1 run here.
        run: a stage that knows of ranks: pretrain, finetune or evaluate.
        *arguments: of the stage.

    Raises:
        TrainingError: one of several processes failed; its own sentence is in the log.
        SystemExit: after a signal, which every process has answered.
    """
    if processes <= 1:
        run(*arguments)
        return
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,  # Snakemake's retries begin a job again, from its saved state
        signals_to_handle="SIGTERM,SIGINT,SIGUSR1",
    )
    try:
        with _main_not_imported_again():
            elastic_launch(config, _rank)(log, run, arguments)
    except SignalException as error:
        raise SystemExit(f"stopped by signal {error.sigval}; state saved") from error
    except ChildFailedError as error:
        raise TrainingError(
            f"one of {processes} processes failed; its own message is above and in {log}"
        ) from error


def _rank(log: str, run: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    with stage(log), group():
        run(*arguments)


@contextmanager
def _main_not_imported_again() -> Iterator[None]:
    """New processes import the main module, which would begin the adapter script once more."""
    main = sys.modules["__main__"]
    path = main.__dict__.pop("__file__", None)
    try:
        yield
    finally:
        if path is not None:
            main.__file__ = path
