"""What a dataset is (`DatasetInfo`), what an image-and-label pair is (`Sample`), and their files.

Label maps are uint8 arrays HxW of class ids; 255 marks pixels that take part in nothing.
"""

import hashlib
import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from cseg.errors import ConfigError, DataError, reason
from cseg.storage.files import atomic, read_json

IGNORE = 255
UNKNOWN = 254  # stands for values that are no class, until they are reported
SPLITS = ("train", "val")
UNREADABLE = (  # what Pillow raises on damaged files
    UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError,
    Image.DecompressionBombError,
)  # fmt: skip


@dataclass(frozen=True)
class DatasetInfo:
    """Facts of a dataset that do not depend on which files are present.

    Attributes:
        name: name in the config.
        class_names: one per class, in the order of the class ids 0..C-1.
        palette: one RGB colour (0-255) per class.
        label_map: value in the label file -> class id or 255; every other value is an error.
        split_sizes: official number of images by split, empty where the source names none.
        licence: one line on the terms of use.
        citation: one line naming the work to cite.
        ignore_index: class id of pixels that take part in nothing; always 255.
    """

    name: str
    class_names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    label_map: Mapping[int, int]
    split_sizes: Mapping[str, int]
    licence: str
    citation: str
    ignore_index: int = IGNORE

    @property
    def num_classes(self) -> int:
        """Number of classes C, without the ignored one."""
        return len(self.class_names)


@dataclass(frozen=True)
class Sample:
    """One image with its label map: id (unique in the dataset), split (train or val), files."""

    id: str
    split: str
    image: Path
    label: Path


def info_to_json(info: DatasetInfo) -> dict[str, Any]:
    """`info` as plain JSON values (label values become strings, as JSON keys are)."""
    return asdict(info) | {"label_map": {str(raw): c for raw, c in info.label_map.items()}}


def info_from_json(value: Mapping[str, Any]) -> DatasetInfo:
    """Invert `info_to_json`; other keys (sizes, fingerprints) are passed over."""
    return DatasetInfo(
        name=value["name"],
        class_names=tuple(value["class_names"]),
        palette=tuple((int(r), int(g), int(b)) for r, g, b in value["palette"]),
        label_map={int(raw): int(c) for raw, c in value["label_map"].items()},
        split_sizes=dict(value["split_sizes"]),
        licence=value["licence"],
        citation=value["citation"],
        ignore_index=value["ignore_index"],
    )


def load_info(dataset_json: str | Path) -> DatasetInfo:
    """Read the `DatasetInfo` in a `dataset.json` written by the index stage."""
    return info_from_json(read_json(dataset_json))


def open_image(
    path: str | Path, kind: str = "image", data: bytes | None = None, sha256: str | None = None
) -> Image.Image:
    """Open and fully decode an image file.

    Args:
        path: the file.
        kind: "image" or "label", for the message.
        data: the file's bytes, where they have been read already.
        sha256: which file it must be, where that is known.

    Raises:
        DataError: the file is missing, truncated, no image or another one; names it.
    """
    try:
        data = Path(path).read_bytes() if data is None else data
        if sha256 and hashlib.sha256(data).hexdigest() != sha256:
            raise DataError(
                f"{kind} {path} has changed since it was indexed; restore it, or delete index.csv "
                "and run again"
            )
        image = Image.open(io.BytesIO(data))
        image.load()
    except FileNotFoundError as error:
        raise DataError(f"{kind} {path} is missing; restore it or take it off the list") from error
    except UNREADABLE as error:
        # Pillow names the buffer it read from where it knows no format: of no use to the user.
        why = "no known format" if isinstance(error, UnidentifiedImageError) else reason(error)
        raise DataError(
            f"{kind} {path} cannot be decoded ({why}); it may be truncated: restore the file"
        ) from error
    return image


def read_image(path: str | Path, sha256: str | None = None) -> np.ndarray:
    """Decode an image file to uint8 RGB, shape HxWx3; `sha256` as in `open_image`.

    Raises:
        DataError: as `open_image`.
    """
    return np.array(open_image(path, sha256=sha256).convert("RGB"))


def write_image(path: str | Path, image: np.ndarray) -> None:
    """Write uint8 RGB, shape HxWx3, as PNG, atomically."""
    with atomic(path) as temporary:
        Image.fromarray(image, mode="RGB").save(temporary, format="PNG")


def read_raw_label(
    path: str | Path, data: bytes | None = None, sha256: str | None = None
) -> np.ndarray:
    """Decode a label file to the values it stores (palette indices or grey values), HxW.

    Args:
        path: the file.
        data: as in `open_image`.
        sha256: as in `open_image`.

    Returns:
        uint8, or int32 for label files of more than eight bits.

    Raises:
        DataError: missing, truncated, or a colour image, whose values are no class ids.
    """
    image = open_image(path, "label", data, sha256)
    if image.mode in ("P", "L"):
        return np.array(image)
    if image.mode in ("I", "I;16", "I;16B", "I;16L"):
        return np.array(image).astype(np.int32)
    if image.mode == "1":
        return np.array(image.convert("L")) // 255
    raise DataError(
        f"label {path} is a colour image (mode {image.mode}); "
        "save it as a PNG whose values or palette indices are the class ids"
    )


