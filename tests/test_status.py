"""`cseg status`: counted against the whole plan, read from the files alone."""

import json
import os
import time

import pytest

from cseg.cli import main
from cseg.errors import DataError
from cseg.estimate.status import read_jobs, seconds_left, status

STAGES = {"scratch": ["finetune", "evaluate"], "cross": ["pretrain", "finetune", "evaluate"]}


@pytest.fixture
def results(tmp_path):
    """Two arms and two seeds; nothing has begun."""
    runs = [
        {"arm": arm, "n": "16", "seed": seed, "stages": stages}
        for arm, stages in STAGES.items() for seed in (0, 1)
    ]  # fmt: skip
    folder = tmp_path / "shapes"
    folder.mkdir()
    (folder / "experiment.json").write_text(json.dumps({"name": "shapes", "runs": runs}))
    return tmp_path


def place(results, arm, seed):
    folder = results / "shapes" / arm / "n16" / f"seed{seed}"
    for name in ("logs", "benchmarks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return folder


def finish(results, arm, seed, **seconds):
    files = {"pretrain": "pretrain.pt", "finetune": "finetune.pt", "evaluate": "metrics.csv"}
    folder = place(results, arm, seed)
    for stage, took in seconds.items():
        (folder / files[stage]).touch()
        (folder / "logs" / f"{stage}.log").write_text("done\n")
        (folder / "benchmarks" / f"{stage}.tsv").write_text(f"s\th:m:s\n{took}\t0:00:01\n")


def begin(results, arm, seed, stage, word, minutes_ago=0.0):
    log = place(results, arm, seed) / "logs" / f"{stage}.log"
    log.write_text(f"starts\n{word}\n\n")
    date = time.time() - 60 * minutes_ago
    os.utime(log, (date, date))


def test_an_experiment_that_has_not_begun_is_all_to_come(results):
    said = status(results)
    assert "0 of 4 runs are done, 0 have begun, 4 are to come; how long it takes is known" in said
    assert "| scratch | 0 | 0 | 2 |" in said and "| cross | 0 | 0 | 2 |" in said


def test_the_time_left_is_that_of_the_arms_own_jobs_over_those_that_go_on(results):
    finish(results, "scratch", 0, finetune=100, evaluate=10)
    begin(results, "scratch", 1, "finetune", "shapes: step 30/100 loss 1.0 70 s left")
    jobs = read_jobs(results / "shapes")
    # scratch: 70 + 10; cross: pretraining is known of nobody
    assert seconds_left(jobs) is None
    finish(results, "cross", 0, pretrain=200, finetune=50)
    # 70 + 10; cross seed 0: evaluate 10 as scratch's; seed 1: 200 + 50 + 10; one job goes on
    assert seconds_left(read_jobs(results / "shapes")) == 70 + 10 + 10 + 260
    begin(results, "cross", 1, "pretrain", "shapes: step 1/100 loss 1.0 150 s left")
    assert seconds_left(read_jobs(results / "shapes")) == (70 + 10 + 10 + 150 + 60) / 2
    said = status(results)
    assert "1 of 4 runs are done, 3 have begun, 0 are to come; about 2 minutes left" in said
    assert "| cross | 0 | 2 | 0 |" in said
    assert "scratch/n16/seed1 finetune: shapes: step 30/100" in said


def test_jobs_that_failed_or_fell_silent_are_shown_and_not_counted_as_going_on(results):
    for seed in (0, 1):
        finish(results, "scratch", seed, finetune=100, evaluate=10)
    finish(results, "cross", 0, pretrain=100, finetune=100, evaluate=10)
    begin(results, "cross", 1, "pretrain", "error: list a.txt is empty; restore it")
    assert seconds_left(read_jobs(results / "shapes")) == 210
    assert "cross/n16/seed1 pretrain: error: list a.txt is empty" in status(results)
    begin(results, "cross", 1, "pretrain", "shapes: step 1/9 x 30 s left", minutes_ago=90)
    assert seconds_left(read_jobs(results / "shapes")) == 30 + 110
    assert "cross/n16/seed1 pretrain (no word for 90 minutes): shapes: step 1/9" in status(results)


def test_a_finished_experiment_has_no_time_left(results):
    for seed in (0, 1):
        finish(results, "scratch", seed, finetune=1, evaluate=1)
        finish(results, "cross", seed, pretrain=1, finetune=1, evaluate=1)
    said = status(results / "shapes")
    assert said.splitlines()[0].endswith("4 of 4 runs are done, 0 have begun, 0 are to come")


def test_a_folder_without_an_experiment_is_a_sentence(tmp_path, capsys):
    with pytest.raises(DataError, match="holds no experiment"):
        status(tmp_path)
    assert main(["status", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_the_command_prints_it(results, capsys):
    assert main(["status", str(results)]) == 0
    assert "0 of 4 runs are done" in capsys.readouterr().out
