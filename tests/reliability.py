"""How often something was broken on purpose, and what was lost: rows of docs/reliability.md."""

import platform
from dataclasses import dataclass

from cseg.records import git_revision, provenance

HEAD = """# Reliability

What was broken on purpose, how often, and what was lost. Written by the tests that break it:
`make reliability` runs all of them (marker `fault`) and writes this page again; a row stands here
only where its test has passed.

"""


@dataclass(frozen=True)
class Trial:
    """One row of the page.

    Attributes:
        section: what kind of fault it is: a heading of the page.
        what: what was broken, and where.
        times: how often.
        outcome: what happened instead of harm.
        lost: what was lost.
        test: the test that did it.
    """

    section: str
    what: str
    times: int
    outcome: str
    lost: str
    test: str


def page(trials: list[Trial]) -> str:
    """The page in Markdown; trials of one section and text add up."""
    merged: dict[tuple[str, str, str, str, str], int] = {}
    for t in trials:
        key = (t.section, t.what, t.outcome, t.lost, t.test)
        merged[key] = merged.get(key, 0) + t.times
    made = provenance()
    total, kinds = sum(merged.values()), len({what for _, what, *_ in merged})
    lines = [
        f"{total} trials of {kinds} kinds; revision {git_revision()[:7]}, Python "
        f"{made['python_version']}, torch {made['torch_version']}, {platform.system()} "
        f"{platform.machine()}."
    ]
    for section in sorted({section for section, *_ in merged}):
        lines += ["", f"## {section}", "", "| what | tried | what happened | lost | test |",
                  "| --- | ---: | --- | --- | --- |"]  # fmt: skip
        for (where, what, outcome, lost, test), times in sorted(merged.items()):
            if where == section:
                lines.append(f"| {what} | {times} | {outcome} | {lost} | `{test}` |")
    return HEAD + "\n".join(lines) + "\n"
