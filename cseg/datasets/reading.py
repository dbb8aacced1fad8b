"""Read an image, and the class ids of a label; every stage reads its pixels here.

One rule for all formats: images are read upright, and deeper ones are scaled to 8 bits by the range
of their type, or by the dataset's `image_range`.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from cseg.datasets.decode import Decoded, open_image
from cseg.datasets.label_values import class_ids, read_raw_label
from cseg.datasets.samples import IGNORE, PLAIN, DatasetInfo
from cseg.errors import DataError
from cseg.storage.files import atomic

IGNORED_COLOUR = (224, 224, 192)  # as VOC draws its void


def read_image(
    path: str | Path, info: DatasetInfo = PLAIN, sha256: str | None = None
) -> np.ndarray:
    """Decode an image file to upright uint8 RGB, HxWx3; raises as `open_image` and `to_rgb` do."""
    return to_rgb(path, open_image(path, "image", info, sha256), info)


def is_deep(decoded: Decoded) -> bool:
    """Whether an image's values have to be scaled to 8 bits."""
    return decoded.image.mode in ("I", "F") or decoded.image.mode.startswith("I;16")


def to_rgb(path: str | Path, decoded: Decoded, info: DatasetInfo) -> np.ndarray:
    """Turn a decoded image into uint8 RGB, shape HxWx3.

    Raises:
        DataError: 32-bit or decimal values without a stated range, values that are not finite,
            16-bit colours with a stated range, or a colour space that is not read; names the file.
    """
    image, deep = decoded.image, decoded.bits > 8
    if not is_deep(decoded):
        if deep and info.image_range is not None:
            raise DataError(
                f"image {path} has colours of {decoded.bits} bits, to which image_range cannot be "
                "applied; save it with 8 bits per channel"
            )
        try:
            return np.array(image if image.mode == "RGB" else image.convert("RGB"))
        except ValueError as error:
            raise DataError(
                f"image {path} is of mode {image.mode}, which is not read; save it as RGB"
            ) from error
    values = np.asarray(image)
    if not np.isfinite(values).all():
        raise DataError(f"image {path} has pixels that are not finite; replace them by numbers")
    wide = image.mode in ("I", "F") and decoded.format != "PNG"
    if info.image_range is None and wide:
        raise DataError(
            f"image {path} has {'decimal' if image.mode == 'F' else 'wide integer'} values from "
            f"{values.min():g} to {values.max():g}, whose range its type does not tell; state "
            f"theirs in the description, or save it with 8 or 16 bits: add image_range: [low, high]"
        )
    low, high = info.image_range or (0, 2 ** min(decoded.bits, 16) - 1)
    scaled = (values.astype(np.float64) - low) * (255 / (high - low))
    grey = scaled.round().clip(0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def read_label(path: str | Path, info: DatasetInfo, sha256: str | None = None) -> np.ndarray:
    """Decode a label file to class ids, uint8 HxW, 255 where ignored; `sha256` as in `open_image`.

    Raises:
        DataError: unreadable, lossy, ambiguous, or with a value or colour that is no class; names
            file and value.
    """
    return class_ids(read_raw_label(path, info, sha256), info)


def read_class_ids(path: str | Path, sha256: str | None = None) -> np.ndarray:
    """Read what `write_label` has written: class ids, uint8 HxW, 255 where ignored."""
    return np.array(open_image(path, "label", sha256=sha256).image)


def write_image(path: str | Path, image: np.ndarray) -> None:
    """Write uint8 RGB, shape HxWx3, as PNG, atomically."""
    with atomic(path) as temporary:
        Image.fromarray(image, mode="RGB").save(temporary, format="PNG")


def colour_table(palette: Sequence[Sequence[int]]) -> np.ndarray:
    """The colour of each class id, uint8 (256, 3): black without one, white-grey where ignored."""
    colours = np.zeros((256, 3), dtype=np.uint8)
    colours[: len(palette)] = palette
    colours[IGNORE] = IGNORED_COLOUR
    return colours


def write_label(
    path: str | Path, label: np.ndarray, palette: tuple[tuple[int, int, int], ...]
) -> None:
    """Write class ids (uint8 HxW, 255 ignored) as a palette PNG, atomically.

    Class c is drawn in `palette[c]`, 255 in white-grey.
    """
    image = Image.fromarray(np.ascontiguousarray(label, dtype=np.uint8), mode="P")
    image.putpalette(colour_table(palette).tobytes())
    with atomic(path) as temporary:
        image.save(temporary, format="PNG")
