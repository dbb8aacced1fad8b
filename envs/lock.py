"""Write requirements.lock: what this environment has of cseg's needs, with the hash of each wheel.

Run by `make lock`. Versions are those installed beside this Python, which the tests ran with; pip
looks up their hashes for this platform without downloading the wheels. No address is written. The
conda environments next to this file are pinned to the same versions.
"""

import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping
from importlib.metadata import distributions
from pathlib import Path

ROOT = Path(__file__).parent.parent
PYPI_NAMES = {"matplotlib-base": "matplotlib", "seaborn-base": "seaborn"}  # conda-forge's: PyPI's
HEAD = """# Versions and hashes of everything cseg needs, all extras included.
# For {system} {machine}, Python {python}; written by `make lock`.
# pip install --require-hashes -r requirements.lock && pip install --no-deps -e .
"""


def needs() -> list[str]:
    """The requirements of pyproject.toml, extras included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    listed = [*project["dependencies"], *(need for extra in extras for need in extra)]
    return [need for need in listed if not need.startswith("cseg[")]  # extras of extras


def resolved(wanted: list[str]) -> list[dict]:
    """What pip would install for `wanted`, at the versions installed here."""
    installed = [f"{d.name}=={d.version}\n" for d in distributions() if d.name != "cseg"]
    with tempfile.TemporaryDirectory() as folder:
        constraints, report = Path(folder, "constraints.txt"), Path(folder, "report.json")
        constraints.write_text("".join(installed), encoding="utf-8")
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "-qq",
                   "--report", str(report), "-c", str(constraints), *wanted]  # fmt: skip
        # local folders of a machine's pip configuration may hold other builds of a version
        subprocess.run(command, check=True, env=os.environ | {"PIP_FIND_LINKS": ""})
        return json.loads(report.read_text(encoding="utf-8"))["install"]


def entry(found: dict) -> str:
    """One distribution as a line of the lock file."""
    name = found["metadata"]["name"].lower().replace("_", "-")
    sha256 = found["download_info"]["archive_info"]["hashes"]["sha256"]
    return f"{name}=={found['metadata']['version']} --hash=sha256:{sha256}\n"


def repinned(environment: str, versions: Mapping[str, str]) -> str:
    """The text of a conda environment with the versions of the lock, and its Python."""

    def line(found: re.Match[str]) -> str:
        name = PYPI_NAMES.get(found[2], found[2]).lower().replace("_", "-")
        return f"{found[1]}{found[2]}{found[3]}{versions[name]}"

    return re.sub(r"(- (?:conda-forge::)?)([\w-]+)(==?)[\w.]+", line, environment)


def main() -> None:
    """Write the file, and the environments' pins."""
    head = HEAD.format(
        system=platform.system(),
        machine=platform.machine(),
        python=".".join(platform.python_version_tuple()[:2]),
    )
    lines = sorted(entry(found) for found in resolved(needs()))
    (ROOT / "requirements.lock").write_text(head + "\n" + "".join(lines), encoding="utf-8")
    versions = dict(line.split()[0].split("==") for line in lines)
    versions["python"] = ".".join(platform.python_version_tuple()[:2])
    for path in (ROOT / "envs").glob("*.yaml"):
        path.write_text(repinned(path.read_text(encoding="utf-8"), versions), encoding="utf-8")


if __name__ == "__main__":
    main()
