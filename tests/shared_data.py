"""Real data beside the repository, which not every machine has."""

import os
from pathlib import Path

import pytest


def shared_data(name: str) -> Path:
    """The folder `name` of the shared data; skips the test where it is absent."""
    root = os.environ.get("CSEG_SHARED_DATA") or Path(__file__).parents[2] / "shared" / "data"
    folder = Path(root) / name
    if not folder.is_dir():
        pytest.skip(f"needs real data: {folder} is absent (set CSEG_SHARED_DATA)")
    return folder
