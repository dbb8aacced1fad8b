"""The tables kept in docs/evidence, rendered again from the CSVs next to them.

After a change of the tables' form: `python tests/evidence_tables.py` writes them again.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from small_runs import ROOT

from cseg.paper.tables import tables

EVIDENCE = ROOT / "docs" / "evidence"
FOLDERS = sorted(path.parent for path in EVIDENCE.rglob("summary.csv"))


def kept(folder: Path) -> list[Path]:
    """The tables of one experiment that are in the repository, and whose rows are, too.

    The rows of some `table_separability.md` were not kept.
    """
    rows = (folder / "separability.csv").exists()
    return [p for p in sorted(folder.glob("*.md")) if rows or p.name != "table_separability.md"]


def rendered(folder: Path) -> dict[str, str]:
    """Markdown of every table that the CSVs of `folder` allow, by the name it is kept under."""
    with TemporaryDirectory() as out:
        texts = {path.stem: path.read_text(encoding="utf-8")
                 for path in tables(folder, Path(out)) if path.suffix == ".md"}  # fmt: skip
    return {f"{name if name == 'ablations' else f'table_{name}'}.md": texts[name] for name in texts}


if __name__ == "__main__":
    for each in FOLDERS:
        texts = rendered(each)
        for path in kept(each):
            path.write_text(texts[path.name], encoding="utf-8")
