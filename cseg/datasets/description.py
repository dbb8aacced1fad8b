"""The description of a user's own dataset: its keys, checked, as a record."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from cseg.settings.keys import build

INLINE = "dataset_options: folder: description"
UNSTATED = "not stated"
VALUES = (int, list, str)
KEYS: dict[str, Any] = {  # of the description, with their types
    "name": str, "classes": list, "ignore": VALUES, "images": str, "labels": (str, list),
    "label_suffix": str, "labels_by": str, "background": str, "train": str, "val": str,
    "val_share": float, "split_seed": int, "unlabelled": str, "image_range": list,
    "orientation": str, "max_megapixels": int, "licence": str, "citation": str,
}  # fmt: skip
CLASS_KEYS = {"name": str, "colour": list, "values": VALUES}
CHOICES = {"labels_by": ("stored", "shown"), "orientation": ("upright", "stored")}
BACKGROUNDS = ("background", "_background_")


@dataclass(frozen=True, kw_only=True)
class Options(SharedOptions):
    """The options of the dataset `folder`."""

    description: Any = ""  # the path of the YAML file, or its keys


@dataclass(frozen=True)
class Description:
    """A dataset as its user describes it; folders and lists as written, below data_dir."""

    place: str  # where the description is, for messages
    info: DatasetInfo  # classes, and how files are read
    label_names: Mapping[str, int]  # name of a polygon's label -> class id or 255
    # class id, or 255, of pixels that no polygon covers; None if nobody said
    background: int | None
    images: str  # folder of the images
    labels: tuple[str, ...]  # folder of the labels, or COCO files
    # what follows an image's id in its label's name; None takes what is there
    label_suffix: str | None
    lists: Mapping[str, str]  # list file by split; empty if `val_share` divides the images
    val_share: float  # share of the images for validation
    split_seed: int  # seed of that division
    unlabelled: str  # folder or list of images without label; empty if there is none
    relax_counts: bool  # whether lists may name images that are not there


def read_description(options: Mapping[str, Any]) -> Description:
    """Read and check a description: a path from the working directory, or the keys themselves.

    Raises:
        ConfigError: no description, or one with an unknown key, a wrong type, a value in two
            classes; names file, key and remedy.
    """
    chosen = build(Options, options, "dataset_options.folder")
    place, keys = _located(chosen.description)
    _check_keys(place, "", keys, KEYS, required=("classes",))
    for key, choices in CHOICES.items():
        if keys.get(key, choices[0]) not in choices:
            raise _wrong(place, key, f"is {keys[key]!r}; it must be {' or '.join(choices)}")
    _check_split(place, keys)
    for key in ("train", "val", "unlabelled", "labels"):
        if any("{" in str(name) or "}" in str(name) for name in _as_list(keys.get(key, ""))):
            raise _wrong(place, key, "has braces, which Snakemake takes for wildcards")
    meanings = _Meanings(place)
    if "ignore" in keys:
        for value in _as_list(keys["ignore"]):
            meanings.add("ignore", value, IGNORE)
    names, palette = _classes(place, keys["classes"], meanings)
    by_default = "ignore" not in keys and IGNORE not in meanings.numbers
    info = DatasetInfo(
        name=keys.get("name", "folder"),
        class_names=names,
        palette=palette,
        label_map=meanings.numbers | ({IGNORE: IGNORE} if by_default else {}),
        split_sizes={},
        licence=keys.get("licence", UNSTATED),
        citation=keys.get("citation", UNSTATED),
        colour_map=meanings.colours,
        ignore_default=by_default,
        labels_by=keys.get("labels_by", ""),
        image_range=_image_range(place, keys.get("image_range")),
        orientation=keys.get("orientation", ""),
        max_megapixels=keys.get("max_megapixels", MEGAPIXELS),
    )
    return Description(
        place=place,
        info=info,
        label_names={name: c for c, name in enumerate(names)} | meanings.names,
        background=_background(place, keys, names),
        images=keys.get("images", "images"),
        labels=tuple(map(str, _as_list(keys.get("labels", "labels")))),
        label_suffix=keys.get("label_suffix"),
        lists={split: keys[split] for split in ("train", "val") if split in keys},
        val_share=keys.get("val_share", 0.0),
        split_seed=keys.get("split_seed", 0),
        unlabelled=keys.get("unlabelled", ""),
        relax_counts=chosen.relax_counts,
    )


def _located(description: Any) -> tuple[str, dict[str, Any]]:
    """Where the description is, and its keys."""
    if isinstance(description, Mapping):
        return INLINE, dict(description)
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

    def __init__(self, place: str) -> None:
        self.place = place
        self.numbers: dict[int, int] = {}
        self.colours: dict[int, int] = {}
        self.names: dict[str, int] = {}

    def add(self, where: str, value: Any, c: int) -> None:
        """Add a number, a colour [r, g, b], the word transparent or a polygon's label."""
        known: dict[Any, int] = self.numbers
        key: Any = value
        if isinstance(value, list):
            key, known = int.from_bytes(colour(self.place, where, value)), self.colours
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
    place: str, entries: list, meanings: _Meanings
) -> tuple[tuple[str, ...], tuple[tuple[int, int, int], ...]]:
    """Names and colours of the classes; what their values mean goes to `meanings`."""
    if not entries:
        raise _wrong(place, "classes", "is empty")
    if len(entries) > MAX_CLASSES:
        raise _wrong(place, "classes", f"names {len(entries)} classes, more than {MAX_CLASSES}")
    names, palette = [], list(default_colours(len(entries)))
    for number, entry in enumerate(entries):
        where = f"classes[{number}]"
        if not isinstance(entry, dict):
            raise _wrong(place, where, "must be a mapping with name, colour and values")
        _check_keys(place, where, entry, CLASS_KEYS, required=("name",))
        names.append(entry["name"])
        if "colour" in entry:
            palette[number] = colour(place, f"{where}.colour", entry["colour"])
            meanings.add(f"{where}.colour", entry["colour"], number)
        for value in _as_list(entry.get("values", number)):
            meanings.add(where, value, number)
    if len(set(names)) < len(names):
        raise _wrong(place, "classes", "names a class twice")
    return tuple(names), tuple(palette)


