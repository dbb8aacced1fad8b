"""Work that ends at a good place when it is asked to stop."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stop_flag(*signals: signal.Signals, patient: bool = False) -> Iterator[threading.Event]:
    """An event that the first of `signals` sets; a second one does what it did before.

    If `patient`, further ones are ignored: processes that are stopped together get each one twice.

    Outside the main thread, which alone receives signals, the event stays unset.
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
