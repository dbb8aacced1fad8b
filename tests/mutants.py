"""Plant small mistakes in what computes numbers, one at a time: which test fails first?

`python tests/mutants.py SEED COUNT` runs a sample. mutmut makes the mistakes
(pyproject.toml says where). `mutmut run` records first which test calls which function, which
takes longer than a sample; we run the tests that belong to a module, in a process that is forked
for each mutant once torch and the tests are imported.
"""

import ast
import difflib
import hashlib
import os
import re
import resource
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from multiprocessing import Pool
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytest
from hypothesis import settings
from mutmut.configuration import config
from mutmut.mutation.file_mutation import mutate_file_contents
from mutmut.mutation.trampoline import set_mutant_under_test
from mutmut.utils.file_utils import walk_mutatable_files

ROOT = Path(__file__).parent.parent
PROCESSES = 2
CPU_SECONDS = 300  # a mutant that takes longer does not end; no set of tests below needs a third
LOSS = ("losses", "losses_inputs", "losses_tiled", "losses_derivatives", "contrast")
RUNS = (
    "loop", "objectives", "training", "contrast", "consistency", "pseudolabel", "validation",
    "fake_gpu",
)  # fmt: skip
TESTS = {  # the tests of a module, without "test_" and ".py"
    "cseg/losses/pixel_contrast.py": (*LOSS, "losses_operator", "losses_distributed"),
    "cseg/losses/": LOSS,
    "cseg/inference/metrics.py": ("metrics", "evaluate", "validation"),
    "cseg/inference/predict.py": ("predict", "evaluate", "validation", "pseudolabel", "fake_gpu"),
    "cseg/paper/statistics.py": ("statistics", "captions"),
    "cseg/images/distortion.py": ("distortion", "consistency", "training"),
    "cseg/images/transforms.py": ("transforms", "sampling", "prepare", "predict", "training"),
    "cseg/training/sampling.py": ("sampling", "loader", "prepare", "training"),
    "cseg/training/loop.py": RUNS,
    "cseg/training/contrast.py": ("contrast", "training", "fake_gpu"),
    "cseg/training/consistency.py": ("consistency", "loop", "fake_gpu"),
    "cseg/training/prepared_cache.py": ("prepare",),
    "cseg/stages/evaluate.py": ("evaluate", "validation", "fake_gpu"),
    "cseg/stages/finetune.py": RUNS,
    "cseg/stages/pretrain.py": RUNS,
    "cseg/stages/pseudolabel.py": ("pseudolabel", "unlabelled", "fake_gpu"),
    "cseg/stages/subset.py": ("subset", "prepare", "sampling"),
}
SLOW_TOO = "losses_distributed"  # the only file whose slow tests run: they start two ranks once
LONGEST = ("gradcheck", "same_bits", "falls_in_pretraining")  # parts of their names; they come last


class Mutant(NamedTuple):
    """One small mistake: its name, its file, and the lines before and after."""

    name: str  # as mutmut calls it: cseg.losses.counts.x_spans__mutmut_3
    path: str
    before: str
    after: str

    @property
    def function(self) -> str:
        """The function with the mistake, with its module."""
        plain = re.sub(r"\bx[_ǁ]", "", self.name.partition("__mutmut_")[0])
        return plain.replace("ǁ", ".")

    @property
    def mistake(self) -> tuple[str, str, str]:
        """What stays the same if the function gets more mutants or other numbers."""
        return self.function, self.before, self.after


class Outcome(NamedTuple):
    """What the tests said of a mutant."""

    mutant: Mutant
    test: str  # the first test that failed; "" if none did, "no end" after CPU_SECONDS
    seconds: float  # processor time


def _functions(module: ast.Module) -> Iterator[ast.FunctionDef]:
    for node in module.body:
        for inner in node.body if isinstance(node, ast.ClassDef) else [node]:
            if isinstance(inner, ast.FunctionDef) and "__mutmut_" in inner.name:
                yield inner


def _mutants_of(path: Path) -> tuple[Path, str, list[Mutant]]:
    code = mutate_file_contents(str(path), path.read_text()).code
    lines = code.splitlines()
    bodies = {
        node.name: [line.strip() for line in lines[node.lineno : node.end_lineno]]
        for node in _functions(ast.parse(code))
    }
    module = str(path.with_suffix("")).replace("/", ".")
    found = []
    for name, body in bodies.items():
        function, _, number = name.partition("__mutmut_")
        if number != "orig":
            changes = list(difflib.unified_diff(bodies[f"{function}__mutmut_orig"], body, n=0))[3:]
            before = " ".join(line[1:] for line in changes if line[0] == "-")
            after = " ".join(line[1:] for line in changes if line[0] == "+")
            found.append(Mutant(f"{module}.{name}", str(path), before, after))
    return path, code, found


def plant(place: Path) -> list[Mutant]:
    """Copy the project to `place` with every mutant switched off; returns the mutants."""
    os.chdir(ROOT)  # where mutmut looks for pyproject.toml
    for name in {"cseg", "tests", "pyproject.toml", *map(str, config().also_copy)}:
        if Path(name).is_dir():
            shutil.copytree(name, place / name)
        elif Path(name).exists():
            shutil.copy2(name, place / name)
    every = []
    with Pool(PROCESSES) as pool:
        for path, code, found in pool.imap(_mutants_of, sorted(walk_mutatable_files())):
            (place / path).write_text(code)
            every += found
    return every


