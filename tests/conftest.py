"""Settings every test shares, made before anything is imported."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # xdist runs one process per core
if not Path("/proc/driver/nvidia").exists():
    # triton reads this once, when it is first imported, and torch may import it in any test
    os.environ.setdefault("TRITON_INTERPRET", "1")

import reliability


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--reliability", metavar="PAGE", help="write what `tried` was told to a page")


TRIALS = pytest.StashKey[list]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TRIALS] = []


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
        Path(path).write_text(reliability.page(session.config.stash[TRIALS]), encoding="utf-8")
