"""What a folder of images and labels holds, as far as an experiment needs to know."""

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from cseg.datasets import folder
from cseg.datasets.decode import open_image
from cseg.datasets.image_files import image_id
from cseg.datasets.pairs import Pair, Problem, inspect_pair
from cseg.datasets.polygons import read_coco, read_labelme
from cseg.datasets.reading import is_deep, read_image
from cseg.datasets.samples import SPLITS, DatasetInfo
from cseg.datasets.whole import DARK
from cseg.errors import DataError
from cseg.init.classes import (
    LabelKinds,
    guess_classes,
    look_at_images,
    look_at_outlines,
    read_held,
)
from cseg.init.files import OUTLINES, Files, find_folders, pair_files
from cseg.init.names import read_names
from cseg.storage.files import write_text

A = TypeVar("A")
B = TypeVar("B")
ANSWERS = (  # to what a pair's problem asks for; the contact sheet shows whether they are right
    ("set orientation: stored", "orientation", "stored"),
    ("set orientation: upright", "orientation", "upright"),
    ("set labels_by: stored", "labels_by", "stored"),
)
MOST = 1000  # pairs that are opened; the index stage opens all of them
LEAST = 3  # pairs that make an experiment: two to learn from and one to measure on
VAL_SHARE = 0.2
SPLITS_TRIED = 50  # until every class is on both sides
WIDE = ("I", "F")  # Pillow's modes of 32 bits, whose range is anybody's


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What was found in a folder."""

    files: Files  # images, labels and what is left over
    # keys of the dataset `folder` that say what the files are, without the split
    description: Mapping[str, Any]
    info: DatasetInfo  # what they mean
    pairs: tuple[Pair, ...]  # those that were opened and are sound; no picture twice
    problems: tuple[Problem, ...]  # what is wrong with others
    twice: tuple[Path, ...]  # images whose picture another pair has
    kinds: LabelKinds  # what the labels are
    said: tuple[str, ...]  # sentences on how the classes were guessed

    @property
    def root(self) -> Path:
        """The folder that holds the images' folder: data_dir of the config."""
        return self.files.images.absolute().parent

    def of_class(self, c: int) -> tuple[int, int]:
        """How many pixels a class has, and on how many images."""
        pixels = [pair.pixels[c] for pair in self.pairs if pair.pixels[c]]
        return sum(pixels), len(pixels)

    @property
    def usable(self) -> list[Path]:
        """All labelled images but those that were opened and are not sound."""
        sound = {pair.image for pair in self.pairs}
        opened = set(opened_images(self.files))
        return [
            path for path in self.files.labelled
            if path not in opened or self.files.images.absolute() / path in sound
        ]  # fmt: skip


def look(images: Path, labels: Path | None, *, name: str, work: Path) -> Seen:
    """Find out what a folder holds.

    `images` may hold folders such as images and labels; `labels` is a folder or a COCO file, if it
    is not in or next to `images`. Labels drawn from outlines go to `work`.

    Raises:
        DataError: the folder cannot be used; says what to do.
    """
    files = pair_files(*find_folders(images, labels))
    kinds = _label_kinds(files)
    around = (files.labels, files.labels.absolute().parent, files.images)
    classes, said = guess_classes(kinds, read_names([path for path in around if path.is_dir()]))
    description = {"name": name, **_places(files), **classes}
    limits = image_range(in_threads(read_extent, [files.images / i for i in opened_images(files)]))
    if limits:
        description["image_range"] = limits
    found, problems, info = _inspect(files, description, work)
    for request, key, value in ANSWERS:
        if any(request in problem.text for problem in problems):
            description[key] = value
            found, problems, info = _inspect(files, description, work)
    pictures = _pictures(found, info)
    first = dict(zip(reversed(pictures), reversed(found)))
    sound = tuple(pair for picture, pair in zip(pictures, found) if first[picture] is pair)
    if len(sound) < LEAST:
        raise DataError(
            problems[0].text if problems and not found else
            f"{len(sound)} images of {files.images} have a label that can be used, and an "
            f"experiment needs {LEAST}; add labels to more of them, ten are a good start"
        )  # fmt: skip
    return Seen(
        files=files, description=description, info=info, kinds=kinds, pairs=sound,
        problems=tuple(problems), said=tuple(said),
        twice=tuple(pair.image for picture, pair in zip(pictures, found)
                    if first[picture] is not pair),
    )  # fmt: skip


def _pictures(pairs: Sequence[Pair], info: DatasetInfo) -> list[Hashable]:
    """What tells the images of pairs apart: a checksum of a few pixels, or of all if it is not one.

    Images that are black but for small things share that of a few.
    """
    counted = Counter(pair.crc for pair in pairs)
    alike = [pair.image for pair in pairs if counted[pair.crc] > 1]
    whole = dict(zip(alike, in_threads(partial(_checksum, info=info), alike)))
    return [whole.get(pair.image, pair.crc) for pair in pairs]