def draw(mutants: list[Mutant], seed: int, count: int) -> list[Mutant]:
    """A random sample that changes little if the code does: each mutant draws its own number."""

    def number(mutant: Mutant) -> str:
        return hashlib.sha256(repr((seed, *mutant.mistake)).encode()).hexdigest()

    return sorted(mutants, key=lambda mutant: (number(mutant), mutant.name))[:count]


def tests_of(mutant: Mutant) -> list[str]:
    """The files of tests that should see this mutant."""
    names = next(names for path, names in TESTS.items() if mutant.path.startswith(path))
    return [f"tests/test_{name}.py" for name in names]


class _FirstFailure:
    """One case of each test runs first, then the others, long tests last; notes what failed."""

    test = ""

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [
            item for item in items
            if SLOW_TOO in item.nodeid or not item.get_closest_marker("slow")
        ]  # fmt: skip
        cases: Counter[str] = Counter()
        places = {}
        for item in items:
            name = item.nodeid.partition("[")[0]
            places[item] = (any(word in name for word in LONGEST), cases[name])
            cases[name] += 1
        items.sort(key=places.__getitem__)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self.test:
            self.test = report.nodeid


def _pytest(*arguments: str) -> str:
    """Run tests here; returns the first that failed."""
    seen = _FirstFailure()
    quiet = ("-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", "not long")
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        code = pytest.main([*quiet, "--rootdir=.", *arguments], plugins=[seen])
    return seen.test or ("" if code == 0 else f"pytest ended with {int(code)}")


def _child(mutant: Mutant, answer: int) -> None:
    """Run one mutant's tests in this forked process, say which failed, and end."""
    os.setsid()
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    signal.alarm(4 * CPU_SECONDS)  # for one that waits for ever
    set_mutant_under_test(mutant.name)
    os.write(answer, _pytest(*tests_of(mutant)).encode())
    os._exit(0)


def outcomes(mutants: list[Mutant], place: Path) -> Iterator[Outcome]:
    """Run the tests of each mutant in a separate process, two at a time."""
    os.chdir(place)
    sys.path[:] = [str(place), *(path for path in sys.path if Path(path) != ROOT / "tests")]
    os.environ["PYTHONPATH"] = f"{place}{os.pathsep}{place / 'tests'}"
    settings.register_profile("mutants", derandomize=True, database=None, deadline=None)
    settings.load_profile("mutants")
    files = sorted({file for mutant in mutants for file in tests_of(mutant)})
    assert _pytest("--collect-only", "-qq", *files) == ""
    running: dict[int, tuple[Mutant, int]] = {}
    waiting = list(mutants)
    while waiting or running:
        while waiting and len(running) < PROCESSES:
            mutant = waiting.pop(0)
            read, write = os.pipe()
            if not (process := os.fork()):
                _child(mutant, write)
            os.close(write)
            running[process] = mutant, read
        process, status, usage = os.wait3(0)
        mutant, read = running.pop(process)
        with suppress(ProcessLookupError):
            os.killpg(process, signal.SIGKILL)  # what its tests left running
        with os.fdopen(read) as answer:
            said = answer.read()
        ended = os.waitstatus_to_exitcode(status) == 0
        yield Outcome(mutant, said if ended else "no end", usage.ru_utime + usage.ru_stime)


def known() -> set[tuple[str, str, str]]:
    """The mistakes that docs/mutants.md lists: no test can see them, or none needs to."""
    lines = (ROOT / "docs" / "mutants.md").read_text().splitlines()
    rows = [line.replace(r"\|", "\0").split("|")[1:4] for line in lines if line.startswith("| `")]
    return {tuple(cell.strip(" `").replace("\0", "|") for cell in row) for row in rows}


def row_of(mutant: Mutant) -> str:
    """The row of docs/mutants.md for a survivor; the reason is left to a person."""
    return "| " + " | ".join(f"`{part}`".replace("|", r"\|") for part in mutant.mistake) + " | ? |"


def main(seed: int, count: int) -> int:
    """Run a sample and print what failed; returns how many mutants survived unlisted."""
    with TemporaryDirectory(prefix="mutants") as folder:
        every = plant(Path(folder))
        sample, listed = draw(every, seed, count), known()
        gone = listed - {mutant.mistake for mutant in every}
        assert not gone, f"docs/mutants.md lists what mutmut does not change any more: {gone}"
        tried = [mutant for mutant in sample if mutant.mistake not in listed]
        killers, survived = set(), 0
        for mutant, test, seconds in outcomes(tried, Path(folder)):
            print(f"{seconds:5.1f} s {mutant.name} {test or 'SURVIVED ' + row_of(mutant)}")
            sys.stdout.flush()
            killers |= {test} if test.startswith("tests/") else set()
            survived += not test
        fails = _pytest(*sorted(killers)) if killers else ""
    assert not fails, f"{fails} fails without a mistake, too"
    print(f"{len(tried) - survived} of {count} killed, {count - len(tried)} listed")
    return survived


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
