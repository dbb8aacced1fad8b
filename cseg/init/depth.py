"""The range of images of more than 8 bits, where their type does not tell it."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cseg.datasets.decode import open_image
from cseg.errors import DataError

WIDE = ("I", "F")  # Pillow's modes of 32 bits, whose range is anybody's
DARK = 0.5  # of a 16-bit range: images that stay below have fewer bits


class Extent(NamedTuple):
    """The values of a deep grey image, and whether its type has 32 bits."""

    low: float
    high: float
    wide: bool


def read_extent(path: Path) -> Extent | None:
    """The extent of an image file; None for 8 bits and colours, and for what is no image."""
    try:
        decoded = open_image(path)
    except DataError:  # the inspection of the pair says so
        return None
    mode = decoded.image.mode
    if mode not in WIDE and not mode.startswith("I;16"):
        return None
    values = np.asarray(decoded.image)
    finite = values[np.isfinite(values)]
    if not finite.size:
        return None
    wide = mode in WIDE and decoded.format != "PNG"
    return Extent(float(finite.min()), float(finite.max()), wide)


def image_range(extents: Iterable[Extent | None]) -> list[float] | None:
    """The values that become black and white, as a description has them; None for the type's range.

    Images of 16 bits whose values need fewer have the range of those bits (12 bits: 0 to 4095);
    whole and decimal numbers of 32 bits have the range that occurs.
    """
    deep = [extent for extent in extents if extent is not None]
    low = min((extent.low for extent in deep), default=0)
    high = max((extent.high for extent in deep), default=0)
    if any(extent.wide for extent in deep):
        return [low, high] if low < high else None
    if not deep or high > DARK * (2**16 - 1):
        return None
    return [0, 2 ** max(8, int(high).bit_length()) - 1]
