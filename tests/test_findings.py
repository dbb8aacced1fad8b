"""Findings and README say what the kept tables say, and these what the CSVs next to them say."""

import re
from itertools import permutations
from pathlib import Path

import pytest
from evidence_tables import EVIDENCE, FOLDERS, kept, rendered
from small_runs import ROOT

from cseg.paper.results import Results, read_results
from cseg.paper.statistics import mean_std
from cseg.paper.wording import points, signed

SPREAD, INTERVAL = r"−?\d+\.\d ± \d+\.\d", r"\[−?\d+\.\d, −?\d+\.\d\]"


def sections(page: Path) -> dict[str, str]:
    """Text by heading of the second level."""
    parts = re.split(r"^## (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2]))


def spreads(results: list[Results]) -> set[str]:
    """Mean ± deviation of the paired differences of any two cells with one label count."""
    cells = [(n, values) for each in results for (_, n), values in each.mious.items()]
    said = set()
    for (n, ours), (same, theirs) in permutations(cells, 2):
        seeds = sorted(set(ours) & set(theirs))
        if n == same and len(seeds) > 1:
            mean, std = mean_std([ours[seed] - theirs[seed] for seed in seeds])
            said.add(f"{signed(mean).lstrip('+')} ± {points(std)}")
    return said


def printed(folders: list[Path]) -> set[str]:
    """Every mean ± deviation and every interval in the tables that are kept in `folders`."""
    texts = [path.read_text(encoding="utf-8") for folder in folders for path in kept(folder)]
    return {number for text in texts for number in re.findall(f"{SPREAD}|{INTERVAL}", text)}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: str(path.relative_to(EVIDENCE)))
def test_kept_tables_are_those_of_the_kept_rows(folder: Path):
    texts = rendered(folder)
    stale = [path.name for path in kept(folder) if path.read_text("utf-8") != texts[path.name]]
    assert stale == [], "run python tests/evidence_tables.py"


CLAIMS = {
    name: text for name, text in sections(EVIDENCE / "findings.md").items() if name[0].isdigit()
}


@pytest.mark.parametrize("name", CLAIMS)
def test_numbers_of_a_finding_are_those_of_the_experiments_it_links(name: str):
    linked = {EVIDENCE / part for part in re.findall(r"\]\((\w+)/", CLAIMS[name])}
    assert linked
    numbers = re.findall(f"{SPREAD}|{INTERVAL}", CLAIMS[name])
    assert numbers or name.startswith("6")
    runs = [folder for folder in FOLDERS if linked & {folder, *folder.parents}]
    known = printed(sorted({*linked, *runs})) | spreads([read_results(folder) for folder in runs])
    assert sorted(set(numbers) - known) == []


def test_numbers_of_the_readme_are_those_of_some_experiment():
    numbers = re.findall(SPREAD, (ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(numbers) >= 5
    within = [spreads([read_results(folder)]) for folder in FOLDERS if "tune" not in folder.name]
    assert sorted(set(numbers) - printed(FOLDERS) - set().union(*within)) == []
