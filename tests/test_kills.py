"""SIGKILL at random moments: a run that is started again ends with the bytes of an undisturbed one.

What tells of time differs: seconds in cost files and columns, and logs, where a resumed training
says after which step it goes on.
"""

import random
import shutil
import subprocess
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from kills import Watcher, leftovers, results, scripts, timeless
from small_runs import SMOKE, small_data, small_settings
from stage_runs import NAMES, evaluated, start
from workflow_runs import begin_snakemake, overlay, snakemake

pytestmark = [pytest.mark.slow, pytest.mark.fault]

BY_HAND = 7  # kills of each stage, without Snakemake
RETRIED = 12  # kills of both stages under Snakemake, at least; of every other rule, one
TRAINING = ("pretrain", "finetune")
OFTEN = 0.0002  # minutes between saved states: a state is saved in most steps
CONFIG = f"""
run_arms: [cross, cross_pseudo]
prepared_cache: true
pretrain: {{steps: 120, log_every: 7, checkpoint_minutes: {OFTEN}}}
finetune: {{steps: 150, log_every: 7, checkpoint_minutes: {OFTEN}}}
"""
TARGETS = ("all", "audit")  # every rule
RUN = "results/smoke/shapes/cross/n4/seed0"


@dataclass(frozen=True)
class Run:
    """A run that nothing disturbed: what it wrote, and the shortest life of each rule's jobs."""

    results: dict[str, bytes]
    seconds: dict[str, float]


def metrics(data, settings, out: Path) -> bytes:
    """The row of the fine-tuned network in `out`, without its time."""
    return timeless(evaluated(data, settings, out / NAMES[0], out).metrics)


def killed_after(seconds: float, process: subprocess.Popen) -> tuple[str, bool]:
    """What the process said, and whether it had to be killed then."""
    try:
        return process.communicate(timeout=seconds)[1], False
    except subprocess.TimeoutExpired:
        process.kill()
        return process.communicate()[1], True


@pytest.mark.parametrize(("stage", "arm"), [("pretrain", "cross"), ("finetune", "scratch")])
def test_a_training_killed_and_run_again_by_hand_ends_with_the_same_bytes(
    tmp_path, tried, stage, arm
):
    data = small_data(tmp_path)
    block = {"steps": 150, "log_every": 7, "checkpoint_minutes": OFTEN}
    settings = small_settings(arm, **{stage: block})
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    began = time.monotonic()
    assert start(stage, data, settings, whole).wait(120) == 0
    life = time.monotonic() - began
    drawn, kills, resumed = random.Random(stage), 0, 0
    while True:
        process = start(stage, data, settings, broken)
        moment = drawn.uniform(0, life) if kills < BY_HAND else 120.0
        said, killed = killed_after(moment, process)
        resumed += "resumes after step" in said
        kills += killed
        if killed:
            continue
        assert process.returncode == 0, said
        for name in NAMES[:2]:
            assert (whole / name).read_bytes() == (broken / name).read_bytes(), name
        assert leftovers(tmp_path) == []
        if kills == BY_HAND:
            break
        shutil.rmtree(broken)  # it ended before its moment: once more from the beginning
    if stage == "finetune":
        assert metrics(data, settings, whole) == metrics(data, settings, broken)
    assert resumed > 0
    tried("Kills", f"SIGKILL at a random moment of {stage}, run again by hand", kills,
          "the same weights, curve and metrics")  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("undisturbed")
    run = begin_snakemake(folder, *TARGETS, "--configfile", str(SMOKE), overlay(folder, CONFIG))
    watcher = Watcher(run, lambda *_: None)
    watcher.join(300)
    assert run.returncode == 0, (folder / "said").read_text()
    return Run(results(folder / "results"), watcher.seconds)


def test_a_workflow_whose_jobs_are_killed_and_retried_ends_with_the_same_bytes(
    tmp_path, undisturbed, tried
):
    drawn = {rule: random.Random(rule) for rule in undisturbed.seconds}
    killed: Counter[str] = Counter()

    def lacking(times: Counter[str]) -> list[str]:
        trained = sum(times[rule] for rule in TRAINING)
        return [rule for rule in drawn
                if times[rule] == 0 or (rule in TRAINING and trained < RETRIED)]  # fmt: skip

    def moment(rule: str, now: Counter[str]) -> float | None:
        whole = undisturbed.seconds[rule]
        return drawn[rule].uniform(0, 0.9 * whole) if rule in lacking(killed + now) else None

    for _ in range(5):  # what ended before its moment runs again
        again = ["--forcerun", *lacking(killed)] if killed else []
        run = begin_snakemake(
            tmp_path, *TARGETS, "--retries", "30",
            "--configfile", str(SMOKE), overlay(tmp_path, CONFIG), *again,
        )  # fmt: skip
        watcher = Watcher(run, moment)
        watcher.join(300)
        assert run.returncode == 0, (tmp_path / "said").read_text()
        killed += watcher.killed
        if not lacking(killed):
            break
    assert lacking(killed) == [], killed
    assert results(tmp_path / "results") == undisturbed.results
    assert leftovers(tmp_path) == []
    for rule, times in killed.items():
        tried("Kills", f"SIGKILL at a random moment of a job of {rule}, retried by Snakemake",
              times, "the same files in the end")  # fmt: skip


def test_a_killed_snakemake_is_unlocked_and_run_again_to_the_same_bytes(
    tmp_path, undisturbed, tried
):
    arguments = (f"{RUN}/metrics.csv", "--configfile", str(SMOKE), overlay(tmp_path, CONFIG))
    drawn, orphans = random.Random("snakemake"), []
    for rule, with_its_jobs in (("pretrain", True), ("finetune", False)):
        run = begin_snakemake(tmp_path, *arguments)
        wait_for_job(rule, run)
        time.sleep(drawn.uniform(0, undisturbed.seconds[rule]))
        jobs = psutil.Process(run.pid).children(recursive=True)
        run.kill()
        for job in jobs if with_its_jobs else []:
            job.kill()
        run.wait(60)
        orphans += jobs
        refused = snakemake(tmp_path, *arguments)
        assert refused.returncode != 0 and "--unlock" in refused.stderr
        assert snakemake(tmp_path, *arguments, "--unlock").returncode == 0
    done = snakemake(tmp_path, *arguments)
    assert done.returncode == 0, done.stderr
    psutil.wait_procs(orphans, 120)
    same = {name: undisturbed.results[name] for name in results(tmp_path / "results")}
    assert results(tmp_path / "results") == same and f"{RUN}/metrics.csv"[8:] in same
    assert leftovers(tmp_path) == []
    tried("Kills", "SIGKILL of Snakemake and its jobs, then `--unlock` and again", 1,
          "the same files in the end")  # fmt: skip
    tried("Kills", "SIGKILL of Snakemake alone, then again while its job still runs", 1,
          "the same files in the end")  # fmt: skip


def wait_for_job(rule: str, snakemake: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while rule not in dict(scripts(snakemake.pid)).values():
        assert time.monotonic() < deadline and snakemake.poll() is None
        time.sleep(0.05)
