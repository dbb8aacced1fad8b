"""Plants small mistakes in what computes numbers, one at a time, and sees whether a test fails.

`python tests/mutants.py COUNT SEED` draws COUNT of all mistakes that mutmut can plant in the
modules that pyproject.toml names, and prints what became of each. For each one a process is
forked that has imported all and collected the tests, so that only the tests of its module run.
As a plugin of pytest (`-p mutants`) this file does that; PLANTED names the folder with the list.
"""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from difflib import unified_diff
from pathlib import Path

import pytest
from _pytest import main

ROOT = Path(__file__).parent.parent
COPIED = ("cseg", "tests", "workflow", "profiles", "envs", "Snakefile", "config.yaml",
          "pyproject.toml")  # fmt: skip
LOSSES = ("losses", "losses_tiled", "losses_inputs", "losses_derivatives")
TESTS = {  # of each module or folder of cseg, those that fail soonest first
    "losses": LOSSES,
    "inference.metrics": ("metrics", "evaluate"),
    "inference.confusion": ("metrics", "evaluate"),
    "inference.predict": ("predict", "evaluate"),
    "paper.statistics": ("statistics",),
    "images.distortion": ("distortion",),
    "images.transforms": ("transforms", "sampling"),
    "training.sampling": ("sampling", "prepare"),
    "training.loop": ("loop", "training", "validation"),
    "training.contrast": ("contrast",),
    "training.consistency": ("consistency",),
    "training.prepared_cache": ("prepare",),
    "stages.evaluate": ("evaluate",),
    "stages.finetune": ("loop", "consistency", "contrast", "training", "validation"),
    "stages.pretrain": ("contrast", "training"),
    "stages.pseudolabel": ("pseudolabel",),
    "stages.subset": ("subset",),
}
SECONDS = 120, 1200  # of the processor and of the clock, after which a mistake counts as found


@dataclass(frozen=True)
class Outcome:
    """What became of one planted mistake.

    Attributes:
        mutant: mutmut's name, module.function__mutmut_number.
        test: the test that failed; None if none did.
        seconds: processor time of its tests.
    """

    mutant: str
    test: str | None
    seconds: float


def test_files(mutant: str) -> list[str]:
    """Test files of the module that a mutant changes."""
    inside = mutant.split(".x", 1)[0].removeprefix("cseg.")
    names = TESTS.get(inside) or TESTS[inside.split(".")[0]]
    return [f"tests/test_{name}.py" for name in names]


def plant_all(folder: Path) -> list[str]:
    """Copy what the tests need into `folder`, with every mistake asleep; returns their names."""
    from mutmut.configuration import config
    from mutmut.mutation.file_mutation import mutate_file_contents
    from mutmut.utils.format_utils import get_mutant_name

    for name in COPIED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    before = Path.cwd()
    os.chdir(ROOT)  # mutmut reads pyproject.toml there
    try:
        names = []
        for path in map(Path, config().only_mutate):
            mutated = mutate_file_contents(str(path), path.read_text())
            (folder / path).write_text(mutated.code)
            names += [get_mutant_name(path, name) for name in mutated.mutant_names]
    finally:
        os.chdir(before)
    return sorted(names)


def outcomes_of(drawn: list[str], folder: Path) -> list[Outcome]:
    """Try these mistakes, which `plant_all` planted in `folder`, one by one.

    Outcomes are also added to `folder`/outcomes.jsonl as they come, and what pytest said to `said`.

    Raises:
        subprocess.CalledProcessError: the tests do not run, or one fails without a mistake.
    """
    (folder / "drawn.json").write_text(json.dumps(drawn))
    files = sorted({file for mutant in drawn for file in test_files(mutant)})
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-m", "not slow and not fault",
               "-p", "mutants", "-p", "no:xdist", "-p", "no:cacheprovider", "--hypothesis-seed=0",
               f"--basetemp={folder / 'tmp'}", "--rootdir=.", *files]  # fmt: skip
    paths = os.pathsep.join([str(folder), str(folder / "tests")])
    environment = os.environ | {"PYTHONPATH": paths, "PLANTED": str(folder)}
    with (folder / "said").open("w") as said:
        subprocess.run(command, cwd=folder, env=environment, stdout=said, stderr=said, check=True)
    lines = (folder / "outcomes.jsonl").read_text().splitlines()
    return [Outcome(**json.loads(line)) for line in lines]


class FirstFailure:
    """Writes the name of the first test that fails."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self.path.exists():
            self.path.write_text(report.nodeid)


def run_forked(session: pytest.Session, items: list[pytest.Item], mutant: str) -> str | None:
    """The first of `items` that fails in a process where this mistake is awake, or None."""
    failure = Path(os.environ["PLANTED"]) / "failure"
    failure.unlink(missing_ok=True)
    child = os.fork()
    if not child:
        os.environ["MUTANT_UNDER_TEST"] = mutant
        used = int(time.process_time())
        resource.setrlimit(resource.RLIMIT_CPU, (used + SECONDS[0], used + SECONDS[0] + 1))
        signal.alarm(SECONDS[1])
        session.items = items
        session.config.pluginmanager.register(FirstFailure(failure))
        try:
            main.pytest_runtestloop(session)
        finally:
            os._exit(bool(session.testsfailed))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status < 0:
        return f"time or signal {-status}"
    return failure.read_text() if failure.exists() else None


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Instead of running the tests once: run those of each mistake with it."""
    if "PLANTED" not in os.environ:
        return None
    folder = Path(os.environ["PLANTED"])
    passed: set[str] = set()
    for mutant in json.loads((folder / "drawn.json").read_text()):
        order = test_files(mutant)
        items = [item for file in order for item in session.items if item.nodeid.startswith(file)]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        test = run_forked(session, items, mutant)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        with (folder / "outcomes.jsonl").open("a") as file:
            file.write(json.dumps(asdict(Outcome(mutant, test, round(seconds, 2)))) + "\n")
        same = [item for item in items if item.nodeid == test and test not in passed]
        if same and run_forked(session, same, ""):
            raise pytest.UsageError(f"{test} fails without a mistake")
        passed.add(test or "")
    return True


def difference(mutant: str, folder: Path) -> str:
    """The lines that a mistake changes, from the planted files in `folder`."""
    import libcst
    from mutmut.mutation.diff_apply import read_mutant_function, read_original_function

    path = folder / Path(*mutant.split(".x", 1)[0].split(".")).with_suffix(".py")
    module = libcst.parse_module(path.read_text())
    before, after = (
        module.code_for_node(read(module, mutant)).splitlines()
        for read in (read_original_function, read_mutant_function)
    )
    return "\n".join(list(unified_diff(before, after, n=0, lineterm=""))[3:])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        every = plant_all(Path(place))
        outcomes = outcomes_of(
            random.Random(sys.argv[2]).sample(every, int(sys.argv[1])), Path(place)
        )
        for outcome in outcomes:
            print(outcome.seconds, outcome.mutant, outcome.test or "SURVIVED")
            if not outcome.test:
                print(difference(outcome.mutant, Path(place)))
    print(f"{sum(bool(outcome.test) for outcome in outcomes)} of {len(outcomes)} found")
