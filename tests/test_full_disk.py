"""A disk that fills up: one sentence, nothing half-written, and the state before stays.

The disk is a small tmpfs of its own, which results and data lie on.
"""

import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest
from kills import leftovers, results
from small_runs import ROOT, SMOKE
from workflow_runs import begin_snakemake, overlay, snakemake

from cseg.model import checkpoint

pytestmark = [pytest.mark.long, pytest.mark.fault]

MIB = 24
CONFIG = """
run_arms: [cross, cross_pseudo]
prepared_cache: true
data_dir: {disk}/data
results_dir: {disk}/results
pretrain: {{steps: 60, checkpoint_minutes: 0.0002}}
finetune: {{steps: 60, checkpoint_minutes: 0.0002}}
"""
TARGETS = ("all", "audit")  # every rule
RUN = "results/shapes/cross/n4/seed0"


class Disk:
    """A filesystem of a few MiB, and the experiment on it.

    Attributes:
        root: where it is mounted.
        whole: what an undisturbed run wrote, by path.
        rules: the rules in the order in which they ran, and the files each of them wrote.
    """

    def __init__(self, root: Path, work: Path) -> None:
        self.root, self.work, self.ballast = root, work, root / "ballast"
        self.whole: dict[str, bytes] = {}
        self.rules: dict[str, list[str]] = {}

    def arguments(self, *targets: str) -> list[str]:
        config = overlay(self.work, CONFIG.format(disk=self.root))
        return [*targets, "--configfile", str(SMOKE), config]

    def run(self, *targets: str) -> subprocess.CompletedProcess:
        return snakemake(self.work, *self.arguments(*targets))

    def fill(self) -> None:
        """Write until not one byte more fits on the disk."""
        with self.ballast.open("ab", buffering=0) as stream:
            for size in (1 << 16, 1):
                try:
                    while True:
                        stream.write(bytes(size))
                except OSError:
                    continue

    def free(self) -> None:
        self.ballast.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    root, work = (tmp_path_factory.mktemp(name) for name in ("disk", "work"))
    mount = ["mount", "-t", "tmpfs", "-o", f"size={MIB}m", "cseg-test", str(root)]
    try:
        subprocess.run(mount, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a small disk cannot be mounted here: {getattr(error, 'stderr', error)}")
    small = Disk(root, work)
    try:
        done = small.run(*TARGETS)
        assert done.returncode == 0, done.stderr
        small.whole = results(root / "results")
        small.rules = written_by_rule(small)
        yield small
    finally:
        subprocess.run(["umount", str(root)], check=True)


def written_by_rule(disk: Disk) -> dict[str, list[str]]:
    """From `snakemake --summary`: the files of each rule, in the order in which the rules ran."""
    files, times = defaultdict(list), {}
    told = snakemake(disk.work, *disk.arguments(*TARGETS), "--summary")
    for line in told.stdout.splitlines()[1:]:
        name, _, rule, *_ = line.split("\t")
        files[rule].append(name)
        times[rule] = max(times.get(rule, 0.0), Path(name).stat().st_mtime)
    return {rule: files[rule] for rule in sorted(files, key=times.__getitem__)}


def remove(paths: list[str]) -> None:
    for path in map(Path, paths):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def test_every_rule_on_a_full_disk_ends_with_a_sentence_and_writes_nothing(disk, tried):
    scripts = (ROOT / "workflow" / "scripts").glob("*.py")
    assert set(disk.rules) == {path.stem for path in scripts}
    for rule, files in reversed(disk.rules.items()):
        remove(files)
        for logs in (disk.root / "results").rglob("logs"):
            shutil.rmtree(logs)
        disk.fill()
        done = disk.run(*files)
        assert done.returncode != 0, rule
        told = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert told and all("free space" in line for line in told), (rule, done.stderr)
        assert any(str(disk.root) in line for line in told), (rule, told)
        assert "Traceback" not in done.stderr, (rule, done.stderr)
        assert not [path for path in files if Path(path).exists()], rule
        assert leftovers(disk.root) == [], rule
    disk.free()
    done = disk.run(*TARGETS)
    assert done.returncode == 0, done.stderr
    assert results(disk.root / "results") == disk.whole
    for rule in disk.rules:
        tried("Full disk", f"no space left before {rule} begins", 1,
              "one sentence that names the file; no file half-written; the same files once there "
              "is space again")  # fmt: skip


def test_a_disk_that_fills_up_while_training_leaves_the_state_before(disk, tried):
    shutil.rmtree(disk.root / "results")
    folder = disk.root / RUN
    for stage in ("pretrain", "finetune"):
        disk.free()
        state = folder / f"{stage}.state"
        (disk.work / "said").unlink(missing_ok=True)
        run = begin_snakemake(disk.work, *disk.arguments(str(folder / f"{stage}.pt")))
        while run.poll() is None:
            if state.exists():
                disk.fill()
        assert run.returncode != 0
        said = (disk.work / "said").read_text()
        assert f"error: cannot write {state}: No space left on device; free space" in said
        assert "Traceback" not in said
        assert leftovers(disk.root) == [state]
        step = checkpoint.load(state, "training_state")["step"]
        assert 0 < step < 60
        disk.free()
        done = disk.run(str(folder / f"{stage}.pt"))
        assert done.returncode == 0, done.stderr
        assert f"resumes after step {step}," in (folder / "logs" / f"{stage}.log").read_text()
        tried("Full disk", f"no space left while {stage} runs", 1,
              "one sentence that names the state; the state before is whole, and the run ends "
              "with the same weights")  # fmt: skip
    assert leftovers(disk.root) == []
    found = results(disk.root / "results")
    assert f"shapes/cross/n4/seed0/{stage}.pt" in found
    assert found == {name: disk.whole[name] for name in found}
