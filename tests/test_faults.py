"""What else goes wrong around a run: a second one, a read-only disk, a clock that jumps back."""

import os
import re
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest
from disturbed_runs import RESULTS, RUN, again, assert_same_results, copied
from namespaces import need_namespaces, python, read_only, unshared
from small_runs import ROOT, SMOKE
from workflow_runs import begin_snakemake, snakemake

pytestmark = pytest.mark.fault

COMMAND = ["-m", "snakemake", "-s", ROOT / "Snakefile"]


def wait_until(happened, process: subprocess.Popen) -> None:
    while not happened() and process.poll() is None:
        time.sleep(0.05)
    assert happened()


@pytest.mark.slow
def test_a_second_snakemake_in_the_same_folder_is_refused(undisturbed, tmp_path, tried):
    folder = tmp_path / "run"
    folder.mkdir()
    first = begin_snakemake(folder, "smoke", "--configfile", str(SMOKE))
    refused = 0
    for stage in ("fetch.json", "index.csv", "cross/n4/seed0/pretrain.pt"):
        wait_until((folder / RESULTS / stage).exists, first)
        second = again(folder)
        assert first.poll() is None and second.returncode != 0
        assert "Directory cannot be locked" in second.stderr + second.stdout
        assert "Traceback" not in second.stderr + second.stdout
        refused += 1
    assert first.wait() == 0, (folder / "said").read_text()
    assert_same_results(folder, undisturbed)
    tried("Surroundings", "a second Snakemake on the same folder while the first runs", refused,
          "refused by Snakemake's lock; the first ends with the same results as an "
          "undisturbed run")  # fmt: skip


def digests(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.slow
def test_read_only_results_are_left_as_they_are(undisturbed, tmp_path, tried):
    need_namespaces("m")
    folder = copied(undisturbed, tmp_path)
    before = digests(folder / "results")
    other = tmp_path / "other.yaml"
    other.write_text("finetune: {lr: 0.05}\n")
    frozen = read_only(folder / "results")
    config = ["--cores", "2", "--directory", folder, "smoke", "--configfile", SMOKE]
    for change, said in ((["--forceall"], "Write-protected output files"),
                         ([other], "Write-protected output files")):  # fmt: skip
        done = unshared("m", frozen + python(*COMMAND, *config, *change), cwd=ROOT)
        assert done.returncode != 0 and said in done.stderr + done.stdout, done.stderr
        assert "Traceback" not in done.stderr + done.stdout
    done = unshared("m", frozen + python("-m", "cseg", "paper", folder / "results"), cwd=ROOT)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert re.search(r"cannot write .*Read-only file system; .*choose a folder", done.stderr)
    assert digests(folder / "results") == before
    done = again(folder)
    assert done.returncode == 0, done.stderr
    assert_same_results(folder, undisturbed)
    tried("Surroundings", "results on a read-only disk: snakemake, cseg paper", 3,
          "stopped, with the files named; nothing changed, and the same results as an "
          "undisturbed run once writable")  # fmt: skip


@pytest.mark.slow
def test_an_empty_read_only_results_folder_is_named(tmp_path, tried):
    need_namespaces("m")
    (tmp_path / "results").mkdir()
    config = ["--cores", "2", "--directory", tmp_path, "smoke", "--configfile", SMOKE]
    done = unshared("m", read_only(tmp_path / "results") + python(*COMMAND, *config), cwd=ROOT)
    assert done.returncode != 0 and "Traceback" not in done.stderr + done.stdout
    assert "Failed to create output directory results/smoke/shapes" in done.stderr
    tried("Surroundings", "an empty results folder on a read-only disk", 1,
          "stopped by Snakemake, which names the folder")  # fmt: skip


def trained(folder: Path) -> dict[str, int]:
    """How often each training went through to its end."""
    logs = {str(path.relative_to(folder)): path.read_text()
            for path in (folder / RESULTS).glob("*/n*/seed*/logs/*.log")}  # fmt: skip
    return {name: len(re.findall(r"^(?:pretrain|finetune): ", text, re.MULTILINE))
            for name, text in logs.items() if "evaluate" not in name}  # fmt: skip


def date_ahead(folder: Path, seconds: int) -> None:
    """Leave files as a clock does that is set back now: they are dated in the future."""
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # a temporary file of the run
            date = path.stat().st_mtime + seconds
            os.utime(path, (date, date))


@pytest.mark.long
def test_a_clock_set_back_between_runs_loses_nothing_and_trains_nothing_twice(
    undisturbed, tmp_path, tried
):
    done = snakemake(tmp_path, str(RUN / "pretrain.pt"), "--configfile", str(SMOKE))
    assert done.returncode == 0, done.stderr
    date_ahead(tmp_path, 86400)
    done = again(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Nothing to be done" in again(tmp_path).stderr
    assert set(trained(tmp_path).values()) == {1} and len(trained(tmp_path)) == 3
    assert_same_results(tmp_path, undisturbed)
    tried("Surroundings", "clock set back by a day between two runs", 1,
          "the second run goes on; nothing trained twice")  # fmt: skip


@pytest.mark.long
def test_a_clock_that_jumps_back_during_a_run_loses_nothing(undisturbed, tmp_path, tried):
    folder = tmp_path / "run"
    folder.mkdir()
    run = begin_snakemake(folder, "smoke", "--configfile", str(SMOKE), "--cores", "1")
    jumps = 0
    for job in ("cross/n4/seed0/logs/pretrain", "scratch/n4/seed0/logs/finetune",
                "cross/n4/seed0/logs/finetune"):  # fmt: skip
        wait_until((folder / RESULTS / f"{job}.log").exists, run)
        date_ahead(folder / RESULTS, 3600)
        jumps += 1
    assert run.wait(400) == 0, (folder / "said").read_text()
    assert "Nothing to be done" in again(folder).stderr
    assert_same_results(folder, undisturbed)
    seconds = pd.read_csv(folder / RESULTS / "summary.csv").filter(regex="_seconds$")
    assert seconds.shape == (2, 3) and (seconds >= 0).all(axis=None)
    assert set(trained(folder).values()) == {1}
    tried("Surroundings", "clock set back by an hour while a job trains", jumps,
          "the same results as an undisturbed run, nothing trained twice")  # fmt: skip
