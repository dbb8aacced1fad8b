"""Look at one image-and-label pair: is it sound, and what is in it."""

import hashlib
from pathlib import Path
from typing import NamedTuple

from cseg.datasets.samples import (
    IGNORE,
    DatasetInfo,
    Sample,
    count_values,
    open_image,
    read_raw_label,
    unknown_values_message,
)
from cseg.errors import DataError


class Pair(NamedTuple):
    """What the index records of a sound pair; pixels per class and the ignored ones come last."""

    split: str
    id: str
    image: Path
    label: Path
    width: int
    height: int
    image_sha256: str
    label_sha256: str
    pixels: tuple[int, ...]
    pixels_ignored: int


def inspect_pair(sample: Sample, info: DatasetInfo) -> Pair | list[str]:
    """Decode both files of `sample` completely and count the label's pixels per class.

    Returns:
        The record of a sound pair, else the problems found, each a sentence with its remedy.
    """
    problems = []
    size = None
    raw = None
    try:
        image_data = _read(sample.image, "image")
        size = open_image(sample.image, data=image_data).size
    except DataError as error:
        problems.append(str(error))
    try:
        label_data = _read(sample.label, "label")
        raw = read_raw_label(sample.label, label_data)
    except DataError as error:
        problems.append(str(error))
    if size is not None and raw is not None and size != raw.shape[::-1]:
        problems.append(
            f"label {sample.label} is {raw.shape[1]}x{raw.shape[0]} but its image {sample.image} "
            f"is {size[0]}x{size[1]}; put in the label that belongs to the image"
        )
    counts = count_values(raw) if raw is not None else {}
    unknown = {value: count for value, count in counts.items() if value not in info.label_map}
    if unknown:
        problems.append(unknown_values_message(sample.label, unknown))
    if problems or size is None:
        return problems
    pixels = dict.fromkeys([*range(info.num_classes), IGNORE], 0)
    for value, count in counts.items():
        pixels[info.label_map[value]] += count
    return Pair(
        split=sample.split,
        id=sample.id,
        image=sample.image,
        label=sample.label,
        width=size[0],
        height=size[1],
        image_sha256=hashlib.sha256(image_data).hexdigest(),
        label_sha256=hashlib.sha256(label_data).hexdigest(),
        pixels=tuple(pixels[c] for c in range(info.num_classes)),
        pixels_ignored=pixels[IGNORE],
    )


def _read(path: Path, kind: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        reason = "is missing" if isinstance(error, FileNotFoundError) else "cannot be read"
        raise DataError(f"{kind} {path} {reason}; restore it or take it off the list") from error
