"""Every config gives a plan, with nothing but Snakemake and what Snakemake itself requires."""

import json
import os
import subprocess
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from small_runs import ROOT

CONFIGS = [ROOT / "config.yaml", *sorted((ROOT / "workflow" / "configs").glob("*.yaml"))]


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
    # a config of Cityscapes asks whether its package is there
    for installed in [*found.values(), distribution("cityscapesscripts")]:
        for top in {file.parts[0] for file in installed.files or ()} - {"..", "__pycache__"}:
            if not (folder / top).exists():
                (folder / top).symlink_to(str(installed.locate_file(top)))
    assert not [name for name in ("numpy", "PIL", "pandas", "torch") if (folder / name).exists()]
    return folder


def test_every_config_gives_a_plan_and_a_plan_needs_nothing_but_snakemake(
    tmp_path, snakemake_alone
):
    """Dry runs in one process: `snakemake -n --configfile CONFIG` of each."""
    # -S: without the packages that are installed
    command = [sys.executable, "-S", str(ROOT / "tests" / "dry_runs.py"), str(tmp_path)]
    asked = "".join(f"{path}\n" for path in CONFIGS)
    done = subprocess.run(
        command, input=asked, env=os.environ | {"PYTHONPATH": str(snakemake_alone)},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert dict(zip(CONFIGS, answers, strict=True)) == dict.fromkeys(CONFIGS)
