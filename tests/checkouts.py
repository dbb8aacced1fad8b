"""A copy of the checkout that says so in every result row, for runs through other machinery."""

import shutil
from pathlib import Path

import pandas as pd
from small_runs import ROOT

PARTS = ["Snakefile", "config.yaml", "cseg", "workflow", "envs", "profiles"]
MARK = "+copy"


def marked_checkout(folder: Path) -> Path:
    """Copy the workflow and the library to `folder`; its version ends with MARK.

    A row of results with that version was written by a job that imported the library of the
    checkout it was started from, and not the one installed beside Snakemake.
    """
    folder.mkdir()
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, folder / part, ignore=ignore)
        else:
            shutil.copy2(source, folder / part)
    with (folder / "cseg" / "__init__.py").open("a") as stream:
        stream.write(f'__version__ += "{MARK}"\n')
    return folder


def timeless(summary: Path) -> pd.DataFrame:
    """The rows of a summary.csv without what differs between two equal runs."""
    rows = pd.read_csv(summary, dtype=str)
    return rows.drop(columns=[name for name in rows.columns if name.endswith("_seconds")])
