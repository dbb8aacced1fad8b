"""The workflow on a real Slurm of one node, and what happens when things break there.

One copy of the checkout serves every run, so that edits during the test cannot mix in.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import psutil
import pytest
from checkouts import MARK, marked_checkout, timeless
from slurm_cluster import SlurmCluster, cluster, missing, wait_for
from small_runs import SMOKE

pytestmark = [pytest.mark.slow, pytest.mark.skipif(missing() is not None, reason=str(missing()))]

CANCELLED, HUNG, HUNGRY, RESTARTED, ORPHANED = range(5)  # the seed each case befalls
HARD = """\
results_dir: results/hard
run_arms: [scratch]
seeds: [0, 1, 2, 3, 4]
pretrain: {steps: 200}
finetune: {steps: 200, log_every: 50, checkpoint_minutes: 0.01}
"""
RESULTS = "results/hard/shapes"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    return marked_checkout(tmp_path_factory.mktemp("slurm") / "checkout")


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    with cluster(tmp_path_factory.mktemp("cluster")) as here:
        yield here


def start(checkout: Path, folder: Path, log: str, *arguments: str) -> subprocess.Popen:
    """Start Snakemake in `folder`; its words go to the file `log` there."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "snakemake", "-s", str(checkout / "Snakefile"), *arguments]
    return subprocess.Popen(
        command,
        cwd=folder,
        stdout=(folder / log).open("w"),
        stderr=subprocess.STDOUT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def submit(checkout: Path, folder: Path, log: str, *arguments: str) -> subprocess.Popen:
    """The same through the Slurm profile."""
    profile = ["--workflow-profile", str(checkout / "profiles" / "slurm"),
               "--slurm-init-seconds-before-status-checks", "2"]  # fmt: skip
    return start(checkout, folder, log, *profile, *arguments)


def finish(run: subprocess.Popen, log: Path) -> None:
    assert run.wait(1200) == 0, log.read_text()


@pytest.fixture(scope="module")
def smoke_run(slurm, checkout, tmp_path_factory):
    """The smoke config on the cluster, started here and awaited by its test."""
    folder = tmp_path_factory.mktemp("smoke_on_slurm")
    return submit(checkout, folder, "log", "smoke", "--configfile", str(SMOKE)), folder


@pytest.fixture(scope="module")
def hard_config(tmp_path_factory) -> list[str]:
    path = tmp_path_factory.mktemp("config") / "hard.yaml"
    path.write_text(HARD)
    return ["--configfile", str(SMOKE), str(path)]


def summarise(checkout: Path, folder: Path, config: list[str]) -> None:
    """Run on this machine what lacks to the summary."""
    profile = ["--workflow-profile", str(checkout / "profiles" / "default"), "--cores", "2"]
    run = start(checkout, folder, "summary.log", f"{RESULTS}/summary.csv", *profile, *config)
    finish(run, folder / "summary.log")


@pytest.fixture(scope="module")
def undisturbed(smoke_run, checkout, hard_config, tmp_path_factory) -> Path:
    """The five runs on this machine without a cluster, where nothing goes wrong."""
    folder = tmp_path_factory.mktemp("undisturbed")
    summarise(checkout, folder, hard_config)
    return folder


def run_folder(folder: Path, seed: int) -> Path:
    return folder / RESULTS / "scratch" / "n4" / f"seed{seed}"


def slurm_logs(folder: Path, seed: int) -> str:
    logs = (folder / "results" / "slurm" / "rule_finetune" / f"scratch_4_{seed}").glob("*.log")
    return "".join(path.read_text() for path in sorted(logs))


def jobs_of(slurm: SlurmCluster, folder: Path, seed: int) -> list[dict[str, str]]:
    """Slurm's jobs that trained one run of a folder, in any state."""
    wanted = {"comment": f"rule_finetune_wildcards_scratch_4_{seed}", "folder": str(folder)}
    return [job for job in slurm.jobs() if job | wanted == job]


def training(slurm: SlurmCluster, folder: Path, seed: int) -> str | None:
    """Id of the Slurm job of a run that is in the middle of training."""
    begun = (run_folder(folder, seed) / "finetune.state").exists()
    running = [job["id"] for job in jobs_of(slurm, folder, seed) if job["state"] == "RUNNING"]
    return running[0] if begun and running else None


def trainers(job: str) -> list[psutil.Process]:
    """The processes of a Slurm job that train, without the Snakemake around them."""
    found = []
    for process in psutil.process_iter():
        try:
            script = "/scripts/" in " ".join(process.cmdline()[1:2])
            if script and process.environ().get("SLURM_JOB_ID") == job:
                found.append(process)
        except psutil.Error:  # it has ended meanwhile
            continue
    return found


@pytest.fixture(scope="module")
def broken(slurm, smoke_run, undisturbed, checkout, hard_config, tmp_path_factory) -> Path:
    """Four runs that are disturbed, then a Snakemake that is killed while the fifth trains."""
    folder = tmp_path_factory.mktemp("broken") / "run"
    shutil.copytree(undisturbed, folder)  # the data are prepared
    shutil.rmtree(folder / RESULTS / "scratch")
    (folder / RESULTS / "summary.csv").unlink()
    little = f"300 if attempt == 1 and wildcards.seed == '{HUNGRY}' else 4000"
    weights = [f"{run_folder(Path(), seed)}/finetune.pt" for seed in range(4)]
    limits = ["--set-resources", f"finetune:mem_mb={little}"]
    run = submit(checkout, folder, "first.log", *weights, *hard_config, *limits)
    caught: dict[int, str] = {}

    def all_caught() -> bool:
        for seed in {CANCELLED, HUNG, RESTARTED} - caught.keys():
            if job := training(slurm, folder, seed):
                for process in trainers(job):
                    process.suspend()
                caught[seed] = job
                if seed == CANCELLED:
                    subprocess.run(["scancel", job], check=True)
                elif seed == HUNG:  # as on a dead filesystem, until its time is over
                    end = ["scontrol", "update", f"JobId={job}", "EndTime=now+1"]
                    subprocess.run(end, check=True)
        return len(caught) == 3 or run.poll() is not None

    wait_for("the trainings", all_caught)
    assert len(caught) == 3, (folder / "first.log").read_text()
    wait_for("the limit's passing", lambda: training(slurm, folder, HUNG) != caught[HUNG])
    for process in trainers(caught[RESTARTED]):
        process.resume()
    slurm.restart("slurmd1")
    slurm.restart("slurmctld")
    finish(run, folder / "first.log")

    fifth = f"{run_folder(Path(), ORPHANED)}/finetune.pt"
    run = submit(checkout, folder, "second.log", fifth, *hard_config)
    wait_for("the fifth training", lambda: training(slurm, folder, ORPHANED) is not None)
    run.send_signal(signal.SIGKILL)
    run.wait()
    # what profiles/README.md tells the user to do
    (job,) = jobs_of(slurm, folder, ORPHANED)
    subprocess.run(["scancel", "--name", job["name"]], check=True)
    wait_for("the orphan's end", lambda: training(slurm, folder, ORPHANED) is None)
    finish(start(checkout, folder, "unlock.log", "--unlock", *hard_config), folder / "unlock.log")
    run = submit(checkout, folder, "third.log", fifth, *hard_config)
    finish(run, folder / "third.log")
    summarise(checkout, folder, hard_config)
    return folder


def test_the_smoke_config_runs_to_the_tables(smoke_run, undisturbed):
    run, folder = smoke_run  # which went on while the undisturbed run was made
    finish(run, folder / "log")
    results = folder / "results" / "smoke" / "shapes"
    for name in ("tables/main.md", "figures/label_efficiency.pdf", "summary.html"):
        assert (results / name).stat().st_size > 0, name
    assert pd.read_csv(results / "summary.csv")["cseg_version"].str.endswith(MARK).all()


def test_jobs_ask_for_what_the_rules_declare_and_no_gpu(slurm, smoke_run):
    smoke_run[0].wait(1200)
    first = next(
        job for job in slurm.jobs() if job["comment"] == "rule_pretrain_wildcards_cross_4_0"
    )
    assert (first["cpus"], first["memory"], first["limit"]) == ("1", "4000M", "1-00:00:00")
    assert {job["gres"] for job in slurm.jobs()} == {"N/A"}
    assert all(job["name"].startswith("cseg_") for job in slurm.jobs())


def test_small_rules_share_a_submission(slurm, smoke_run):
    smoke_run[0].wait(1200)
    assert any(job["comment"] == "rule_data_fetch_index" for job in slurm.jobs())


@pytest.mark.fault
@pytest.mark.parametrize("seed", [CANCELLED, HUNG, ORPHANED])
def test_a_stopped_training_goes_on_after_its_last_step(broken, seed, tried):
    stopped = re.findall(
        r"stopped by a signal after step (\d+); state saved", slurm_logs(broken, seed)
    )
    said = (run_folder(broken, seed) / "logs" / "finetune.log").read_text()
    assert len(stopped) == 1 and f"resumes after step {stopped[0]}," in said
    names = {CANCELLED: "job cancelled", HUNG: "job over its time", ORPHANED: "Snakemake killed"}
    tried("Slurm", names[seed], 1, "training went on after its last step")


@pytest.mark.parametrize(
    ("seed", "states"),
    [
        (CANCELLED, ["CANCELLED", "COMPLETED"]),
        (HUNG, ["TIMEOUT", "COMPLETED"]),
        (HUNGRY, ["FAILED", "COMPLETED"]),
        (RESTARTED, ["COMPLETED"]),  # the daemons; jobs run on
        (ORPHANED, ["CANCELLED", "COMPLETED"]),
    ],
)
def test_what_failed_was_started_again_once(slurm, broken, seed, states):
    jobs = sorted(jobs_of(slurm, broken, seed), key=lambda job: int(job["id"]))
    assert [job["state"] for job in jobs] == states


@pytest.mark.fault
def test_a_job_over_its_memory_was_given_more(slurm, broken, tried):
    jobs = sorted(jobs_of(slurm, broken, HUNGRY), key=lambda job: int(job["id"]))
    assert [job["memory"] for job in jobs] == ["300M", "4000M"]
    assert "exceeded memory limit" in slurm_logs(broken, HUNGRY)
    tried("Slurm", "job over its memory", 1, "started again with more")


def test_the_summary_trained_nothing_again(broken):
    assert ": finetune " not in (broken / "summary.log").read_text()


@pytest.mark.parametrize("seed", range(5))
def test_weights_are_those_of_an_undisturbed_run(undisturbed, broken, seed):
    first, second = (run_folder(folder, seed) / "finetune.pt" for folder in (undisturbed, broken))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.fault
def test_results_are_those_of_an_undisturbed_run(undisturbed, broken, tried):
    first, second = (timeless(folder / RESULTS / "summary.csv") for folder in (undisturbed, broken))
    assert len(first) == 5 and first.equals(second)
    assert not list(broken.rglob("*.state"))
    tried("Slurm", "slurmd and slurmctld restarted under a running job", 1, "the job ran on")
    tried(
        "Slurm",
        "the five runs of the cases above, compared",
        5,
        "the same results as an undisturbed run",
    )
