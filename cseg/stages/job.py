"""A stage as a job of Snakemake: records of its files and settings, and the GPUs it is given."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from cseg.jobs.launch import launch
from cseg.settings.keys import build
from cseg.settings.run import RunSettings
from cseg.stages.run import RunInputs

T = TypeVar("T")


def files_of(kind: type[T], named: Mapping[str, Any]) -> T:
    """Make a record of paths from files by name; an empty entry is a file that there is not."""
    names = [field.name for field in fields(kind) if named.get(field.name)]  # type: ignore[arg-type]
    return kind(**{name: Path(named[name]) for name in names})


def launch_job(job: Any, stage: Callable[..., None], *records: Any, out: type, **own: Any) -> None:
    """Run a stage on the GPUs of its job, the `snakemake` of an adapter.

    The stage takes `records`, which it reads; the record of what it writes (`out`, of the job's
    outputs); the job's threads; and `own`.
    """
    run = partial(stage, *records, out=files_of(out, job.output), threads=job.threads, **own)
    gpus, nodes = job.resources.gpu, job.resources.get("nodes", 1)
    share = job.resources.jobs_per_gpu
    launch(job.log[0], run, processes=gpus, nodes=nodes, jobs_per_gpu=share)


def launch_run(job: Any, stage: Callable[..., None], *, out: type, **own: Any) -> None:
    """`launch_job` for a stage of one run, which reads `RunInputs` and the run's settings."""
    settings = build(RunSettings, job.params.settings, "settings")
    launch_job(job, stage, files_of(RunInputs, job.input), settings, out=out, **own)
