"""The frame in which an adapter script of the workflow runs its stage."""

import io
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from cseg.errors import CsegError, reason
from cseg.files import NO_SPACE


@contextmanager
def stage(log: str) -> Iterator[None]:
    """Send output to `log`; end a failure with one sentence there and on the terminal.

    A failure the user can mend ends with exit code 1 and no traceback; any other one leaves its
    traceback in the log. A log that cannot be written on stops nothing and hides no sentence.
    """
    terminal = sys.stderr
    try:
        Path(log).parent.mkdir(parents=True, exist_ok=True)
        file = _Log(log, "a")
    except OSError as error:
        sys.exit(f"error: cannot write {log}: {error.strerror}; free space, then run again")
    with io.TextIOWrapper(io.BufferedWriter(file), "utf-8") as stream, redirect_stdout(stream):
        try:
            with redirect_stderr(stream):
                yield
        except Exception as error:
            sentence = _sentence(error)
            if sentence is None:
                traceback.print_exc(file=stream)
                sentence = f"{type(error).__name__}: {reason(error)}; the traceback is in {log}"
            else:
                print(f"error: {sentence}", file=stream)
            print(f"error: {sentence}", file=terminal, flush=True)
            sys.exit(1)
        finally:
            stream.flush()
            if file.failure is not None:
                why = file.failure.strerror
                print(f"warning: {log} is incomplete: {why}", file=terminal, flush=True)


class _Log(io.FileIO):
    """A file that drops what the disk does not take, and keeps the reason."""

    failure: OSError | None = None

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.failure = error
            return memoryview(data).nbytes


def _sentence(error: Exception) -> str | None:
    """What the user can mend, in one sentence; None for what is a fault of cseg."""
    if isinstance(error, CsegError):
        return str(error)
    if isinstance(error, OSError) and error.errno in NO_SPACE:
        what = error.filename or "a file"
        return f"cannot write {what}: {error.strerror}; free space, then run again"
    return None
