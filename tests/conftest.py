"""Settings every test shares, made before anything is imported."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # xdist runs one process per core
import messages
import reliability
from made_gpus import made_gpus

from cseg.compute.device import has_gpu
from cseg.errors import CsegError
from cseg.storage.provenance import git_revision

if not has_gpu():
    # triton reads this once, when it is first imported, and torch may import it in any test
    os.environ.setdefault("TRITON_INTERPRET", "1")


with suppress(ImportError):  # a GPU machine may have pytest alone
    from hypothesis import settings

    settings.register_profile("any speed", deadline=None)
    settings.load_profile("any speed")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--reliability", metavar="CSV", help="keep what `tried` was told, and a page")


TRIALS = pytest.StashKey[list]()
RUN = pytest.StashKey[set]()  # tests that have begun
RAISED: list[str] = []  # every failure message of the session


def _noted(error: CsegError, *arguments: object) -> None:
    Exception.__init__(error, *arguments)
    RAISED.append(str(error))


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TRIALS], config.stash[RUN] = [], set()
    CsegError.__init__ = _noted  # type: ignore[method-assign]


@pytest.fixture(autouse=True)
def every_message_is_one_sentence_with_a_remedy() -> Iterator[None]:
    """Whatever failure a test provokes in this process is checked for its form."""
    before = len(RAISED)
    yield
    for message in RAISED[before:]:
        assert messages.fault_of(message) is None, f"{messages.fault_of(message)}: {message}"


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one whole run of the smoke config; tests copy it and leave it as it is.

    Every worker of the session takes the same one.
    """
    from small_runs import SMOKE
    from workflow_runs import snakemake

    worker = os.environ.get("PYTEST_XDIST_WORKER")
    shared = tmp_path_factory.getbasetemp()
    shared = shared.parent if worker else shared
    folder = shared / "undisturbed"
    with (shared / "undisturbed.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "whole").exists():
            folder.mkdir(exist_ok=True)
            done = snakemake(folder, "smoke", "--configfile", str(SMOKE))
            assert done.returncode == 0, done.stderr
            (folder / "said").write_text(done.stderr)
            (folder / "whole").touch()
    return folder


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network fine-tuned for a second on four painted scenes: finetune.pt of one run."""
    from small_runs import small_data, small_settings
    from stage_runs import trained

    folder = tmp_path_factory.mktemp("checkpoint")
    data, settings = small_data(folder), small_settings("scratch")
    out = trained("finetune", data, settings, folder / "run", title="shapes/scratch/n4/seed0")
    return out.weights.rename(folder / "finetune.pt")


@pytest.fixture
def tried(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Record, at the end of a test marked `fault`, how often it broke what and what was lost."""

    test = reliability.test_name(request.node.nodeid)
    request.config.stash[RUN].add(test)

    def record(section: str, what: str, times: int, outcome: str, lost: str = "nothing") -> None:
        revision = git_revision()[:7]
        trial = reliability.Trial(section, what, times, outcome, lost, test, revision)
        request.config.stash[TRIALS].append(trial)

    return record


def pytest_sessionfinish(session: pytest.Session) -> None:
    if not session.config.getoption("--reliability"):
        return
    path = Path(session.config.getoption("--reliability"))
    new, run = session.config.stash[TRIALS], session.config.stash[RUN]
    old, check = reliability.read(path), "conftest.py::every_message_is_one_sentence_with_a_remedy"
    # Of sessions that run a part of the tests, the one with the most messages speaks for this row.
    if len(RAISED) > sum(trial.times for trial in old if trial.test == check):
        outcome = f"each, {len(set(RAISED))} different, is one sentence that names thing and remedy"
        what = "failures in a session of tests, in its own process"
        facts = ("nothing", check, git_revision()[:7])
        new.append(reliability.Trial("Messages", what, len(RAISED), outcome, *facts))
        run.add(check)
    reliability.write(reliability.merged(old, new, run), path)


@pytest.fixture
def gpus(tmp_path, monkeypatch):
    """Puts GPUs of these lines in front of the test and of what it starts."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    path = os.environ["PATH"]

    def put(*lines: str) -> None:
        programs = made_gpus(tmp_path, *lines)
        monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{path}")

    return put
