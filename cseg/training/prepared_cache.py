"""Decoded pairs in one flat file, from which reading a pair is copying its bytes.

The file holds, pair after pair, the image (uint8 H x W x 3) and its class ids (uint8 H x W); a CSV
beside it says where each pair begins.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cseg.errors import DataError
from cseg.storage.tables import read_rows, write_rows

CHANNELS = 4  # bytes per pixel: red, green, blue, class
COLUMNS = ("id", "offset", "height", "width")


@dataclass(frozen=True)
class Place:
    """Where a pair lies: its file, the first byte, and the pair's size in pixels."""

    file: Path
    offset: int
    height: int
    width: int

    @property
    def bytes(self) -> int:
        """How much room the pair takes."""
        return CHANNELS * self.height * self.width


def read_pair(place: Place) -> tuple[np.ndarray, np.ndarray]:
    """Read an image, uint8 HxWx3, and its class ids, uint8 HxW, 255 ignored.

    Raises:
        DataError: the file is missing or too short; names it.
    """
    size = place.height, place.width
    try:
        data = np.fromfile(place.file, np.uint8, place.bytes, offset=place.offset)
        image, label = np.split(data, [3 * place.bytes // CHANNELS])
        return image.reshape(*size, 3), label.reshape(size)  # refuses what is too short
    except (OSError, ValueError) as error:
        raise _damaged(place.file) from error


def write_places(path: Path, ids: Sequence[str], places: Sequence[Place]) -> None:
    """Write where each id's pair lies: id, offset, height, width."""
    rows = [(name, p.offset, p.height, p.width) for name, p in zip(ids, places, strict=True)]
    write_rows(path, COLUMNS, rows)


def read_places(places_csv: Path, pixels: Path) -> dict[str, Place]:
    """Read where the pair of each id lies in the file `pixels`.

    Raises:
        DataError: the CSV is missing or damaged; names it.
    """
    try:
        rows = [[row[name] for name in COLUMNS] for row in read_rows(places_csv, COLUMNS)]
        return {name: Place(pixels, *map(int, numbers)) for name, *numbers in rows}
    except (OSError, ValueError) as error:
        raise _damaged(places_csv) from error


def _damaged(path: Path) -> DataError:
    return DataError(f"the prepared cache {path} is missing or damaged; delete it and run again")
