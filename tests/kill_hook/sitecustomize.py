"""Python imports this first if its folder is on PYTHONPATH: a job ends or stops at its Nth change.

A change is a file that a job opens to write, renames, removes or makes below CSEG_KILLS_BELOW.
Orders are files in the folder CSEG_KILLS: a job of RULE takes one, whose name is `RULE.NUMBER` and
whose text is `kill N` or `stop N`, and obeys it right before its change N. What became of the order
is then in its name: `.taken`, or `.missed` if the job ended before. A job without an order writes
how many changes it made to `RULE.PID.count`.
"""

import atexit
import os
import re
import signal
import sys
from pathlib import Path

ORDERS, BELOW = os.environ.get("CSEG_KILLS"), os.environ.get("CSEG_KILLS_BELOW", "/")
SCRIPT = re.search(r"/\.snakemake/scripts/\w+\.(\w+)\.py$", "".join(sys.orig_argv[1:2]))
RULE = SCRIPT[1] if SCRIPT else os.environ.get("CSEG_KILLS_NAME")
CHANGES = {"os.rename": 1, "os.remove": 0, "os.mkdir": 0}  # and which argument is the path


def taken() -> Path | None:
    """The order that is this job's, if there is one left."""
    for path in sorted(Path(ORDERS).iterdir()):
        if re.fullmatch(rf"{RULE}\.\d+", path.name):
            try:
                return path.rename(f"{path}.taken")
            except FileNotFoundError:
                continue  # another job of the rule was faster
    return None


def begin() -> None:
    """Watch this process."""
    order, own, count = taken(), os.getpid(), 0
    signals = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}
    word, moment = order.read_text().split() if order else ("kill", "0")
    number, moment = signals[word], int(moment)

    def watch(event: str, arguments: tuple) -> None:
        nonlocal count
        if event == "open":
            path, _, flags = arguments
            if not isinstance(flags, int) or not flags & (os.O_WRONLY | os.O_RDWR):
                return
        elif event in CHANGES:
            path = arguments[CHANGES[event]]
        else:
            return
        if not isinstance(path, str | os.PathLike) or os.getpid() != own:
            return
        if Path(BELOW) in (Path.cwd() / os.fspath(path)).parents:
            count += 1
            if count == moment:
                os.kill(own, number)

    def end() -> None:
        if os.getpid() != own:
            return
        if order and count < moment:
            order.rename(order.with_suffix(".missed"))
        elif not order:
            Path(ORDERS, f"{RULE}.{own}.count").write_text(str(count))

    atexit.register(end)
    sys.addaudithook(watch)


if ORDERS and RULE:
    begin()
