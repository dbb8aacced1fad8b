"""How far an experiment is: runs done, in progress and to come, and when the last one may end.

Read from the results folder alone, so that it serves while jobs run, here or on a cluster.
"""

import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from statistics import fmean
from typing import Any

from cseg.errors import DataError
from cseg.storage.files import read_json
from cseg.storage.tables import markdown

PLAN = "experiment.json"  # written by the rule manifest
LAST = {"pseudolabel": "pseudo_labels.csv", "pretrain": "pretrain.pt", "finetune": "finetune.pt",
        "evaluate": "metrics.csv"}  # the file by which a stage is done  # fmt: skip
SILENT_MINUTES = 10  # a training says a line every ten seconds, but for its validation
STATES = ("done", "begun", "to come")  # of a run
Which = tuple[str, str, int]  # a run: arm, n, seed
LEFT = re.compile(r"step \d+/\d+.* (\d+) s left")


@dataclass(frozen=True)
class Job:
    """A stage of a run."""

    run: Which
    stage: str
    done: bool = False  # whether its result is there
    word: str = ""  # the last line of its log, if it has begun and is not done
    silent: float = 0.0  # minutes since that line
    seconds: float | None = None  # that it took, if it is done and was timed


def status(results: Path) -> str:
    """What is done and what is left of the experiment in a folder, or of those in it, as text.

    Raises:
        DataError: no experiment has begun there.
    """
    found = [path for path in (results, *sorted(results.glob("*"))) if (path / PLAN).exists()]
    if not found:
        raise DataError(
            f"{results} holds no {PLAN}, which an experiment writes when it begins; give the "
            "folder of its results, such as results/shapes"
        )
    return "\n\n".join(_described(folder) for folder in found)


def read_jobs(folder: Path) -> list[Job]:
    """The stages of every run that the experiment plans, as they stand now.

    Raises:
        CsegError: the plan is damaged.
    """
    return [
        _job(folder, run, stage)
        for run in read_json(folder / PLAN)["runs"]
        for stage in run["stages"]
    ]


def _job(folder: Path, run: dict[str, Any], stage: str) -> Job:
    place = folder / run["arm"] / f"n{run['n']}" / f"seed{run['seed']}"
    which = (run["arm"], run["n"], run["seed"])
    if (place / LAST[stage]).exists():
        return Job(which, stage, done=True, seconds=_timed(place / "benchmarks" / f"{stage}.tsv"))
    log = place / "logs" / f"{stage}.log"
    if not log.exists():
        return Job(which, stage)
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    word = next((line for line in reversed(lines) if line.strip()), "has begun")
    silent = max(0.0, (time.time_ns() - log.stat().st_mtime_ns) / 60e9)
    return Job(which, stage, word=word, silent=silent)


def _timed(benchmark: Path) -> float | None:
    """The seconds in a benchmark file of Snakemake; None without one."""
    try:
        return float(benchmark.read_text(encoding="utf-8").splitlines()[1].split("\t")[0])
    except (OSError, IndexError, ValueError):  # written when the job has ended, or not at all
        return None


def seconds_left(jobs: Sequence[Job]) -> float | None:
    """Seconds until the last run ends if as many go on at a time as now; None if nobody knows.

    A job is taken to last as the finished ones of its stage and arm, or else of its stage.
    """
    total = 0.0
    for job in jobs:
        if job.done:
            continue
        same = [done for done in jobs if done.seconds is not None and done.stage == job.stage]
        own = [done for done in same if done.run[0] == job.run[0]] or same
        stated = LEFT.search(job.word)
        if not (stated or own):
            return None
        total += float(stated[1]) if stated else fmean(done.seconds or 0.0 for done in own)
    unfailed = [job for job in jobs if job.word and not job.word.startswith("error:")]
    at_work = sum(job.silent < SILENT_MINUTES for job in unfailed)  # as far as their logs tell
    return total / max(1, at_work)


def headline(folder: Path, jobs: Sequence[Job]) -> str:
    """How many runs of one experiment are done, and what is left of it, as one line."""
    states = _states(jobs)
    counts = Counter(states.values())
    when = f"; {_how_long(seconds_left(jobs))}" if counts["done"] < len(states) else ""
    return (
        f"{folder}: {counts['done']} of {len(states)} runs are done, {counts['begun']} have begun, "
        f"{counts['to come']} are to come{when}"
    )


def _states(jobs: Sequence[Job]) -> dict[Which, str]:
    """Each run's of `STATES`, in the order of the plan."""
    states = {}
    for run, stages in groupby(jobs, attrgetter("run")):
        own = list(stages)
        unfinished = "begun" if any(job.done or job.word for job in own) else "to come"
        states[run] = "done" if all(job.done for job in own) else unfinished
    return states


def _described(folder: Path) -> str:
    jobs = read_jobs(folder)
    counts = Counter((run[0], state) for run, state in _states(jobs).items())
    arms = dict.fromkeys(job.run[0] for job in jobs)
    rows = [(arm, *(counts[arm, state] for state in STATES)) for arm in arms]
    lines = [headline(folder, jobs), "", *markdown(("arm", *STATES), rows)]
    begun = [job for job in jobs if job.word]
    lines += [""] * bool(begun)
    for job in begun:
        arm, n, seed = job.run
        age = f" (no word for {job.silent:.0f} minutes)" if job.silent >= SILENT_MINUTES else ""
        lines.append(f"{arm}/n{n}/seed{seed} {job.stage}{age}: {job.word}")
    return "\n".join(lines)


def _how_long(seconds: float | None) -> str:
    if seconds is None:
        return "how long it takes is known once a job of each stage is done"
    left = f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
    return f"about {left} left, with as many jobs at a time as now"
