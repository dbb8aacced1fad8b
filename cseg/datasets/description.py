"""The description of a user's own dataset: its keys, checked, as a record."""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from cseg.datasets.samples import (
    IGNORE,
    MAX_CLASSES,
    MEGAPIXELS,
    TRANSPARENT,
    DatasetInfo,
    SharedOptions,
    colour_name,
    default_colours,
)
from cseg.errors import ConfigError, reason
from cseg.settings.keys import build, key

INLINE = "dataset_options: folder: description"
OUTLINES = ".json"  # the suffix of files with outlines
UNPRINTED = ("Cc", "Cs", "Zl", "Zp")  # Unicode's categories of controls, surrogates, line ends
UNSTATED = "not stated"
BACKGROUNDS = ("background", "_background_")


@dataclass(frozen=True, kw_only=True)
class Options(SharedOptions):
    """The options of the dataset `folder`."""

    description: Any = ""  # the path of the YAML file, or its keys


@dataclass(frozen=True, kw_only=True)
class ClassKeys:
    """The keys of a class."""

    name: str = ""
    colour: tuple[int, int, int] | None = key("RGB colour", default=None, ge=0, le=255)
    values: Any = None  # number, colour, name of a polygon's label, or a list; None for its place


@dataclass(frozen=True, kw_only=True)
class DescriptionKeys:
    """The keys of a description; folders and lists as written, below data_dir."""

    name: str = "folder"  # name of the dataset
    classes: tuple[ClassKeys, ...] = ()
    ignore: Any = None  # values of ignored pixels, as those of a class; None for 255
    images: str = "images"  # folder of the images
    labels: Any = "labels"  # folder of the labels, or one or several COCO files
    # what follows an image's id in its label's name; None takes what is there
    label_suffix: str | None = None
    labels_by: Literal["stored", "shown"] | None = None  # as `DatasetInfo` has it
    background: str | None = None  # class of pixels that no polygon covers, or ignore
    train: str = ""  # list files of the splits, unless `val_share` divides the images
    val: str = ""
    val_share: float | None = key("share of images for validation", default=None, gt=0, lt=1)
    split_seed: int = 0  # seed of that division
    unlabelled: str = ""  # folder or list of images without label; empty if there is none
    # as `DatasetInfo` has them
    image_range: tuple[float, float] | None = None
    orientation: Literal["upright", "stored"] | None = None
    max_megapixels: int = MEGAPIXELS
    licence: str = UNSTATED
    citation: str = UNSTATED


@dataclass(frozen=True)
class Description:
    """A dataset as its user describes it."""

    place: str  # where the description is, for messages
    keys: DescriptionKeys  # what it says
    info: DatasetInfo  # what that means: classes, and how files are read
    label_names: Mapping[str, int]  # name of a polygon's label -> class id or 255
    # class id, or 255, of pixels that no polygon covers; None if nobody said
    background: int | None


def read_description(options: Options) -> Description:
    """Read and check a description: a path from the working directory, or the keys themselves.

    Raises:
        ConfigError: no description, or one with an unknown key, a wrong type, a value in two
            classes; names file, key and remedy.
    """
    place, content = _located(options.description)
    keys = build(DescriptionKeys, content, place)
    if keys.val_share and (keys.train or keys.val):
        raise _wrong(place, "val_share", "stands beside a list; keep one of the two")
    if not (keys.val_share or (keys.train and keys.val)):
        raise _wrong(place, "train and val", "are missing; name two list files, or give val_share")
    for name in ("train", "val", "unlabelled", "labels"):
        if {"{", "}"} & set(str(getattr(keys, name))):
            raise _wrong(place, name, "has braces, which Snakemake takes for wildcards")
    _check_name(place, "name", keys.name)
    labels = as_list(keys.labels)
    one = len(labels) == 1 and isinstance(labels[0], str | int)
    if not one and not (labels and all(str(entry).endswith(OUTLINES) for entry in labels)):
        what = f"is {keys.labels!r}; it must be one folder, or COCO files alone ({OUTLINES})"
        raise _wrong(place, "labels", what)
    if keys.image_range and keys.image_range[0] >= keys.image_range[1]:
        raise _wrong(place, "image_range", "must be two numbers, the lower one first")
    meanings = _Meanings(place, keys.classes)
    for value in [] if keys.ignore is None else as_list(keys.ignore):
        meanings.add("ignore", value, IGNORE)
    names, palette = _classes(place, keys.classes, meanings)
    by_default = keys.ignore is None and IGNORE not in meanings.numbers
    info = DatasetInfo(
        name=keys.name,
        class_names=names,
        palette=palette,
        label_map=meanings.numbers | ({IGNORE: IGNORE} if by_default else {}),
        split_sizes={},
        licence=keys.licence,
        citation=keys.citation,
        colour_map=meanings.colours,
        ignore_default=by_default,
        labels_by=keys.labels_by or "",
        image_range=keys.image_range,
        orientation=keys.orientation or "",
        max_megapixels=keys.max_megapixels,
    )
    background = _background(place, keys.background, names)
    return Description(place, keys, info, meanings.names, background)


