"""The frame in which an adapter script of the workflow runs its stage."""

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

from cseg.errors import CsegError


@contextmanager
def stage(log: str) -> Iterator[None]:
    """Send output to `log`; end a failure with one sentence there and on the terminal.

    A failure the user can mend ends with exit code 1 and no traceback; any other one leaves its
    traceback in the log.
    """
    terminal = sys.stderr
    path = Path(log)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as stream, redirect_stdout(stream):
        try:
            with redirect_stderr(stream):
                yield
        except CsegError as error:
            for target in (stream, terminal):
                print(f"error: {error}", file=target, flush=True)
            sys.exit(1)
        except Exception as error:
            traceback.print_exc(file=stream)
            print(
                f"error: {type(error).__name__}: {error}; the traceback is in {log}",
                file=terminal,
                flush=True,
            )
            sys.exit(1)
