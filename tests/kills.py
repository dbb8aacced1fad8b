"""Kill the jobs of a workflow at moments drawn beforehand, and compare what they leave."""

import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import Popen

import pandas as pd
import psutil

POLL = 0.02  # seconds
SCRIPT = re.compile(r"/\.snakemake/scripts/\w+\.(\w+)\.py$")
# files that tell of time, not of results: checksums.json is also of columns of seconds
TIMES = re.compile(r"/(logs|benchmarks)/|cost\.\w+$|/checksums\.json$")
COST = re.compile(rb"<li>Arms of unequal cost: .*?</li>|Mind the \d+ warnings? below first.")


class Watcher(threading.Thread):
    """Follows the jobs below a Snakemake until it ends, and kills them when their moment comes.

    Attributes:
        killed: how many processes of each rule were killed.
        seconds: the shortest life of a process of each rule that was not killed.
    """

    def __init__(self, snakemake: Popen, moment: Callable[[str, Counter], float | None]) -> None:
        """`moment` of a rule, so many of each being killed: seconds until its process is, too."""
        super().__init__()
        self.snakemake, self.moment = snakemake, moment
        self.killed: Counter[str] = Counter()
        self.seconds: dict[str, float] = {}
        self.start()

    def run(self) -> None:
        living: dict[psutil.Process, tuple[str, float, float | None]] = {}
        while self.snakemake.poll() is None:
            now, seen = time.monotonic(), dict(scripts(self.snakemake.pid))
            for process, rule in seen.items():
                if process not in living:
                    living[process] = rule, now, self.moment(rule, self.killed)
            for process, (rule, began, moment) in list(living.items()):
                lived = now - began
                if process not in seen:
                    self.seconds[rule] = min(self.seconds.get(rule, lived), lived)
                    del living[process]
                elif moment is not None and lived >= moment:
                    process.kill()
                    self.killed[rule] += 1
                    del living[process]
            time.sleep(POLL)


def scripts(snakemake: int) -> Iterator[tuple[psutil.Process, str]]:
    """The running adapter scripts below the process `snakemake`, each with its rule."""
    try:
        for process in psutil.Process(snakemake).children(recursive=True):
            found = SCRIPT.search([*process.cmdline(), "", ""][1])
            if found and process.status() != psutil.STATUS_ZOMBIE:
                yield process, found[1]
    except psutil.NoSuchProcess:
        return  # it ended while it was looked at; the next look shows the others


def results(folder: Path) -> dict[str, bytes]:
    """What a run has written below `folder`, by path, without what tells of time."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not TIMES.search("/" + name):
            found[name] = timeless(path) if path.suffix == ".csv" else path.read_bytes()
            if path.name == "summary.html":
                found[name] = COST.sub(b"", found[name])
    return found


def leftovers(folder: Path) -> list[Path]:
    """Training states, and halves of files."""
    return [path for path in folder.rglob("*") if ".tmp" in path.name or path.suffix == ".state"]


def timeless(path: Path) -> bytes:
    """A CSV without its columns of seconds."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    return table[[name for name in table if not name.endswith("seconds")]].to_csv().encode()
