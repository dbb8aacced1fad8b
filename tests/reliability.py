"""How often we injected which fault, and what was lost: docs/reliability.{csv,md}."""

import csv
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

HEAD = """# Reliability

This page lists every fault we injected, how often, and what was lost. The tests that inject the
faults write it: `make reliability` runs all of them (marker `fault`) and rewrites the page. A row
is here only if its test has passed, and the last column names the revision of the code that was
tested.

"""


@dataclass(frozen=True)
class Trial:
    """One row of the page.

    Attributes:
        section: what kind of fault it is: a heading of the page.
        what: the fault, and where it was injected.
        times: how often.
        outcome: what happened instead of harm.
        lost: what was lost.
        test: the test that injected it.
        revision: revision of the code that was tested.
    """

    section: str
    what: str
    times: int
    outcome: str
    lost: str
    test: str
    revision: str


def test_name(node: str) -> str:
    """A test's file and function, of pytest's id: without folders, and without parameters."""
    return node.split("[")[0].split("/")[-1]


def merged(old: Iterable[Trial], new: Iterable[Trial], run: set[str]) -> list[Trial]:
    """The trials that stand: `new` ones, and `old` ones of tests that are not among those `run`.

    Trials that differ in `times` alone add up.
    """
    found: dict[Trial, int] = {}
    for trial in [*(t for t in old if t.test not in run), *new]:
        key = replace(trial, times=0)
        found[key] = found.get(key, 0) + trial.times
    trials = [replace(key, times=times) for key, times in found.items()]
    return sorted(trials, key=lambda t: (t.section, t.what, t.outcome, t.test))


def read(path: Path) -> list[Trial]:
    """The trials of a CSV; none where there is no such file."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        return [Trial(**row | {"times": int(row["times"])}) for row in csv.DictReader(stream)]


def write(trials: list[Trial], path: Path) -> None:
    """Write the CSV, and the page beside it."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        names = [field.name for field in fields(Trial)]
        writer = csv.DictWriter(stream, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(map(asdict, trials))
    path.with_suffix(".md").write_text(page(trials), encoding="utf-8")


def page(trials: list[Trial]) -> str:
    """The page in Markdown."""
    kinds = {(t.section, t.what) for t in trials}
    lost = sum(t.lost != "nothing" for t in trials)
    lines = [
        f"{sum(t.times for t in trials):,} faults of {len(kinds)} kinds; rows in which something "
        f"was lost: {lost}."
    ]
    for section in dict.fromkeys(t.section for t in trials):
        lines += ["", f"## {section}", "",
                  "| fault | times | what happened | lost | test | revision |",
                  "| --- | ---: | --- | --- | --- | --- |"]  # fmt: skip
        lines += [
            f"| {t.what} | {t.times} | {t.outcome} | {t.lost} | `{t.test}` | {t.revision} |"
            for t in trials
            if t.section == section
        ]
    return HEAD + "\n".join(lines) + "\n"
