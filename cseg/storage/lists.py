"""Read the lists of images that stages hand on: index.csv, and the CSV of a subset.

A list that is not as its stage wrote it is refused: training on half a list would pass unnoticed.
"""

from pathlib import Path

import pandas as pd

from cseg.errors import DataError, reason
from cseg.storage.files import fingerprint, read_json, sha256_file

TEXT = dict.fromkeys(("split", "id", "image", "label", "image_sha256", "label_sha256"), str)


def read_index(index_csv: str | Path) -> pd.DataFrame:
    """The index of a dataset; ids and paths stay text.

    Where `dataset.json` lies beside it and holds the file's checksum, as the index stage leaves it,
    the file must have that one.

    Raises:
        DataError: missing, damaged or changed since it was written; names the file.
    """
    path, facts = Path(index_csv), Path(index_csv).with_name("dataset.json")
    remedy = "delete it and run again to index the dataset anew"
    try:
        wanted = read_json(facts).get("index_sha256") if facts.is_file() else None
        if wanted and sha256_file(path) != wanted:
            raise DataError(f"{path} has changed since it was written; {remedy}")
        table = pd.read_csv(path, dtype=TEXT, keep_default_na=False)
        table[["split", "id"]]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"cannot read the index {path}: {reason(error)}; {remedy}") from error
    return table


def ids_fingerprint(ids: list[str]) -> str:
    """What a subset's CSV says of its own ids."""
    return fingerprint(ids)


def read_subset(subset_csv: str | Path) -> tuple[list[str], str]:
    """The ids of a subset's CSV, in rank order, and the subset's fingerprint.

    Raises:
        DataError: missing, damaged, empty or changed since it was written; names the file.
    """
    remedy = "delete it and run again to draw the subset anew"
    try:
        table = pd.read_csv(subset_csv, dtype=str, keep_default_na=False)
        ids, marks = table["id"].tolist(), sorted(set(table["fingerprint"]))
        sums = set(table.get("ids_fingerprint", []))
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"cannot read the subset {subset_csv}: {reason(error)}; {remedy}"
        ) from error
    if not ids:
        raise DataError(f"subset {subset_csv} is empty; choose label_counts of at least 1")
    if len(marks) > 1 or (sums and sums != {ids_fingerprint(ids)}):
        raise DataError(f"the subset {subset_csv} has changed since it was written; {remedy}")
    return ids, marks[0]
