"""Tables as CSV files."""

from pathlib import Path

import pandas as pd

from cseg.storage.files import atomic


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a CSV atomically; floats keep full precision."""
    with atomic(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")
