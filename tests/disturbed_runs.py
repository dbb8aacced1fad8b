"""Runs of the smoke config that are disturbed, and what must hold of them afterwards."""

import shutil
import subprocess
from pathlib import Path

import pandas as pd
from kills import leftovers
from messages import fault_of
from small_runs import SMOKE
from workflow_runs import snakemake

RESULTS = Path("results/smoke/shapes")
RUN = RESULTS / "cross/n4/seed0"
DATA = Path("data/shapes-painter1-32px-seed0")
SAME_BYTES = (
    "pretrain.pt", "finetune.pt", "per_class.csv", "per_image.csv", "confusion.csv",
    "predictions.zip", "pretrain.csv", "finetune.csv", "index.csv", "main.csv",
)  # fmt: skip


def again(folder: Path, *arguments: str, also: str = "") -> subprocess.CompletedProcess:
    """Run the smoke config in a folder; `also` is a file to make where nothing needs it."""
    targets = ["smoke", also] if also else ["smoke"]
    return snakemake(folder, *targets, "--configfile", str(SMOKE), *arguments)


def copied(undisturbed: Path, folder: Path) -> Path:
    """A copy of a finished run, with Snakemake's own records and the times of its files."""
    return Path(shutil.copytree(undisturbed, folder / "copy"))


def sentences(done: subprocess.CompletedProcess) -> list[str]:
    """What a run that stopped says to the user, once each; checked for its form."""
    assert done.returncode != 0 and "Traceback" not in done.stdout + done.stderr, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    said = list(dict.fromkeys(line.removeprefix("error: ") for line in lines))
    assert [fault_of(sentence) for sentence in said] == [None] * len(said), said
    return said


def assert_same_results(folder: Path, other: Path) -> None:
    """Weights, predictions and rows are those of another run, but for the time they took."""
    for name in SAME_BYTES:
        files = sorted(path.relative_to(other) for path in (other / RESULTS).rglob(name))
        assert files, name
        for path in files:
            assert (folder / path).read_bytes() == (other / path).read_bytes(), path
    first, second = (pd.read_csv(place / RESULTS / "summary.csv", dtype=str)
                     for place in (folder, other))  # fmt: skip
    timed = {name for name in first.columns if name.endswith("_seconds")}
    assert {name for name in first.columns if not first[name].equals(second[name])} <= timed
    assert leftovers(folder / RESULTS) == []