def _background(place: str, keys: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    stated = keys.get("background")
    if stated == "ignore":
        return IGNORE
    if stated is not None and stated not in names:
        raise _wrong(place, "background", f"is {stated!r}; it must be a class or ignore")
    wanted = (stated,) if stated else BACKGROUNDS
    return next((c for c, name in enumerate(names) if name in wanted), None)


def _check_split(place: str, keys: Mapping[str, Any]) -> None:
    if "val_share" in keys:
        if "train" in keys or "val" in keys:
            raise _wrong(place, "val_share", "stands beside a list; keep one of the two")
        if not 0 < keys["val_share"] < 1:
            raise _wrong(place, "val_share", "must lie between 0 and 1")
    elif not ("train" in keys and "val" in keys):
        raise _wrong(place, "train and val", "are missing; name two list files, or give val_share")


def _image_range(place: str, value: Any) -> tuple[float, float] | None:
    if value is None:
        return None
    if len(value) != 2 or not all(type(v) in (int, float) for v in value) or value[0] >= value[1]:
        raise _wrong(place, "image_range", "must be two numbers, the lower one first")
    return float(value[0]), float(value[1])


def _check_keys(place: str, where: str, entry: dict, known: Mapping, required: tuple) -> None:
    for key, value in entry.items():
        name = f"{where}.{key}" if where else str(key)
        if key not in known:
            raise _wrong(place, name, f"is unknown; there are {', '.join(known)}")
        if not isinstance(value, known[key]) or isinstance(value, bool):
            kinds = known[key] if isinstance(known[key], tuple) else (known[key],)
            raise _wrong(place, name, f"must be of type {' or '.join(k.__name__ for k in kinds)}")
    for key in required:
        if key not in entry:
            raise _wrong(place, f"{where}.{key}" if where else key, "is missing")


def colour(place: str, where: str, value: list) -> tuple[int, int, int]:
    """Check a colour, three whole numbers 0..255."""
    if len(value) != 3 or not all(type(v) is int and 0 <= v <= 255 for v in value):
        raise _wrong(place, where, "must be three whole numbers from 0 to 255")
    return value[0], value[1], value[2]


def _as_list(value: Any) -> list:
    return value if isinstance(value, list) else [value]


def _wrong(place: str, key: str, what: str) -> ConfigError:
    return ConfigError(f"{place}: {key} {what}; correct it there")
