"""Settings every test shares, made before anything is imported."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # xdist runs one process per core
if not Path("/proc/driver/nvidia").exists():
    # triton reads this once, when it is first imported, and torch may import it in any test
    os.environ.setdefault("TRITON_INTERPRET", "1")

import messages
import reliability

from cseg.errors import CsegError


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--reliability", metavar="PAGE", help="write what `tried` was told to a page")


TRIALS = pytest.StashKey[list]()
RAISED: list[str] = []  # every failure message of the session


def _noted(error: CsegError, *arguments: object) -> None:
    Exception.__init__(error, *arguments)
    RAISED.append(str(error))


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TRIALS] = []
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
    """The folder of one whole run of the smoke config; tests copy it and leave it as it is."""
    from small_runs import SMOKE
    from workflow_runs import snakemake

    folder = tmp_path_factory.mktemp("undisturbed")
    done = snakemake(folder, "smoke", "--configfile", str(SMOKE))
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def tried(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Record, at the end of a test marked `fault`, how often it broke what and what was lost."""

    def record(section: str, what: str, times: int, outcome: str, lost: str = "nothing") -> None:
        test = request.node.nodeid.split("/")[-1].split("[")[0]
        trial = reliability.Trial(section, what, times, outcome, lost, test)
        request.config.stash[TRIALS].append(trial)

    return record


def pytest_sessionfinish(session: pytest.Session) -> None:
    path = session.config.getoption("--reliability")
    if path and session.testsfailed == 0:
        checked = reliability.Trial(
            "Messages",
            "failures in these tests' own process",
            len(RAISED),
            f"each, {len(set(RAISED))} different, is one sentence that names thing and remedy",
            "nothing",
            "conftest.py::every_message_is_one_sentence_with_a_remedy",
        )
        trials = [*session.config.stash[TRIALS], checked]
        Path(path).write_text(reliability.page(trials), encoding="utf-8")
