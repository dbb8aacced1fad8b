"""The workflow with --use-conda, through Snakemake's own conda path; the conda is a stand-in.

tests/stand_in_conda.py says what is real (commands, solving, installing, activation, the
environment's own Python) and what is not (the channel, the pip section).
"""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from checkouts import MARK, marked_checkout
from small_runs import ROOT, SMOKE
from stand_in_conda import make_installation

pytestmark = pytest.mark.slow
PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"
# Python runs usercustomize.py of the user's own packages, if it looks there at all; Snakemake's
# own process may.
SPY = """
import sys
from pathlib import Path
if ".snakemake/conda" in sys.prefix:
    Path(__file__).with_name("imported").touch()
"""
WISHES = [  # what real ones reject: text, its replacement, a word of the complaint
    (f"python={PYTHON}", "python=3.7", "python"),
    ("numpy=", "numpy=99.", "numpy"),
    ("torch==", "torch==99.", "torch"),
    ("[conda-forge]", "[conda-forge, nodefaults]", "channel nodefaults"),
]


def snakemake(folder: Path, path: str, *arguments: str) -> subprocess.CompletedProcess:
    """Run the copy of the checkout in `folder`, with --use-conda and the given PATH."""
    command = [sys.executable, "-m", "snakemake", "-s", str(folder / "checkout" / "Snakefile"),
               "--cores", "2", "--use-conda", "--configfile", str(SMOKE), *arguments]  # fmt: skip
    environment = os.environ | {"PATH": path, "OMP_NUM_THREADS": "1"}
    environment |= {"PYTHONUSERBASE": str(folder / "user")}  # as ~/.local
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A whole run of the smoke config in environments."""
    folder = tmp_path_factory.mktemp("conda")
    marked_checkout(folder / "checkout")
    (folder / "stand_in").mkdir()
    home = folder / "user" / "lib" / f"python{PYTHON}" / "site-packages"
    home.mkdir(parents=True)
    (home / "usercustomize.py").write_text(SPY)
    programs = make_installation(folder / "stand_in")
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    done = snakemake(folder, path)
    assert done.returncode == 0, done.stderr
    return folder, path, done


def started(folder: Path) -> dict[str, list[str]]:
    """Scripts that each environment's own Python has run, by the environment's name."""
    found = {}
    for file in (folder / ".snakemake" / "conda").glob("*.yaml"):
        starts = (file.with_suffix("") / "started").read_text().split()
        names = {Path(word).name.split(".", 1)[-1] for word in starts if "/scripts/tmp" in word}
        found[yaml.safe_load(file.read_text())["name"]] = sorted(names)
    return found


def test_every_script_is_run_by_the_python_of_its_environment(run):
    assert started(run[0]) == {
        "cseg-data": ["fetch.py", "index.py", "subset.py"],
        "cseg-train": ["evaluate.py", "features.py", "finetune.py", "pretrain.py", "start.py"],
        "cseg-paper": ["best.py", "figures.py", "manifest.py", "summary.py", "tables.py"],
    }


def test_packages_of_the_users_home_stay_outside(run):
    """~/.local/lib may hold another numpy; Snakemake's jobs are told to leave it alone."""
    folder, _, _ = run
    assert not list((folder / "user").rglob("imported"))


def test_jobs_import_the_library_of_the_checkout(run):
    results = run[0] / "results" / "smoke" / "shapes"
    assert pd.read_csv(results / "summary.csv")["cseg_version"].str.endswith(MARK).all()
    assert (results / "tables" / "main.md").stat().st_size > 0


def test_environments_are_kept(run):
    folder, path, _ = run
    again = snakemake(folder, path)
    assert again.returncode == 0 and "Creating conda environment" not in again.stderr
    assert "Nothing to be done" in again.stderr


def test_the_solver_is_real(run):
    folder, path, _ = run
    for old, new, said in WISHES:
        text = (ROOT / "envs" / "train.yaml").read_text()
        assert old in text
        (folder / "wish.yaml").write_text(text.replace(old, new, 1))
        done = subprocess.run(
            ["conda", "env", "create", "--file", "wish.yaml", "--prefix", str(folder / "wish")],
            cwd=folder, env=os.environ | {"PATH": path}, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode != 0 and said in done.stderr, new
        assert not (folder / "wish").exists()


def test_without_conda_the_failure_says_what_is_missing(run, tmp_path):
    folder, _, _ = run
    bare = os.pathsep.join(
        entry
        for entry in os.environ["PATH"].split(os.pathsep)
        if not (Path(entry) / "conda").exists()
    )
    done = snakemake(folder, bare, "--forceall")
    assert done.returncode != 0 and "Is conda installed" in done.stderr
