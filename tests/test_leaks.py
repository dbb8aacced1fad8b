"""A run after fetch needs no network, and leaves no secret of its environment in any file."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from disturbed_runs import DATA, RESULTS, RUN, assert_same_results
from messages import fault_of
from namespaces import need_namespaces, python, unshared
from small_runs import ROOT, SMOKE

pytestmark = pytest.mark.fault

SNAKEMAKE = ["-m", "snakemake", "-s", ROOT / "Snakefile", "--cores", "2"]
MARKER = "correct-horse-battery-staple"
SECRETS = ["WANDB_API_KEY", "CITYSCAPES_USERNAME", "CITYSCAPES_PASSWORD", "AWS_SECRET_ACCESS_KEY",
           "HF_TOKEN", "GITHUB_TOKEN", "SSH_AUTH_SOCK", "SNAKEMAKE_STORAGE_PASSWORD"]  # fmt: skip
NO_NETWORK = "import socket; socket.create_connection(('192.0.2.1', 80), 2)"


@pytest.mark.long
def test_the_whole_workflow_and_every_command_run_without_a_network(undisturbed, tmp_path, tried):
    need_namespaces("n")
    weights = tmp_path / RUN / "finetune.pt"
    config = ["--directory", tmp_path, "smoke", "--configfile", SMOKE]
    lines = [
        python(*SNAKEMAKE, *config),
        python(*SNAKEMAKE, *config, "--report", tmp_path / "report.html"),
        python("-m", "cseg", "info", weights),
        python("-m", "cseg", "predict", tmp_path / DATA / "val" / "images", "--checkpoint", weights,
               "--out", tmp_path / "masks"),
        python("-m", "cseg", "paper", tmp_path / "results"),
        python("-m", "cseg", "plan", "--configfile", SMOKE),
        python("-m", "cseg", "export", weights, "--out", tmp_path / "model.onnx"),
    ]  # fmt: skip
    asked = unshared("n", python("-c", NO_NETWORK))
    assert asked.returncode != 0 and "Network is unreachable" in asked.stderr
    for line in lines:
        done = unshared("n", line, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"})
        assert done.returncode == 0, done.stderr
    assert_same_results(tmp_path, undisturbed)
    tried("Network", "workflow, report and commands in a namespace without a network", len(lines),
          "all done, the same results as an undisturbed run")  # fmt: skip


@pytest.mark.slow
def test_weights_that_must_be_downloaded_say_so_without_a_network(tmp_path, tried):
    need_namespaces("n")
    code = ("from cseg.errors import CsegError\nfrom cseg.model.weights import start_encoder\n"
            "try: start_encoder('resnet18', 16, None, 'imagenet')\n"
            "except CsegError as error: print(error)")  # fmt: skip
    environment = os.environ | {"HF_HOME": str(tmp_path)}
    done = unshared("n", python("-c", code), cwd=ROOT, env=environment)
    *_, last = done.stdout.splitlines()  # the hub's client says first what it tries
    assert "could not be downloaded" in last and fault_of(last) is None
    tried(
        "Network", "ImageNet weights asked for without a network", 1, "one sentence with the remedy"
    )


def files_with(marker: bytes, folder: Path) -> tuple[list[str], int]:
    """Files below a folder that hold a text, and how many were searched; archives are opened."""
    found, searched = [], 0
    for path in (path for path in folder.rglob("*") if path.is_file()):
        contents = [path.read_bytes()]
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                contents += [archive.read(name) for name in archive.namelist()]
        searched += len(contents)
        found += [str(path)] if any(marker in content for content in contents) else []
    return found, searched


@pytest.mark.slow
def test_no_file_of_a_run_holds_a_secret_of_its_environment(tmp_path, tried):
    environment = os.environ | {name: f"{MARKER}-{name}" for name in SECRETS}
    command = [sys.executable, *map(str, SNAKEMAKE), "--directory", str(tmp_path), "smoke",
               "--configfile", str(SMOKE)]  # fmt: skip
    for more in ([], ["--report", str(tmp_path / "report.html")]):
        done = subprocess.run([*command, *more], cwd=ROOT, env=environment, capture_output=True,
                              text=True)  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert MARKER not in done.stdout + done.stderr
    assert (tmp_path / RESULTS / "summary.html").exists() and (tmp_path / ".snakemake").is_dir()
    found, searched = files_with(MARKER.encode(), tmp_path)
    assert not found and searched > 100
    (tmp_path / "planted").write_text(MARKER)
    assert files_with(MARKER.encode(), tmp_path)[0] == [str(tmp_path / "planted")]
    tried("Secrets", f"files of a run and its report, searched for {len(SECRETS)} secrets of the "
          "environment", searched, "in none")  # fmt: skip
