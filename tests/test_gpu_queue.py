"""Snakemake's queue on a machine with GPUs, which are made up here; jobs compute on the CPU."""

import json
import os
import re
import subprocess
import sys

import pytest
from made_gpus import card
from small_runs import ROOT, SMOKE
from workflow_runs import ENVIRONMENT, command, snakemake

NETWORKS = {"pretrain", "finetune", "evaluate", "features"}


# Runs Snakemake once for each line of arguments, and says of each job what the console leaves out.
TOLD = """
import json, sys
from snakemake.cli import main
from snakemake.jobs import Job

def told(job, **_):
    asked = {"threads": job.threads, "gpu": job.resources.get("gpu", 0)}
    print("JOB", job.rule.name, json.dumps(asked), flush=True)

Job.log_info = told
for arguments in json.loads(sys.argv[1]):
    print("RUN", flush=True)
    try:
        main(arguments)
    except SystemExit as end:
        assert end.code in (0, None), end
"""


def planned(folder, *runs: list[str]) -> list[dict[str, dict[str, int]]]:
    """What a dry run with these words plans for each rule: its threads and its GPUs."""
    arguments = [command(folder, "-n", "--configfile", str(SMOKE), *run)[3:] for run in runs]
    done = subprocess.run(
        [sys.executable, "-c", TOLD, json.dumps(arguments)],
        capture_output=True, text=True, timeout=600, env=os.environ | ENVIRONMENT, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = []
    for part in done.stdout.split("RUN\n")[1:]:
        lines = [line.split(" ", 2) for line in part.splitlines() if line.startswith("JOB ")]
        found.append({rule: json.loads(job) for _, rule, job in lines})
        assert found[-1].keys() >= NETWORKS
    assert len(found) == len(runs)
    return found


def test_without_a_gpu_jobs_ask_for_none(gpus, tmp_path):
    gpus()
    (jobs,) = planned(tmp_path, [])
    assert all(job == {"threads": 1, "gpu": 0} for name, job in jobs.items() if name in NETWORKS)


def test_each_job_of_a_network_takes_a_gpu_and_its_share_of_the_cores(gpus, tmp_path):
    gpus(card(0), card(1))
    nine = ["--cores", "9"]
    jobs, shared, on_cpu = planned(
        tmp_path, nine, [*nine, "--config", "jobs_per_gpu=2"], [*nine, "--config", "device=cpu"]
    )
    for name, job in jobs.items():
        assert job["gpu"] == (1 if name in NETWORKS else 0), name
        if name in NETWORKS:
            assert job["threads"] == 4
    assert shared["finetune"] == {"threads": 2, "gpu": 1}
    assert on_cpu["finetune"] == {"threads": 1, "gpu": 0}


@pytest.mark.slow
def test_two_gpus_serve_the_whole_experiment_and_more_jobs_wait_in_the_queue(gpus, tmp_path):
    """Eight cores would start eight jobs at once; none of them waits in memory for its GPU."""
    gpus(card(0), card(1))
    done = snakemake(tmp_path, "smoke", "--configfile", str(SMOKE), "--cores", "8", timeout=1200)
    assert done.returncode == 0, done.stderr
    logs = [path.read_text() for path in tmp_path.rglob("logs/*.log") if path.stem in NETWORKS]
    assert logs and all(re.search(r"^GPU GPU-(00|11)$", text, re.MULTILINE) for text in logs)
    assert {"GPU-00", "GPU-11"} == set(re.findall(r"^GPU (\S+)$", "\n".join(logs), re.MULTILINE))
    assert not any("waits for a free GPU" in text for text in logs)
