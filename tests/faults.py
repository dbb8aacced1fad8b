"""Break a process in the middle of what it does."""

import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def dies_writing(limit: int, work: Callable[..., object], *arguments: Path) -> bool:
    """Whether a process that does this work is killed as a file of it exceeds `limit` bytes."""
    child = os.fork()
    if not child:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # python ignores it
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        try:
            work(*arguments)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGXFSZ


@contextmanager
def file_limit(size: int) -> Iterator[None]:
    """No file of this process may grow beyond `size` bytes: writing fails, as over a quota."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