def _checksum(path: Path, info: DatasetInfo) -> tuple[tuple[int, ...], bytes]:
    image_HW3 = read_image(path, info)
    return image_HW3.shape, hashlib.sha256(image_HW3.tobytes()).digest()


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
    if not is_deep(decoded):
        return None
    values = np.asarray(decoded.image)
    finite = values[np.isfinite(values)]
    if not finite.size:
        return None
    wide = decoded.image.mode in WIDE and decoded.format != "PNG"
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


def _inspect(
    files: Files, description: Mapping[str, Any], work: Path
) -> tuple[list[Pair], list[Problem], DatasetInfo]:
    """Sound pairs and problems, under a description."""
    lists = {split: str(work.absolute() / f"{split}.txt") for split in SPLITS}
    write_list(Path(lists["train"]), opened_images(files))
    write_list(Path(lists["val"]), ())
    root = files.images.absolute().parent
    options = folder.Options(description={**description, **lists})
    folder.fetch(root, work, options)
    info, samples = folder.info(options), folder.samples(root, work, options)
    labelled = [sample for sample in samples if sample.label]
    inspected = list(in_threads(partial(inspect_pair, info=info), labelled))
    pairs = [each for each in inspected if isinstance(each, Pair)]
    problems = [one for each in inspected if not isinstance(each, Pair) for one in each]
    return pairs, problems, info


def opened_images(files: Files) -> tuple[Path, ...]:
    """At most `MOST` of the labelled images, evenly spread."""
    return files.labelled[:: max(1, -(-len(files.labelled) // MOST))]


def write_list(path: Path, images: Sequence[Path]) -> None:
    """Write a list of images, a line each, as the dataset `folder` reads it.

    A name that begins with another sign than a letter, such as #, has ./ before it, so that its
    line is no comment and loses no blank or quotation mark.
    """
    names = [image.as_posix() for image in images]
    write_text(
        path, "".join(f"{'' if n[0].isalnum() or n[0] == '_' else './'}{n}\n" for n in names)
    )


def in_threads(work: Callable[[A], B], items: Sequence[A]) -> Iterator[B]:
    """`work` of each item, in order, on all cores: decoders run outside Python's lock."""
    with ThreadPoolExecutor() as pool:
        yield from pool.map(work, items)


def _label_kinds(files: Files) -> LabelKinds:
    if files.labels.is_file():
        return look_at_outlines(read_coco(files.labels).values())
    paths = [files.labels / files.label_of[image_id(i)] for i in opened_images(files)]
    if files.suffix.lower().endswith(OUTLINES):
        return look_at_outlines(in_threads(read_labelme, paths))
    return look_at_images(in_threads(read_held, paths))


def _places(files: Files) -> dict[str, str]:
    """Keys of the description that say where the files are, below the images' parent folder."""
    root = files.images.absolute().parent
    places = {"images": files.images, "labels": files.labels, "unlabelled": files.more}
    keys = {key: _below(root, place) for key, place in places.items() if place is not None}
    return {**keys, "label_suffix": files.suffix} if files.suffix else keys


def _below(root: Path, path: Path) -> str:
    path = path.absolute()
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


@dataclass(frozen=True, kw_only=True)
class Split:
    """How the usable images are divided: which are measured on, and why those."""

    val: frozenset[Path]  # the validation images, paths below their folder
    # keys of the description, for lists that were there already; else empty
    lists: Mapping[str, str]
    why: str  # in words


def choose_split(seen: Seen) -> Split:
    """The lists of the folder, or a fifth of the images with every class on both sides."""
    listed = {split: f"{split}.txt" for split in SPLITS}
    if all((seen.root / name).is_file() for name in listed.values()):
        options = folder.Options(description={**seen.description, **listed})
        try:
            samples = folder.samples(seen.root, seen.root, options)
        except DataError:
            samples = []
        names = {s.image.relative_to(seen.files.images.absolute()): s.split for s in samples
                 if s.label}  # fmt: skip
        val = frozenset(path for path, split in names.items() if split == "val")
        if val and set(names) == set(seen.usable):
            return Split(val=val, lists=listed, why="by train.txt and val.txt")
    count = max(1, round(VAL_SHARE * len(seen.usable)))
    tries = [
        frozenset(random.Random(seed).sample(sorted(seen.usable), count))
        for seed in range(SPLITS_TRIED)
    ]
    best = min(tries, key=lambda val: _missing(seen, val))
    return Split(val=best, lists={}, why="drawn at random")


def _missing(seen: Seen, val: frozenset[Path]) -> int:
    """How many classes have no pixel to learn from, and how many have none to measure on."""
    sides: tuple[list[tuple[int, ...]], ...] = ([], [])
    for pair in seen.pairs:
        sides[pair.image.relative_to(seen.files.images.absolute()) in val].append(pair.pixels)
    return sum(not any(column) for side in sides for column in zip(*side))
