"""A dry run needs nothing but Snakemake and what Snakemake itself requires."""

import os
import subprocess
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from small_runs import ROOT

CONFIGS = ["folder", "camvid", "voc2012"]


def required(name: str, found: dict[str, Distribution]) -> None:
    """Add a distribution and all that it requires, without extras, to `found`."""
    try:
        found[name] = distribution(name)
    except PackageNotFoundError:  # not required on this platform
        return
    for requirement in map(Requirement, found[name].requires or ()):
        needed = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if needed and requirement.name not in found:
            required(requirement.name, found)


@pytest.fixture(scope="module")
def snakemake_alone(tmp_path_factory) -> Path:
    """A folder of packages that holds Snakemake and what it requires."""
    folder = tmp_path_factory.mktemp("packages")
    found: dict[str, Distribution] = {}
    required("snakemake", found)
    for installed in found.values():
        for top in {file.parts[0] for file in installed.files or ()} - {"..", "__pycache__"}:
            if not (folder / top).exists():
                (folder / top).symlink_to(str(installed.locate_file(top)))
    assert not [name for name in ("numpy", "PIL", "pandas", "torch") if (folder / name).exists()]
    return folder


@pytest.mark.parametrize("config", [None, *CONFIGS])
def test_a_dry_run_needs_nothing_but_snakemake(tmp_path, snakemake_alone, config):
    overlay = [] if config is None else [str(ROOT / "workflow" / "configs" / f"{config}.yaml")]
    done = subprocess.run(
        # -S: without the packages that are installed
        [sys.executable, "-S", "-m", "snakemake", "-s", str(ROOT / "Snakefile"), "-n", "--quiet",
         "rules", *(["--configfile", *overlay] if overlay else [])],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(snakemake_alone)}, capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "finetune" in done.stdout
