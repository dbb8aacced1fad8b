"""The frame in which an adapter script of the workflow runs its stage."""

import gc
import io
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

from cseg.errors import CsegError, reason
from cseg.storage.files import NO_SPACE

OBJECTS_UNTIL_COLLECTION = 50_000


@contextmanager
def stage(log: str, inputs: Iterable[str] = (), results: str = "") -> Iterator[None]:
    """Send output to `log`; end a failure with one sentence there and on the terminal.

    A failure the user can mend ends with exit code 1 and no traceback; any other one leaves its
    traceback in the log. Ctrl-C ends it with exit code 130. If the log cannot be written, the
    stage goes on and errors still reach the terminal. Garbage is looked for seldom: the search
    takes a tenth of the time in which torch and timm are imported, and finds none.

    If the clock was set back and one of `inputs` is dated later than now, Snakemake would take the
    new files for outdated ones and delete them: all of `results` are then dated now at the latest.
    """
    terminal = sys.stderr
    thresholds = gc.get_threshold()
    try:
        Path(log).parent.mkdir(parents=True, exist_ok=True)
        file = _Log(log, "a")
    except OSError as error:
        sys.exit(f"error: cannot write {log}: {error.strerror}; free space, then run again")
    with io.TextIOWrapper(io.BufferedWriter(file), "utf-8") as stream, redirect_stdout(stream):
        try:
            gc.set_threshold(OBJECTS_UNTIL_COLLECTION, *thresholds[1:])
            with redirect_stderr(stream):
                yield
                _date_back(list(map(Path, inputs)), Path(results))
        except KeyboardInterrupt:
            for place in (stream, terminal):
                print("error: stopped by Ctrl-C; run again to go on", file=place, flush=True)
            sys.exit(130)
        except Exception as error:
            # torch's handler would raise in the midst of what follows if a second loader's process
            # dies now
            children = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            sentence = _sentence(error)
            if sentence is None:
                traceback.print_exc(file=stream)
                sentence = f"{type(error).__name__}: {reason(error)}; the traceback is in {log}"
            else:
                print(f"error: {sentence}", file=stream)
            print(f"error: {sentence}", file=terminal, flush=True)
            signal.signal(signal.SIGCHLD, children)
            sys.exit(1)
        finally:
            gc.set_threshold(*thresholds)
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
    if type(error).__name__ == "OutOfMemoryError":  # torch's, which light stages do not import
        return f"{reason(error)}; lower batch or window, or see nvidia-smi for others on this GPU"
    if isinstance(error, RuntimeError) and "DataLoader worker" in str(error):
        return f"{reason(error)}; lower workers or cache_mib if memory is short"
    if isinstance(error, OSError) and error.filename:
        return f"cannot use {error.filename}: {error.strerror}; check it, then run again"
    return None


def _date_back(inputs: list[Path], results: Path) -> None:
    now = time.time_ns()
    if all(path.stat().st_mtime_ns <= now for path in inputs):
        return
    for path in results.rglob("*"):
        with suppress(FileNotFoundError):  # another job's temporary file
            if path.is_file() and path.stat().st_mtime_ns > now:
                os.utime(path, ns=(now, now))