def _located(description: Any) -> tuple[str, Mapping[str, Any]]:
    """Where the description is, and its keys."""
    if isinstance(description, Mapping):
        return INLINE, description
    if not description:
        raise ConfigError(
            f"{INLINE} is missing; name the YAML file that describes your classes and lists"
        )
    path = str(description)
    try:
        keys = yaml.safe_load(Path(path).expanduser().read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(
            f"cannot read {path} ({reason(error)}); correct the file, or {INLINE}"
        ) from error
    if not isinstance(keys, dict):
        raise ConfigError(f"{path} is no mapping of keys; see docs/datasets.md for an example")
    return path, keys


class _Meanings:
    """What numbers, colours and names in label files mean, each once."""

    def __init__(self, place: str, classes: Sequence[ClassKeys]) -> None:
        self.place = place
        self.numbers: dict[int, int] = {}
        self.colours: dict[int, int] = {}
        # a class's own name is a polygon's label, too
        self.names = {entry.name: c for c, entry in enumerate(classes)}

    def add(self, where: str, value: Any, c: int) -> None:
        """Add a number, a colour [r, g, b], the word transparent or a polygon's label."""
        known: dict[Any, int] = self.numbers
        key: Any = value
        if isinstance(value, list):
            if len(value) != 3 or not all(type(v) is int and 0 <= v <= 255 for v in value):
                raise _wrong(self.place, where, "must be three whole numbers from 0 to 255")
            key, known = int.from_bytes(value), self.colours
        elif value == "transparent":
            key, known = TRANSPARENT, self.colours
        elif isinstance(value, str):
            known = self.names
        elif type(value) is not int or not -(2**31) <= value < 2**31:
            what = f"has the label value {value!r}, which is no whole number of 32 bits"
            raise _wrong(self.place, where, what)
        if known.get(key, c) != c:
            named = colour_name(key) if known is self.colours else repr(value)
            raise _wrong(self.place, where, f"claims the label value {named}, which is taken")
        known[key] = c


def _classes(
    place: str, entries: Sequence[ClassKeys], meanings: _Meanings
) -> tuple[tuple[str, ...], tuple[tuple[int, int, int], ...]]:
    """Names and colours of the classes; what their values mean goes to `meanings`."""
    if not entries:
        raise _wrong(place, "classes", "is missing or empty")
    if len(entries) > MAX_CLASSES:
        raise _wrong(place, "classes", f"names {len(entries)} classes, more than {MAX_CLASSES}")
    names, palette = [entry.name for entry in entries], list(default_colours(len(entries)))
    for number, entry in enumerate(entries):
        where = f"classes.{number}"
        if not entry.name:
            raise _wrong(place, f"{where}.name", "is missing or empty")
        _check_name(place, f"{where}.name", entry.name)
        if entry.colour:
            palette[number] = entry.colour
            meanings.add(f"{where}.colour", list(entry.colour), number)
        for value in as_list(number if entry.values is None else entry.values):
            meanings.add(where, value, number)
    if len(set(names)) < len(names):
        raise _wrong(place, "classes", "names a class twice")
    return tuple(names), tuple(palette)


def _check_name(place: str, key: str, name: str) -> None:
    """Refuse a name that would not come back from a table as it went in."""
    if name != name.strip() or any(unicodedata.category(c) in UNPRINTED for c in name):
        what = f"is {name!r}; it must be without control characters, line ends and outer blanks"
        raise _wrong(place, key, what)


def _background(place: str, stated: str | None, names: tuple[str, ...]) -> int | None:
    if stated == "ignore":
        return IGNORE
    if stated is not None and stated not in names:
        raise _wrong(place, "background", f"is {stated!r}; it must be a class or ignore")
    wanted = (stated,) if stated else BACKGROUNDS
    return next((c for c, name in enumerate(names) if name in wanted), None)


def as_list(value: Any) -> list:
    """The list, or a list of the one value."""
    return value if isinstance(value, list) else [value]


def _wrong(place: str, key: str, what: str) -> ConfigError:
    return ConfigError(f"{place}: {key} {what}; correct it there")
