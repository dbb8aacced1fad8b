"""Your own images and label PNGs, described in YAML (docs/datasets.md has an example).

The description is a file of its own, or stands in the config itself.
"""

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from cseg.datasets.list_files import read_lines
from cseg.datasets.options import check_options, require_folder
from cseg.datasets.samples import IGNORE, SPLITS, DatasetInfo, Sample, default_colours
from cseg.errors import ConfigError, DataError, reason

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
INLINE = "dataset_options: folder: description"
DEFAULTS: dict[str, Any] = {"description": "", "relax_counts": False}
KEYS = {  # of the description, with their types
    "name": str, "classes": list, "ignore": (int, list), "images": str, "labels": str,
    "label_suffix": str, "train": str, "val": str, "val_share": float, "split_seed": int,
    "licence": str, "citation": str,
}  # fmt: skip
CLASS_KEYS = {"name": str, "colour": list, "values": (int, list)}


def info(options: Mapping[str, Any]) -> DatasetInfo:
    """Facts from `description`: a path from the working directory, or the description itself.

    Raises:
        ConfigError: no description, or one with an unknown key, a wrong type, a value in two
            classes; names file, key and remedy.
    """
    path, described = _description(options)
    names, colours, label_map = [], [], {}
    for value in _as_list(described.get("ignore", IGNORE)):
        label_map[_label_value(path, "ignore", value)] = IGNORE
    spare = default_colours(len(described["classes"]))
    for number, entry in enumerate(described["classes"]):
        where = f"classes[{number}]"
        if not isinstance(entry, dict):
            raise _wrong(path, where, "must be a mapping with name, colour and values")
        _check_keys(path, where, entry, CLASS_KEYS, required=("name",))
        names.append(entry["name"])
        colours.append(_colour(path, where, entry.get("colour", list(spare[number]))))
        for value in _as_list(entry.get("values", number)):
            value = _label_value(path, where, value)
            if value in label_map:
                raise _wrong(path, where, f"claims the label value {value}, which is taken")
            label_map[value] = number
    if len(set(names)) < len(names):
        raise _wrong(path, "classes", "names a class twice")
    return DatasetInfo(
        name=described.get("name", "folder"),
        class_names=tuple(names),
        palette=tuple(colours),
        label_map=label_map,
        split_sizes={},
        licence=described.get("licence", "not stated"),
        citation=described.get("citation", "not stated"),
    )


def fetch(root: Path, work_dir: Path, options: Mapping[str, Any]) -> None:
    """Check that the image and label folders are there; nothing is downloaded.

    Raises:
        DataError: names the folder that is missing.
    """
    require_folder(root)
    place, described = _description(options)
    for key in ("images", "labels"):
        folder = root / described.get(key, key)
        if not folder.is_dir():
            raise DataError(
                f"the folder {folder} does not exist; correct data_dir, or the key {key} in {place}"
            )


def sources(root: Path, options: Mapping[str, Any]) -> list[Path]:
    """List the files by which the dataset is described: the YAML file and the lists."""
    place, described = _description(options)
    lists = [root / described[split] for split in SPLITS if split in described]
    return lists if place == INLINE else [Path(place), *lists]


def samples(root: Path, work_dir: Path, options: Mapping[str, Any]) -> list[Sample]:
    """List the pairs that the lists name, or all images, divided by `val_share`.

    Raises:
        DataError: a list is missing, or names images that are not there; gives all of them.
    """
    _, described = _description(options)
    images = root / described.get("images", "images")
    labels = root / described.get("labels", "labels")
    suffix = described.get("label_suffix", ".png")
    files = [
        file.relative_to(images)
        for file in sorted(images.rglob("*"))
        if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
    ]
    if "val_share" in described:
        ids = {_id(file) for file in files}
        val = _val_ids(ids, described["val_share"], described.get("split_seed", 0))
        chosen = {
            "train": [file for file in files if _id(file) not in val],
            "val": [file for file in files if _id(file) in val],
        }
    else:
        known: dict[str, Path] = {}
        for file in files:
            known[_id(file)] = known[file.as_posix()] = file
        chosen = {split: _listed(root / described[split], known, images) for split in SPLITS}
    return [
        Sample(_id(file), split, images / file, labels / f"{_id(file)}{suffix}")
        for split in SPLITS
        for file in chosen[split]
    ]


