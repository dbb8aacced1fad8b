"""How far an experiment is: runs done, in progress and to come, and when the last one may end.

Read from the results folder alone, so that it serves while jobs run, here or on a cluster.
"""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
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
Which = tuple[str, str, int]  # a run: arm, n, seed
LEFT = re.compile(r"step \d+/\d+.* (\d+) s left")


@dataclass(frozen=True)
class Job:
    """A stage of a run."""

    run: Which
    stage: str
    done: bool = False  # whether its result is there
    word: str | None = None  # the last line of its log, if it has begun and is not done
    silent: float = 0.0  # minutes since that line
    seconds: float | None = None  # that it took, if it is done and was timed
    left: float | None = None  # seconds that it says it needs still

    @property
    def goes_on(self) -> bool:
        """Whether it is at work, as far as its log tells."""
        failed = self.word is not None and self.word.startswith("error:")
        return self.word is not None and not failed and self.silent < SILENT_MINUTES


def status(results: Path) -> str:
    """What is done and what is left of the experiment in a folder, or of those in it, as text.

    Raises:
        DataError: no experiment has begun there.
    """
    folders = [results, *sorted(path for path in results.glob("*") if path.is_dir())]
    found = [folder for folder in folders if (folder / PLAN).exists()]
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
    found = LEFT.search(word)
    silent = max(0.0, (time.time_ns() - log.stat().st_mtime_ns) / 60e9)
    left = float(found[1]) if found else None
    return Job(which, stage, word=word, silent=silent, left=left)


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
        usual = fmean(done.seconds or 0.0 for done in own) if own else None
        left = job.left if job.left is not None else usual
        if left is None:
            return None
        total += left
    return total / max(1, sum(job.goes_on for job in jobs))


def headline(folder: Path) -> str:
    """How many runs of one experiment are done, and what is left of it, as one line.

    Raises:
        CsegError: the plan is missing or damaged.
    """
    jobs = read_jobs(folder)
    runs, begun, done = _progress(jobs)
    when = "" if len(done) == len(runs) else f"; {_how_long(seconds_left(jobs))}"
    return (
        f"{folder}: {len(done)} of {len(runs)} runs are done, {len(begun - done)} have begun, "
        f"{len(runs) - len(begun)} are to come{when}"
    )


def _progress(jobs: Sequence[Job]) -> tuple[list[Which], set[Which], set[Which]]:
    """All runs in their order, those that have begun (done ones as well), those that are done."""
    runs = list(dict.fromkeys(job.run for job in jobs))
    begun = {job.run for job in jobs if job.done or job.word is not None}
    return runs, begun, set(runs) - {job.run for job in jobs if not job.done}


def _described(folder: Path) -> str:
    jobs = read_jobs(folder)
    runs, begun, done = _progress(jobs)
    rows = []
    for arm in dict.fromkeys(run[0] for run in runs):
        own = {run for run in runs if run[0] == arm}
        rows.append((arm, len(own & done), len((own & begun) - done), len(own - begun)))
    lines = [headline(folder), "", *markdown(("arm", "done", "begun", "to come"), rows)]
    begun_jobs = [job for job in jobs if job.word is not None]
    lines += [""] * bool(begun_jobs)
    for job in begun_jobs:
        arm, n, seed = job.run
        age = f" (no word for {job.silent:.0f} minutes)" if job.silent >= SILENT_MINUTES else ""
        lines.append(f"{arm}/n{n}/seed{seed} {job.stage}{age}: {job.word}")
    return "\n".join(lines)


def _how_long(seconds: float | None) -> str:
    if seconds is None:
        return "how long it takes is known once a job of each stage is done"
    left = f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
    return f"about {left} left, with as many jobs at a time as now"
