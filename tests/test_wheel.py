"""cseg installed from its wheel, far from the checkout: everything, and the light installation.

The packages it needs are not downloaded: the new environments see those installed next to the
tests, all of them or only what the wheel's own requirements reach.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image
from small_runs import ROOT

from cseg.storage.provenance import source_fingerprint

pytestmark = pytest.mark.slow
HEAVY = ["snakemake", "pandas", "matplotlib", "seaborn", "jsonschema", "sklearn", "scipy"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy of what git knows, which is gone before the wheel is used."""
    folder = tmp_path_factory.mktemp("wheel")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).exists():
            target = folder / "checkout" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation",
               "--wheel-dir", str(folder), str(folder / "checkout")]  # fmt: skip
    subprocess.run(command, check=True)
    shutil.rmtree(folder / "checkout")
    return next(folder.glob("*.whl"))


def environment(folder: Path, wheel: Path, packages: Path) -> Path:
    """A virtual environment with the wheel, that sees the packages in a folder; its bin."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    site = folder / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
    (site / "others.pth").write_text(f"{packages}\n")
    command = [sys.executable, "-m", "pip", f"--python={folder / 'bin' / 'python'}", "install",
               "-q", "--no-deps", str(wheel)]  # fmt: skip
    subprocess.run(command, check=True)
    return folder / "bin"


def requirements(name: str, extras: tuple[str, ...] = ()) -> set[str]:
    """The packages that one reaches by its requirements, itself included."""
    reached: set[str] = set()
    waiting = [(name, extras)]
    while waiting:
        name, wanted = waiting.pop()
        if canonicalize_name(name) in reached and not wanted:
            continue
        try:
            listed = distribution(name).requires or []
        except PackageNotFoundError:  # for another platform
            continue
        reached.add(canonicalize_name(name))
        for text in listed:
            need = Requirement(text)
            marker = need.marker
            if marker is None or any(marker.evaluate({"extra": e}) for e in ("", *wanted)):
                waiting.append((need.name, tuple(need.extras)))
    return reached


def light_site(folder: Path, wheel: Path) -> Path:
    """Links to the packages that the wheel requires without an extra, and no others."""
    unpacked = subprocess.run(["unzip", "-p", str(wheel), "*/METADATA"], capture_output=True)
    needs = [
        Requirement(line.partition(":")[2].strip())
        for line in unpacked.stdout.decode().split("\n\n")[0].splitlines()
        if line.startswith("Requires-Dist:")
    ]
    names = set().union(*(requirements(need.name) for need in needs if need.marker is None))
    folder.mkdir()
    for name in names:
        found = distribution(name)
        tops = {file.parts[0] for file in found.files if file.parts[0] not in ("..", "__pycache__")}
        for top in tops:
            if not (folder / top).exists():
                (folder / top).symlink_to(Path(str(found.locate_file(top))))
    return folder


def cseg(programs: Path, folder: Path, *words: str) -> subprocess.CompletedProcess:
    """Run the console command in `folder`, which nothing of the checkout is near."""
    bare = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [programs / "cseg", *words], cwd=folder, capture_output=True, text=True,
        env=bare | {"OMP_NUM_THREADS": "1"}, timeout=600,
    )  # fmt: skip


@pytest.fixture(scope="module")
def full(tmp_path_factory, wheel) -> tuple[Path, Path]:
    """An environment with everything, and a folder in which it has run the smoke config."""
    folder = tmp_path_factory.mktemp("full")
    programs = environment(folder / "environment", wheel, Path(sysconfig.get_path("purelib")))
    (folder / "work").mkdir()
    done = cseg(
        programs, folder / "work", "run", "--cores", "2", "--configfile", "smoke.yaml"
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return programs, folder / "work"


def results(work: Path) -> Path:
    return next((work / "results" / "smoke").iterdir())


def test_the_workflow_runs_to_its_page_far_from_a_checkout(full):
    programs, work = full
    assert (results(work) / "summary.html").stat().st_size > 1000
    text = (results(work) / "summary.csv").read_text()
    assert source_fingerprint() in text  # the same library, whichever way it came
    again = cseg(programs, work, "run", "--configfile", "smoke.yaml")
    assert "Nothing to be done" in again.stderr


def test_every_command_works(full, tmp_path):
    programs, work = full
    checkpoint = str(next(results(work).rglob("finetune.pt")))
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(tmp_path / "image.png")
    predict = ["predict", str(tmp_path / "image.png"), "--out", str(tmp_path / "out")]
    for words in (
        ["--version"],
        ["info", checkpoint],
        [*predict, "--checkpoint", checkpoint],
        ["export", checkpoint, "--out", str(tmp_path / "model.onnx")],
        ["plan", "--devices", "2", "--teraflops", "1"],
        ["paper", str(results(work)), "--collect"],
    ):
        done = cseg(programs, work, *words)
        assert done.returncode == 0, f"{words}: {done.stderr}"
    named = set(re.findall(r"^    (\w+) ", cseg(programs, work, "--help").stdout, re.MULTILINE))
    assert named <= {"info", "predict", "export", "plan", "paper", "run", "status", "init"}
    assert (tmp_path / "out" / "image_mask.png").exists()


def test_the_light_installation_has_loss_network_and_prediction(full, wheel, tmp_path):
    site = light_site(tmp_path / "site", wheel)
    programs = environment(tmp_path / "environment", wheel, site)
    checkpoint = str(next(results(full[1]).rglob("finetune.pt")))
    check = f"""
import importlib.util, json, sys, numpy, torch
from cseg.inference.load import load_segmenter
from cseg.losses import PixelContrastLoss
loss = PixelContrastLoss(grid=(4, 4), scope="cross", temperature=0.07)
value = loss(torch.rand(2, 8, 6, 6), torch.ones(2, 6, 6).long(), torch.rand(2, 8, 6, 6))
mask = load_segmenter({checkpoint!r}).predict(numpy.zeros((20, 30, 3), numpy.uint8))
there = [name for name in {HEAVY!r} if importlib.util.find_spec(name)]
print(json.dumps([float(value) > 0, list(getattr(mask, "mask", mask).shape), there]))
"""
    python = [programs / "python", "-c", check]
    done = subprocess.run(python, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [True, [20, 30], []]
    for words in (["run", "-n"], ["paper", "."], ["plan", "--teraflops", "1"]):
        said = cseg(programs, tmp_path, *words)
        assert said.returncode == 1 and said.stderr.count("\n") == 1, said.stderr
        assert "is not installed; run pip install '" in said.stderr