def _id(file: Path) -> str:
    return file.with_suffix("").as_posix()


def _val_ids(ids: set[str], share: float, seed: int) -> set[str]:
    """Choose the `share` of the ids (rounded up) whose sha256 of "{seed}/{id}" come first."""
    ordered = sorted(ids, key=lambda i: hashlib.sha256(f"{seed}/{i}".encode()).hexdigest())
    return set(ordered[: math.ceil(share * len(ids))])


def _listed(path: Path, known: Mapping[str, Path], images: Path) -> list[Path]:
    lines = read_lines(path)
    absent = [line for line in lines if line not in known]
    if absent:
        shown = ", ".join(absent[:10]) + (", ..." if len(absent) > 10 else "")
        raise DataError(
            f"the list {path} names {len(absent)} images that are not in {images}: {shown}; "
            "restore them or take them off the list"
        )
    return [known[line] for line in lines]


def _description(options: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Where the description stands, and its checked keys."""
    inline = options.get("description")
    if isinstance(inline, Mapping):
        check_options("folder", {**options, "description": INLINE}, DEFAULTS)
        path, described = INLINE, dict(inline)
    else:
        path = check_options("folder", options, DEFAULTS)["description"]
        described = _read_description(path)
    _check_keys(path, "", described, KEYS, required=("classes",))
    if not described["classes"]:
        raise _wrong(path, "classes", "is empty")
    if "val_share" in described:
        if "train" in described or "val" in described:
            raise _wrong(path, "val_share", "stands beside a list; keep one of the two")
        if not 0 < described["val_share"] < 1:
            raise _wrong(path, "val_share", "must lie between 0 and 1")
    elif not ("train" in described and "val" in described):
        raise _wrong(path, "train and val", "are missing; name two list files, or give val_share")
    return path, described


def _read_description(path: str) -> dict[str, Any]:
    if not path:
        raise ConfigError(
            f"{INLINE} is missing; name the YAML file that describes your classes and lists"
        )
    try:
        described = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(
            f"cannot read {path} ({reason(error)}); correct the file, or {INLINE}"
        ) from error
    if not isinstance(described, dict):
        raise ConfigError(f"{path} is no mapping of keys; see docs/datasets.md for an example")
    return described


def _check_keys(path: str, where: str, entry: dict, known: Mapping, required: tuple) -> None:
    for key, value in entry.items():
        place = f"{where}.{key}" if where else str(key)
        if key not in known:
            raise _wrong(path, place, f"is unknown; there are {', '.join(known)}")
        if not isinstance(value, known[key]) or isinstance(value, bool):
            kinds = known[key] if isinstance(known[key], tuple) else (known[key],)
            raise _wrong(path, place, f"must be of type {' or '.join(k.__name__ for k in kinds)}")
    for key in required:
        if key not in entry:
            raise _wrong(path, f"{where}.{key}" if where else key, "is missing")


def _label_value(path: str, where: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**16:
        raise _wrong(path, where, f"has the label value {value!r}; they are whole numbers from 0")
    return value


def _colour(path: str, where: str, value: list) -> tuple[int, int, int]:
    if len(value) != 3 or not all(type(v) is int and 0 <= v <= 255 for v in value):
        raise _wrong(path, f"{where}.colour", "must be three whole numbers from 0 to 255")
    return tuple(value)


def _as_list(value: Any) -> list:
    return value if isinstance(value, list) else [value]


def _wrong(path: str, key: str, what: str) -> ConfigError:
    return ConfigError(f"{path}: {key} {what}; correct it there")
