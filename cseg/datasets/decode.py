"""Decode an image file upright, and say what the file is: depth, orientation tag, lossy or not."""

import hashlib
import io
import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from PIL import Image, UnidentifiedImageError

from cseg.datasets.samples import PLAIN, DatasetInfo
from cseg.errors import DataError, reason

UNREADABLE = (  # what Pillow raises on damaged files
    UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError, struct.error, IndexError,
    KeyError, TypeError, OverflowError,
)  # fmt: skip
ORIENTATION = 0x0112  # the tag of EXIF and TIFF
BITS = 258  # the tag of TIFF
TURNS = {  # orientation tag -> what makes stored pixels upright
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
}  # fmt: skip
BACK = {6: 8, 8: 6}  # orientation tag -> the one whose turn undoes it; the others undo themselves
DEPTHS = {"1": 1, "I;16": 16, "I;16B": 16, "I;16L": 16, "I;16N": 16, "I": 32, "F": 32}
OPENING = Lock()


@dataclass(frozen=True)
class Decoded:
    """A decoded file."""

    image: Image.Image  # its pixels, turned upright unless the caller wants them as stored
    stored_size: tuple[int, int]  # width and height of the stored pixels
    orientation: int  # its orientation tag, 1..8; 1 where it has none
    bits: int  # per channel, as the file has them; Pillow holds 2 and 4 bits stretched to 8
    format: str  # Pillow's name of the format
    lossy: bool  # whether the format changes pixels when it stores them
    sha256: str  # of the file's bytes; empty for what is no file


def open_image(
    path: str | Path, kind: str = "image", info: DatasetInfo = PLAIN, sha256: str | None = None
) -> Decoded:
    """Open and fully decode an image file.

    Messages call it an "image" or "label" (`kind`). `info` says whether pixels are turned as the
    orientation tag says, and how large an image may be; `sha256` says which file it must be.

    Raises:
        DataError: the file is missing, truncated, too large, no image, a stack of images or
            another file; names it.
    """
    name = f"{kind} {path}"
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        what = "is missing" if isinstance(error, FileNotFoundError) else "cannot be read"
        raise DataError(f"{name} {what}; restore it or take it off the list") from error
    found = hashlib.sha256(data).hexdigest()
    if found != (sha256 or found):
        raise DataError(
            f"{name} has changed since it was indexed; restore it, or delete index.csv "
            "and run again"
        )
    try:
        with _no_limit():
            image = Image.open(io.BytesIO(data))
        _check(name, image, info.max_megapixels)
        return decoded(image, info, lossy=_is_lossy(image, data), sha256=found)
    except UNREADABLE as error:
        # Pillow names the buffer it read from where it knows no format: of no use to the user.
        why = "no known format" if isinstance(error, UnidentifiedImageError) else reason(error)
        raise DataError(
            f"{name} cannot be decoded ({why}); it may be truncated: restore the file"
        ) from error


def decoded(
    image: Image.Image, info: DatasetInfo, *, lossy: bool = False, sha256: str = ""
) -> Decoded:
    """Decode an opened image; arguments as `open_image` and `Decoded`.

    Raises:
        UNREADABLE: damaged files, as Pillow reports them.
    """
    bits, form, upright = _bits(image), image.format or "", info.orientation != "stored"
    turned = form == "TIFF"  # Pillow turns these by itself when it loads them
    orientation = _orientation(image) if turned else 1
    # Pillow checks its limit once more, so that large images come singly
    large = image.width * image.height > (Image.MAX_IMAGE_PIXELS or math.inf)
    with _no_limit() if large else nullcontext():
        image.load()
    if not turned:  # a PNG may have its tag behind the pixels
        orientation = _orientation(image)
    if turned != upright and orientation != 1:
        back = BACK.get(orientation, orientation)
        image = image.transpose(TURNS[back if turned else orientation])
    size = image.size[::-1] if upright and orientation >= 5 else image.size
    return Decoded(image, size, orientation, bits, form, lossy, sha256)


@contextmanager
def _no_limit() -> Iterator[None]:
    """Without Pillow's limit of pixels, a variable of its module, for which we have a check."""
    with OPENING:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _check(name: str, image: Image.Image, most: int) -> None:
    """Refuse an image of too many pixels, and a stack of images."""
    pixels = image.width * image.height / 1e6
    if pixels > most:
        raise DataError(
            f"{name} is {image.width}x{image.height}, {pixels:.0f} megapixels, and more than "
            f"{most} are not decoded; cut it into tiles, or set max_megapixels to "
            f"{int(pixels) + 1} (of predict: --max-megapixels)"
        )
    pages = getattr(image, "n_frames", 1) if image.format == "TIFF" else 1
    if pages > 1:
        size = image.size
        image.seek(1)
        alike = image.size == size  # else a preview or a pyramid's next level
        image.seek(0)
        if alike:
            raise DataError(f"{name} is a stack of {pages} images; save each as a file")


def _bits(image: Image.Image) -> int:
    if image.format == "TIFF":
        found = image.tag_v2.get(BITS, (1,))  # type: ignore[attr-defined]
        return int(max(found) if isinstance(found, tuple) else found)
    tiles = getattr(image, "tile", [])
    raw = tiles[0].args if image.format == "PNG" and tiles else ""
    if isinstance(raw, str) and ";" in raw:  # as in L;2, P;4, RGB;16B
        return int("".join(filter(str.isdigit, raw.split(";")[1])))
    return DEPTHS.get(image.mode, 8)


def _orientation(image: Image.Image) -> int:
    found = 1
    with suppress(*UNREADABLE):  # damaged tags are none
        found = int(image.getexif().get(ORIENTATION, 1))
    return found if found in TURNS else 1


def _is_lossy(image: Image.Image, data: bytes) -> bool:
    if image.format == "WEBP":
        return b"VP8L" not in _chunks(data)
    packed = image.info.get("compression") == "jpeg"  # a TIFF may hold a JPEG
    return packed or image.format in ("JPEG", "MPO", "AVIF", "JPEG2000")


def _chunks(data: bytes) -> set[bytes]:
    """Names of the chunks of a RIFF file."""
    names, place = set(), 12
    while place + 8 <= len(data):
        names.add(data[place : place + 4])
        length = int.from_bytes(data[place + 4 : place + 8], "little")
        place += 8 + length + length % 2
    return names
