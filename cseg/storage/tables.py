"""Tables as CSV and Markdown; jobs that train do without pandas, which is slow to import."""

import csv
from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from cseg.storage.files import atomic

if TYPE_CHECKING:
    import pandas as pd

# columns of texts, whose values look like numbers, truth values or gaps now and then
TEXTS = frozenset({
    "dataset", "arm", "stage", "class_name", "id", "image_id", "setting", "group", "method", "list",
    "family", "next_larger", "same_as",
    "init", "scope", "encoder", "weights", "weights_data", "weights_licence", "weights_sha256",
    "budget", "protocol", "model_choice", "precision", "device", "cseg_version", "git_revision",
    "python_version", "torch_version", "torchvision_version", "index_fingerprint",
    "settings_fingerprint", "source_fingerprint", "subset_fingerprint",
})  # fmt: skip


def rounded(value: float, digits: int) -> str:
    """Write a number with so many significant digits, but never as a power of ten: 125, 0.00012."""
    text = f"{value:.{digits}g}"
    if "e" not in text:
        return text
    return f"{value:.0f}" if abs(value) >= 1 else f"{Decimal(text):f}"


def write_table(path: Path, table: "pd.DataFrame", float_format: str | None = None) -> None:
    """Write a CSV atomically; floats keep full precision unless a format is given."""
    with atomic(path) as temporary:
        table.to_csv(temporary, index=False, float_format=float_format, lineterminator="\n")


def read_table(path: Path) -> "pd.DataFrame":
    """Read a CSV of ours; texts stay texts, and only an empty field or a number `nan` is a gap.

    Left to itself, pandas takes classes named "None" and "NA" for gaps and classes named "0" and
    "1" for numbers. What it raises on a file that is no CSV passes through.
    """
    import pandas as pd

    gaps = {name: [""] if name in TEXTS else ["", "nan"] for name in pd.read_csv(path, nrows=0)}
    dtype = dict.fromkeys(TEXTS, str)
    return pd.read_csv(path, dtype=dtype, keep_default_na=False, na_values=gaps)


def write_rows(path: str | Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV atomically, as `write_table` would; floats keep full precision."""
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def markdown(header: Sequence[str], rows: Iterable[Sequence[object]], left: int = 1) -> list[str]:
    """Lines of a table in Markdown, whose first `left` columns are left-aligned."""
    rule = ["---"] * left + ["---:"] * (len(header) - left)
    return [f"| {' | '.join(map(str, row))} |" for row in (header, rule, *rows)]


def read_rows(path: str | Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Read a CSV as texts by column.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no CSV in UTF-8, lacks one of `columns`, or a row has another length.
    """
    with Path(path).open(encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream, restkey="", strict=True)
        try:
            rows = list(reader)
        except csv.Error as error:
            raise ValueError(f"line {reader.line_num}: {error}") from error
    missing = [name for name in columns if name not in (reader.fieldnames or ())]
    if missing:
        raise ValueError(f"column {missing[0]} is missing")
    if any("" in row or None in row.values() for row in rows):
        raise ValueError("a row is longer or shorter than the header")
    return rows
