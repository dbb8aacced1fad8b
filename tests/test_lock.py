"""requirements.lock and the catalog file: what those who install the workflow rely on."""

import re
import subprocess
import sys
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from small_runs import ROOT

LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
ENTRY = re.compile(r"([a-z0-9.-]+)==(\S+) --hash=sha256:[0-9a-f]{64}")
LOCKED = {
    canonicalize_name(found[1]): found[2]
    for line in LOCK.splitlines()
    if (found := ENTRY.fullmatch(line))
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NEEDS = [
    *PROJECT["dependencies"],
    *(
        need
        for extra in PROJECT["optional-dependencies"].values()
        for need in extra
        if not need.startswith("cseg[")
    ),
]


def test_every_line_pins_a_version_and_its_hash():
    lines = [line for line in LOCK.splitlines() if line and not line.startswith("#")]
    assert len(lines) == len(LOCKED) > 100


def test_the_lock_names_no_address_and_no_path():
    assert not re.search(r"://|^-|index|\s@\s|/", "\n".join(LOCK.splitlines()[3:]), re.MULTILINE)


@pytest.mark.parametrize("need", NEEDS, ids=lambda need: Requirement(need).name)
def test_every_direct_need_is_locked_at_a_version_that_pyproject_allows(need):
    wanted = Requirement(need)
    version = LOCKED[canonicalize_name(wanted.name)]
    assert wanted.specifier.contains(version), f"{version}: run `make lock`"


def test_the_metadata_name_each_python_from_the_least_on_and_the_lock_is_for_one_of_them():
    named = re.findall(r"Python :: 3\.(\d+)", "\n".join(PROJECT["classifiers"]))
    least = int(PROJECT["requires-python"].removeprefix(">=3."))
    assert list(map(int, named)) == list(range(least, 15))
    assert re.search(r"Python 3\.(\d+)", LOCK)[1] in named


def test_pip_reads_the_whole_lock():
    """With no index to ask, pip parses every line and then fails to find the first file."""
    command = [sys.executable, "-m", "pip", "--isolated", "install", "--dry-run", "--no-deps",
               "--ignore-installed", "--require-hashes", "--no-index", "-r"]  # fmt: skip
    asked = subprocess.run([*command, ROOT / "requirements.lock"], capture_output=True, text=True)
    assert f"No matching distribution found for {next(iter(LOCKED))}==" in asked.stderr


def test_the_catalog_file_says_what_the_workflow_supports():
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert set(usage) == {"mandatory-flags", "software-stack-deployment"}
    assert usage["mandatory-flags"]["flags"] == "" and usage["mandatory-flags"]["desc"]
    rules = "".join(path.read_text() for path in (ROOT / "workflow" / "rules").glob("*.smk"))
    assert usage["software-stack-deployment"] == {
        "conda": "conda:" in rules,
        "apptainer": "container:" in rules,
        "apptainer+conda": "container:" in rules,
        "report": "report(" in rules,
    }
