"""Processes that are started by an adapter, and those that are asked to stop."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def main_not_imported_again() -> Iterator[None]:
    """Start processes in the block without their importing the main module, which would run it.

    Processes that are not forked (spawn, forkserver) import the main module first. An adapter has
    no `if __name__ == "__main__"`: it would begin its stage once more in each of them.
    """
    main = sys.modules["__main__"]
    path = main.__dict__.pop("__file__", None)
    try:
        yield
    finally:
        if path is not None:
            main.__file__ = path


@contextmanager
def stop_flag(*signals: signal.Signals, patient: bool = False) -> Iterator[threading.Event]:
    """An event that the first of `signals` sets, so that work ends at a good place.

    A second signal does what it did before, or nothing if `patient`: processes that are stopped
    together get each one twice. Outside the main thread, which alone receives signals, the event
    stays unset.
    """
    flag = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    usual = {number: signal.getsignal(number) for number in signals}

    def set_flag(number: int, _: object) -> None:
        flag.set()
        if not patient:
            signal.signal(number, usual[signal.Signals(number)])

    for number in signals:
        signal.signal(number, set_flag)
    try:
        yield flag
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)
