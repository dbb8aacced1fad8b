"""SIGKILL at drawn changes of files: a run started again ends with the bytes of an undisturbed one.

What tells of time differs: seconds in cost files and columns, and logs, where a resumed training
says after which step it goes on.
"""

import random
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import psutil
import pytest
from fake_results import paint_results
from kills import Orders, leftovers, results, scripts, timeless
from small_runs import SMOKE, small_data, small_settings
from stage_runs import NAMES, evaluated, start
from workflow_runs import begin_snakemake, overlay, snakemake

from cseg.paper.page import summary_page
from cseg.stages.summary import summary

pytestmark = pytest.mark.fault

BY_HAND = 7  # kills of each stage, without Snakemake
RETRIED = 6  # kills of pretrain and of finetune under Snakemake; of every other rule, one
TRAINING = ("pretrain", "finetune")
OFTEN = 1e-9  # minutes between saved states: one is saved in every step, so changes are steps
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
    """A run that nothing disturbed: what it wrote, and the fewest changes of each rule's jobs."""

    results: dict[str, bytes]
    changes: dict[str, int]


def metrics(data, settings, out: Path) -> bytes:
    """The row of the fine-tuned network in `out`, without its time."""
    return timeless(evaluated(data, settings, out / NAMES[0], out).metrics)


@pytest.mark.parametrize("others", [True, False], ids=["among others", "alone"])
def test_pages_that_differ_in_measured_times_alone_count_as_the_same(tmp_path, others):
    runs = paint_results(tmp_path, ("cross", "imagenet"), (4, 16), (0, 1, 2)[: 1 if others else 3])
    summary(runs, tmp_path / "fake")
    (tmp_path / "fake/checksums.json").unlink()
    costs = pd.read_csv(tmp_path / "fake/cost.csv")
    pages = {}
    for name, ratio in {"even": 1.0, "uneven": 2.0, "more": 3.0, "other": 1.0}.items():
        seconds = costs["arm"].map({"cross": 10.0, "imagenet": 10.0 * ratio})
        seconds *= costs["stage"] == "finetune"
        costs.assign(seconds=seconds).to_csv(tmp_path / "fake/cost.csv", index=False)
        if name == "other":
            rows = pd.read_csv(tmp_path / "fake/summary.csv")
            rows.assign(train_miou=0.1).to_csv(tmp_path / "fake/summary.csv", index=False)
        page = tmp_path / name / "summary.html"
        summary_page(tmp_path / "fake", page, figures_dir=tmp_path)
        assert (b"Arms of unequal cost" in page.read_bytes()) == (ratio > 1)
        pages[name] = results(page.parent)
    assert pages["even"] == pages["uneven"] == pages["more"] != pages["other"]


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "arm"), [("pretrain", "cross"), ("finetune", "scratch")])
def test_a_training_killed_and_run_again_by_hand_ends_with_the_same_bytes(
    tmp_path, tried, stage, arm
):
    data = small_data(tmp_path)
    block = {"steps": 150, "log_every": 7, "checkpoint_minutes": OFTEN}
    settings = small_settings(arm, **{stage: block})
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    orders = Orders(tmp_path / "orders", tmp_path)
    assert start(stage, data, settings, whole, orders.environment(stage)).wait(600) == 0
    moments = drawn_moments(stage, orders.changes()[stage], BY_HAND)
    orders.give(stage, moments)
    said = ""
    for number in range(BY_HAND + 1):
        process = start(stage, data, settings, broken, orders.environment(stage))
        said += process.communicate(timeout=600)[1]
        assert process.returncode == (-signal.SIGKILL if number < BY_HAND else 0), said
    assert orders.obeyed()[stage] == BY_HAND and "resumes after step" in said
    for name in NAMES[:2]:
        assert (whole / name).read_bytes() == (broken / name).read_bytes(), name
    assert leftovers(tmp_path) == []
    if stage == "finetune":
        assert metrics(data, settings, whole) == metrics(data, settings, broken)
    tried("Kills", f"SIGKILL at a random moment of {stage}, run again by hand", BY_HAND,
          "the same weights, curve and metrics")  # fmt: skip


def drawn_moments(rule: str, changes: int, times: int) -> list[int]:
    """Changes to be killed at, so that a job resumed after each still has the next before it."""
    drawn = random.Random(rule)
    return [drawn.randint(1, max(1, changes // (times + 1))) for _ in range(times)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("undisturbed")
    orders = Orders(tmp_path_factory.mktemp("orders") / "orders", folder)
    run = begin_snakemake(
        folder, *TARGETS, "--configfile", str(SMOKE), overlay(folder, CONFIG),
        environment=orders.environment(),
    )  # fmt: skip
    assert run.wait(1200) == 0, (folder / "said").read_text()
    return Run(results(folder / "results"), orders.changes())


@pytest.mark.long
def test_a_workflow_whose_jobs_are_killed_and_retried_ends_with_the_same_bytes(
    tmp_path, undisturbed, tried
):
    folder = tmp_path / "run"
    folder.mkdir()
    orders = Orders(tmp_path / "orders", folder)
    for rule, changes in undisturbed.changes.items():
        orders.give(rule, drawn_moments(rule, changes, RETRIED if rule in TRAINING else 1))
    run = begin_snakemake(
        folder, *TARGETS, "--retries", "30",
        "--configfile", str(SMOKE), overlay(folder, CONFIG), environment=orders.environment(),
    )  # fmt: skip
    assert run.wait(1200) == 0, (folder / "said").read_text()
    killed = orders.obeyed()
    assert set(killed) == set(undisturbed.changes) and len(killed) > 12
    assert results(folder / "results") == undisturbed.results
    assert leftovers(folder) == []
    for rule, times in killed.items():
        tried("Kills", f"SIGKILL at a random moment of a job of {rule}, retried by Snakemake",
              times, "the same files in the end")  # fmt: skip


@pytest.mark.long
def test_a_killed_snakemake_is_unlocked_and_run_again_to_the_same_bytes(
    tmp_path, undisturbed, tried
):
    arguments = (f"{RUN}/metrics.csv", "--configfile", str(SMOKE), overlay(tmp_path, CONFIG))
    orphans = []
    for rule, with_its_jobs in (("pretrain", True), ("finetune", False)):
        orders = Orders(tmp_path / f"orders_{rule}", tmp_path)
        orders.give(rule, drawn_moments(rule, undisturbed.changes[rule], 1), "stop")
        run = begin_snakemake(tmp_path, *arguments, environment=orders.environment())
        wait_for_stop(rule, run)
        jobs = psutil.Process(run.pid).children(recursive=True)
        run.kill()
        for job in jobs:
            job.kill() if with_its_jobs else job.resume()
        run.wait(600)
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


def wait_for_stop(rule: str, snakemake: subprocess.Popen) -> None:
    """Wait until the job has stopped itself."""
    stopped = False
    while not stopped and snakemake.poll() is None:
        stopped = (rule, psutil.STATUS_STOPPED) in {
            (name, process.status()) for process, name in scripts(snakemake.pid)
        }
        time.sleep(0.05)
    assert stopped, f"{rule} ended before its order"
