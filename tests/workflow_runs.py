"""Run the checkout's workflow in a folder of its own."""

import os
import subprocess
import sys
from pathlib import Path

from small_runs import ROOT


def snakemake(folder: Path, *arguments: str, timeout: int = 300) -> subprocess.CompletedProcess:
    """Run the checkout's Snakefile in `folder`."""
    command = [sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile"), "--directory",
               str(folder), "--cores", "2", *arguments]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=timeout, env=environment, cwd=ROOT
    )


def overlay(folder: Path, text: str) -> str:
    """Write `text` as a config overlay; returns its path."""
    path = folder / "overlay.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)
