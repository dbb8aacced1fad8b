"""Run the checkout's workflow in a folder of its own."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from small_runs import ROOT

ENVIRONMENT = {"OMP_NUM_THREADS": "1"}


def command(folder: Path, *arguments: str) -> list[str]:
    """What runs the checkout's Snakefile in `folder`."""
    return [sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile"), "--directory",
            str(folder), "--cores", "2", *arguments]  # fmt: skip


def snakemake(folder: Path, *arguments: str, timeout: int = 1200) -> subprocess.CompletedProcess:
    """Run the checkout's Snakefile in `folder`."""
    return subprocess.run(
        command(folder, *arguments),
        capture_output=True, text=True, timeout=timeout, env=os.environ | ENVIRONMENT, cwd=ROOT,
    )  # fmt: skip


def begin_snakemake(
    folder: Path, *arguments: str, environment: Mapping[str, str] | None = None
) -> subprocess.Popen:
    """Begin to run the checkout's Snakefile in `folder`; what it says goes to the file `said`."""
    with (folder / "said").open("a") as said:
        return subprocess.Popen(
            command(folder, *arguments),
            stdout=said, stderr=said, env=os.environ | ENVIRONMENT | (environment or {}), cwd=ROOT,
        )  # fmt: skip


def overlay(folder: Path, text: str) -> str:
    """Write `text` as a config overlay; returns its path."""
    path = folder / "overlay.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)
