"""Snakemake's queue on a machine with GPUs, which are made up here; jobs compute on the CPU."""

import os
import re

import pytest
from made_gpus import card, made_gpus
from small_runs import SMOKE
from workflow_runs import snakemake

NETWORKS = {"pretrain", "finetune", "evaluate", "features"}


@pytest.fixture
def gpus(tmp_path, monkeypatch):
    """Puts GPUs of these lines in front of the test and of what it starts."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    path = os.environ["PATH"]

    def put(*lines: str) -> None:
        programs = made_gpus(tmp_path, *lines)
        monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{path}")

    return put


def planned(folder, *words: str) -> dict[str, dict[str, int]]:
    """What a dry run says of each rule: its threads and its GPUs."""
    done = snakemake(folder, "-n", "--configfile", str(SMOKE), *words)
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, int]] = {}
    for block in re.split(r"^(?:local)?rule ", done.stdout, flags=re.MULTILINE)[1:]:
        threads = re.search(r"threads: (\d+)", block)
        gpu = re.search(r"resources: .*\bgpu=(\d+)", block)
        found[block.split(":")[0]] = {
            "threads": int(threads[1]) if threads else 1, "gpu": int(gpu[1]) if gpu else 0,
        }  # fmt: skip
    return found


def test_without_a_gpu_jobs_ask_for_none(gpus, tmp_path):
    gpus()
    assert all(job == {"threads": 1, "gpu": 0} for name, job in planned(tmp_path).items()
               if name in NETWORKS)  # fmt: skip


def test_each_job_of_a_network_takes_a_gpu_and_its_share_of_the_cores(gpus, tmp_path):
    gpus(card(0), card(1))
    jobs = planned(tmp_path, "--cores", "9")
    assert jobs.keys() >= NETWORKS
    for name, job in jobs.items():
        assert job["gpu"] == (1 if name in NETWORKS else 0), name
        if name in NETWORKS:
            assert job["threads"] == 4
    shared = planned(tmp_path, "--cores", "9", "--config", "jobs_per_gpu=2")
    assert shared["finetune"] == {"threads": 2, "gpu": 1}
    on_cpu = planned(tmp_path, "--cores", "9", "--config", "device=cpu")
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
