"""Tables as CSV files."""

from pathlib import Path

import pandas as pd

from cseg.storage.files import atomic


def write_table(path: Path, table: pd.DataFrame, float_format: str | None = None) -> None:
    """Write a CSV atomically; floats keep full precision unless a format is given."""
    with atomic(path) as temporary:
        table.to_csv(temporary, index=False, float_format=float_format, lineterminator="\n")
