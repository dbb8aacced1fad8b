"""Read the lists of images that stages hand on: index.csv, and the CSV of a subset.

A list that is not as its stage wrote it is refused: training on half a list would pass unnoticed.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from cseg.errors import DataError, readable
from cseg.storage.files import fingerprint, read_json, sha256_file
from cseg.storage.tables import read_rows

if TYPE_CHECKING:
    import pandas as pd

TEXT = ("split", "id", "image", "label", "image_sha256", "label_sha256")


def read_index(index_csv: str | Path) -> "pd.DataFrame":
    """`read_index_rows` as a table; ids and paths stay text, the rest are numbers."""
    import pandas as pd  # late: jobs that train read rows

    rows = read_index_rows(index_csv)
    table = pd.DataFrame(rows, columns=list(rows[0] if rows else TEXT))
    numbers = table.columns.difference(TEXT, sort=False)
    return table.assign(**{name: pd.to_numeric(table[name]) for name in numbers})


def read_index_rows(index_csv: str | Path) -> list[dict[str, str]]:
    """The rows of a dataset's index, as texts by column.

    Where `dataset.json` lies beside it and holds the file's checksum, as the index stage leaves it,
    the file must have that one.

    Raises:
        DataError: missing, damaged or changed since it was written; names the file.
    """
    path, facts = Path(index_csv), Path(index_csv).with_name("dataset.json")
    remedy = "delete it and run again to index the dataset anew"
    with readable(f"the index {path}", remedy):
        wanted = read_json(facts).get("index_sha256") if facts.is_file() else None
        if wanted and sha256_file(path) != wanted:
            raise DataError(f"{path} has changed since it was written; {remedy}")
        return read_rows(path, ("split", "id"))


def read_subset(subset_csv: str | Path) -> tuple[list[str], str]:
    """The ids of a subset's CSV, in rank order, and the subset's fingerprint.

    Raises:
        DataError: missing, damaged, empty or changed since it was written; names the file.
    """
    remedy = "delete it and run again to draw the subset anew"
    with readable(f"the subset {subset_csv}", remedy):
        rows = read_rows(subset_csv, ("id", "fingerprint"))
    ids, marks = [row["id"] for row in rows], sorted({row["fingerprint"] for row in rows})
    sums = {row["ids_fingerprint"] for row in rows if "ids_fingerprint" in row}
    if not ids:
        raise DataError(f"subset {subset_csv} is empty; choose label_counts of at least 1")
    if len(marks) > 1 or (sums and sums != {fingerprint(ids)}):
        raise DataError(f"the subset {subset_csv} has changed since it was written; {remedy}")
    return ids, marks[0]