def read_label(
    path: str | Path, label_map: Mapping[int, int], sha256: str | None = None
) -> np.ndarray:
    """Decode a label file to class ids, uint8 HxW, 255 where ignored; `sha256` as in `open_image`.

    Raises:
        DataError: unreadable, or with a value that `label_map` does not know; names file and value.
    """
    raw = read_raw_label(path, sha256=sha256)
    deep = raw.dtype != np.uint8
    table = np.full((1 << 16 if deep else 256) + 1, UNKNOWN, dtype=np.uint8)
    for value, c in label_map.items():
        if value < len(table) - 1:
            table[value] = c
    label = table[raw.clip(-1, 1 << 16) if deep else raw]  # beyond 0..65535 is the last entry
    if (label == UNKNOWN).any():
        counts = count_values(raw)
        raise DataError(
            unknown_values_message(path, {v: counts[v] for v in counts if v not in label_map})
        )
    return label


def write_label(
    path: str | Path, label: np.ndarray, palette: tuple[tuple[int, int, int], ...]
) -> None:
    """Write class ids (uint8 HxW, 255 ignored) as a palette PNG, atomically.

    Class c is drawn in `palette[c]`, 255 in white-grey (224, 224, 192), as VOC draws its void.
    """
    image = Image.fromarray(np.ascontiguousarray(label, dtype=np.uint8), mode="P")
    colours = np.zeros((256, 3), dtype=np.uint8)
    colours[: len(palette)] = palette
    colours[IGNORE] = (224, 224, 192)
    image.putpalette(colours.tobytes())
    with atomic(path) as temporary:
        image.save(temporary, format="PNG")


def count_values(raw: np.ndarray) -> dict[int, int]:
    """How many pixels have each value of `raw` (non-negative integers, any shape)."""
    if raw.size and raw.min() < 0:
        values, counts = np.unique(raw, return_counts=True)
        return dict(zip(values.tolist(), counts.tolist()))
    counts = np.bincount(raw.ravel())
    return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}


def unknown_values_message(path: str | Path, counts: Mapping[int, int]) -> str:
    """Return the sentence for label values that are no class of the dataset."""
    listed = ", ".join(f"{value} ({count} pixels)" for value, count in sorted(counts.items())[:5])
    more = f" and {len(counts) - 5} more" if len(counts) > 5 else ""
    return (
        f"label {path} holds values that are no class: {listed}{more}; "
        "correct the file, or the dataset's classes and ignore value"
    )


def check_options(
    dataset: str, options: Mapping[str, Any], defaults: Mapping[str, Any]
) -> dict[str, Any]:
    """Fill in a dataset's options and check their names and types.

    Args:
        dataset: its name, for the message.
        options: as in the config.
        defaults: every option with its default, whose type the option must have.

    Returns:
        `defaults` with `options` in place.

    Raises:
        ConfigError: an unknown name or a value of another type; names key and remedy.
    """
    for key, value in options.items():
        where = f"dataset_options: {dataset}: {key}"
        if key not in defaults:
            names = ", ".join(sorted(defaults))
            raise ConfigError(f"{where} is not an option of {dataset}; use one of {names}")
        if type(value) is not type(defaults[key]):
            raise ConfigError(
                f"{where} must be of type {type(defaults[key]).__name__}, not {value!r}; "
                "correct it in the config"
            )
    return {**defaults, **options}


def default_colours(count: int) -> tuple[tuple[int, int, int], ...]:
    """Return VOC's colours for class ids 0..count-1.

    Bit 3k + j of the id (j = 0, 1, 2 for red, green, blue) is bit 7 - k of channel j.
    """

    def channel(c: int, j: int) -> int:
        return sum((c >> (3 * k + j) & 1) << (7 - k) for k in range(8))

    return tuple((channel(c, 0), channel(c, 1), channel(c, 2)) for c in range(count))


def require_folder(root: Path) -> None:
    """Ask for `root` to exist, so that a typo in data_dir does not start a large download.

    Raises:
        DataError: names the folder and both remedies.
    """
    if not root.is_dir():
        raise DataError(
            f"data_dir {root} does not exist; correct data_dir in the config, "
            "or create that folder to have the dataset put there"
        )


def check_sizes(
    dataset: str, found: Mapping[str, int], official: Mapping[str, int], relax: bool
) -> None:
    """Compare how many samples each list holds with the official numbers.

    Raises:
        DataError: a list is empty, or differs from the official number and `relax` is false.
    """
    for split, count in found.items():
        if count == 0:
            raise DataError(f"the {split} list of {dataset} is empty; restore the list file")
        wanted = official.get(split, count)
        if count != wanted and not relax:
            raise DataError(
                f"the {split} list of {dataset} has {count} images instead of {wanted}; "
                "restore the official lists, or set "
                f"dataset_options: {dataset}: relax_counts: true to use a partial copy"
            )


def read_lines(path: Path) -> list[str]:
    """Lines of a list file, stripped, without empty ones; LF or CRLF, UTF-8 with or without BOM.

    Raises:
        DataError: missing or not text; names the file.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"cannot read the list {path}: {reason(error)}; restore the file"
        ) from error
    return [line.strip() for line in text.splitlines() if line.strip()]
