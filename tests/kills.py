"""Kill jobs at changes of their files drawn beforehand (never at seconds), and what they leave."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
import psutil

HOOK = Path(__file__).parent / "kill_hook"
SCRIPT = re.compile(r"/\.snakemake/scripts/\w+\.(\w+)\.py$")
# files that tell of time, not of results: checksums.json is also of columns of seconds
TIMES = re.compile(r"/(logs|benchmarks)/|cost\.\w+$|/checksums\.json$")
# in summary.html: the warning of unequal cost, or that there is none, and what follows from it
COST = re.compile(
    rb"<li>(Arms of unequal cost|Nothing stands out): .*?</li>\n"
    rb"|Mind the warning below first: arms of unequal cost\.( |(?=<))|Use the network below\."
    rb"|(warning|\d+ warnings) below first(, above all)?"
)


class Orders:
    """Orders to jobs to end or stop right before a change; see kill_hook/sitecustomize.py."""

    def __init__(self, folder: Path, below: Path) -> None:
        """Of changes of the files below a folder; `folder` is made."""
        folder.mkdir()
        self.folder, self.below = folder, below

    def environment(self, name: str = "") -> dict[str, str]:
        """Variables of the processes that obey: of scripts of Snakemake, or the rule `name`."""
        paths = [str(HOOK), *filter(None, [os.environ.get("PYTHONPATH")])]
        found = {"CSEG_KILLS": str(self.folder), "CSEG_KILLS_BELOW": str(self.below),
                 "PYTHONPATH": os.pathsep.join(paths)}  # fmt: skip
        return found | ({"CSEG_KILLS_NAME": name} if name else {})

    def give(self, rule: str, changes: Sequence[int], word: str = "kill") -> None:
        """Give orders to the jobs of a rule, one each, in this sequence."""
        for number, change in enumerate(changes):
            (self.folder / f"{rule}.{number}").write_text(f"{word} {change}")

    def changes(self) -> dict[str, int]:
        """How many changes the jobs of each rule made that had no order; of several, the fewest."""
        found: dict[str, int] = {}
        for path in self.folder.glob("*.count"):
            rule, count = path.name.split(".")[0], int(path.read_text())
            found[rule] = min(count, found.get(rule, count))
        return found

    def obeyed(self) -> Counter[str]:
        """How many orders of each rule were obeyed; every order must have been taken."""
        names = [path.name for path in self.folder.iterdir() if path.suffix != ".count"]
        assert all(name.endswith(".taken") for name in names), names
        return Counter(name.split(".")[0] for name in names)


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
