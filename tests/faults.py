"""Break a process in the middle of what it does."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from small_runs import ROOT

DYING = """
import importlib, resource, signal, sys
limit, module, function, *paths = sys.argv[1:]
work = getattr(importlib.import_module(module), function)
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # python ignores it
resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
work(*paths)
"""


def dies_writing(limit: int, module: str, function: str, *paths: Path) -> bool:
    """Whether a process that calls the function is killed as a file of it exceeds `limit` bytes."""
    command = [sys.executable, "-c", DYING, str(limit), module, function, *map(str, paths)]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    return subprocess.run(command, env=environment, timeout=600).returncode == -signal.SIGXFSZ


@contextmanager
def file_limit(size: int) -> Iterator[None]:
    """No file of this process may grow beyond `size` bytes: writing fails, as over a quota."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
