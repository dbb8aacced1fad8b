"""Look at one image-and-label pair: is it sound, and what is in it."""

import zlib
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from cseg.datasets.decode import Decoded, open_image
from cseg.datasets.label_values import Meaning, RawLabel, meaning_of, read_raw_label
from cseg.datasets.reading import is_deep, to_rgb
from cseg.datasets.samples import IGNORE, DatasetInfo, Sample
from cseg.errors import DataError

SAMPLED = 128  # pixels a side, taken from an image to find the same picture again
SKETCH = 16  # grey cells a side that these are averaged to
STEP = 8  # between the samples whose checksum is kept


class Pair(NamedTuple):
    """What the index records of a sound pair; of an unlabelled image, no label and no pixels."""

    split: str
    id: str
    image: Path
    label: Path | None
    width: int
    height: int
    image_sha256: str
    label_sha256: str
    pixels: tuple[int, ...]
    pixels_ignored: int
    # what only the comparison with other pairs can judge:
    crc: int  # of a few of the image's pixels; the same picture has the same
    sketch: bytes  # grey levels of cells of the image; similar pictures have similar ones
    # the largest value of an image of more than 8 bits, of which range; None for others
    peak: tuple[float, float] | None
    meaning: Meaning | None  # of the label's values; None without label


class Problem(NamedTuple):
    """What is wrong with a file: a sentence with its remedy, the file, and what makes it alike."""

    text: str
    file: Path
    kind: str


def inspect_pair(sample: Sample, info: DatasetInfo) -> Pair | list[Problem]:
    """Decode the files of `sample` completely and count the label's pixels per class.

    A sound pair gives its record, another one the problems found.
    """
    problems: list[Problem] = []
    image = raw = meaning = None
    try:
        image = open_image(sample.image, "image", info)
        if is_deep(image):
            to_rgb(sample.image, image, info)  # refuses a wrong value anywhere
        few = image.image.resize((SAMPLED, SAMPLED), Image.Resampling.NEAREST)
        sampled = to_rgb(sample.image, replace(image, image=few), info)
    except DataError as error:
        problems.append(_problem(str(error), sample.image, sample))
    if sample.label is not None:
        try:
            raw = read_raw_label(sample.label, info)
            meaning = meaning_of(raw, info)
        except DataError as error:
            problems.append(_problem(str(error), sample.label, sample))
    if image is not None and raw is not None:
        misfit = _misfit(sample.image, image, raw, info)
        problems += [_problem(misfit, raw.path, sample)] if misfit else []
    if problems or image is None:
        return problems
    pixels = [0] * (IGNORE + 1)  # by class id
    if meaning is not None:
        for value, c in meaning.classes.items():
            pixels[c] += meaning.counts[value]
    cells = Image.fromarray(sampled).convert("L")
    return Pair(
        split=sample.split,
        id=sample.id,
        image=sample.image,
        label=sample.label,
        width=image.image.width,
        height=image.image.height,
        image_sha256=image.sha256,
        label_sha256=raw.file.sha256 if raw else "",
        pixels=tuple(pixels[: info.num_classes]),
        pixels_ignored=pixels[IGNORE],
        crc=zlib.crc32(sampled[::STEP, ::STEP].tobytes()),
        sketch=cells.resize((SKETCH, SKETCH), Image.Resampling.BOX).tobytes(),
        peak=_peak(image, info),
        meaning=meaning,
    )


def _problem(text: str, file: Path, sample: Sample) -> Problem:
    kind = text
    for path in (sample.image, sample.label):
        kind = kind.replace(str(path), "")
    return Problem(text, file, "".join("#" if letter.isdigit() else letter for letter in kind))


def _peak(image: Decoded, info: DatasetInfo) -> tuple[float, float] | None:
    if image.bits <= 8 or info.image_range is not None:
        return None
    most = 2**image.bits - 1
    if image.image.mode.startswith("I"):
        return float(np.asarray(image.image).max()), float(most)
    return float(np.asarray(image.image).max()) * most / 255, float(most)


def _misfit(path: Path, image: Decoded, raw: RawLabel, info: DatasetInfo) -> str:
    """How a label does not fit its image, as a sentence; empty where it fits."""
    wanted, size = image.image.size, raw.values_HW.shape[::-1]
    turned = image.orientation != 1 and raw.file.orientation == 1 and not info.orientation
    where = f"image {path} has the orientation tag {image.orientation} (EXIF) and its label"
    if turned and size == image.stored_size != wanted:
        return (
            f"{where} {raw.path} fits the pixels as they are stored, not upright; set orientation: "
            "stored in the description, or save the image without the tag"
        )
    if size != wanted:
        return (
            f"label {raw.path} is {size[0]}x{size[1]} but its image {path} "
            f"is {wanted[0]}x{wanted[1]}; put in the label that belongs to the image"
        )
    if turned and size == image.stored_size:
        return (
            f"{where} {raw.path} would fit upright and as stored; look at both and set "
            "orientation: upright or stored in the description, or save the image without the tag"
        )
    return ""
