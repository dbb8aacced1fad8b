"""One training on two nodes of a real Slurm: both on this machine, with a daemon each."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from slurm_cluster import cluster, missing
from small_runs import ROOT, SMOKE

from cseg.errors import ConfigError
from cseg.jobs.launch import launch

RUN = Path("results/smoke/shapes/cross/n4/seed0")
STAGES = ("pretrain", "finetune")


def snakemake(folder: Path, profile: str, resources: list[str], *more: str) -> None:
    folder.mkdir()
    command = [sys.executable, "-m", "snakemake", str(RUN / "finetune.pt"), "-s",
               str(ROOT / "Snakefile"), "--configfile", str(SMOKE), "--workflow-profile",
               str(ROOT / "profiles" / profile), *more, "--set-resources", *resources]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=1200
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.skipif(missing() is not None, reason=str(missing()))
def test_a_training_on_two_nodes_has_the_bytes_of_two_processes_on_one(tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    snakemake(here, "default", [f"{stage}:gpu=2" for stage in STAGES], "--cores", "2")
    (tmp_path / "cluster").mkdir()
    with cluster(tmp_path / "cluster", nodes=2):
        wide = [f"{stage}:{what}=2" for stage in STAGES for what in ("nodes", "tasks")]
        snakemake(there, "slurm", wide, "--slurm-init-seconds-before-status-checks", "2")
    for stage in STAGES:
        said = (there / RUN / "logs" / f"{stage}.log").read_text()
        assert "of 2 on node1" in said and "of 2 on node2" in said
        for name in (f"{stage}.pt", f"{stage}.csv"):
            assert (here / RUN / name).read_bytes() == (there / RUN / name).read_bytes(), name


def test_nodes_outside_a_slurm_job_and_uneven_shares_are_told(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="gpu is 3 and nodes is 2; choose a gpu that nodes"):
        launch(str(tmp_path / "log"), print, processes=3, nodes=2)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="srun is not found; run as a Slurm job"):
        launch(str(tmp_path / "log"), print, processes=2, nodes=2)
