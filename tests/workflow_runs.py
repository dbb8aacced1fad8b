"""Run the checkout's workflow in a folder of its own."""

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile

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


def dry_snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """What the command `snakemake -n` answers for the checkout's Snakefile in `folder`."""
    _, _, _, *words = command(folder, "-n", *arguments)
    return forked_snakemake(ROOT, words)


def forked_snakemake(cwd: Path, words: Sequence[str]) -> subprocess.CompletedProcess:
    """What the command answers in `cwd`, in a fork of this process: it is imported but once."""
    import snakemake.cli  # late: helpers of real runs have no use for it

    def run() -> None:
        os.chdir(cwd)
        for number, file in ((1, out), (2, error)):
            os.dup2(file.fileno(), number)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        sys.argv = ["snakemake", *words]  # the Snakefile reads it
        snakemake.cli.main()

    with TemporaryFile("w+") as out, TemporaryFile("w+") as error:
        child = multiprocessing.get_context("fork").Process(target=run)
        child.start()
        child.join()
        said = [file.seek(0) or file.read() for file in (out, error)]
    return subprocess.CompletedProcess(words, child.exitcode, *said)


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
