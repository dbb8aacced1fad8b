"""What a dataset is (`DatasetInfo`), what an image-and-label pair is (`Sample`), and their checks.

Label maps are uint8 arrays HxW of class ids; 255 marks ignored pixels.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from cseg.errors import DataError
from cseg.settings.keys import build
from cseg.storage.files import read_json

IGNORE = 255
MAX_CLASSES = 254  # class ids 0..253: 254 marks unknown values, 255 ignored pixels
MEGAPIXELS = 179  # images with more are refused unless the description allows them
TRANSPARENT = 1 << 24  # stands among colours, 0xRRGGBB, for pixels without one
SPLITS = ("train", "val")
MAPS = ("label_map", "colour_map")  # keys of `DatasetInfo` whose keys are numbers
UNLABELLED = "unlabelled"  # the split of images that have no label


@dataclass(frozen=True)
class DatasetInfo:
    """Facts of a dataset that do not depend on which files are present."""

    name: str  # name in the config
    class_names: tuple[str, ...]  # one per class, in the order of the class ids 0..C-1
    palette: tuple[tuple[int, int, int], ...]  # one RGB colour (0-255) per class, to draw with
    # number in a label file -> class id or 255; every other number is an error
    label_map: Mapping[int, int]
    # official number of images by split, empty where the source names none
    split_sizes: Mapping[str, int]
    licence: str  # one line on the terms of use
    citation: str  # one line naming the work to cite
    ignore_index: int = IGNORE  # class id of ignored pixels; always 255
    # colour in a label file, 0xRRGGBB -> class id or 255, where colours are stated
    colour_map: Mapping[int, int] = field(default_factory=dict)
    ignore_default: bool = False  # whether 255 is ignored only because nobody said what it is
    # "stored" or "shown": which of the two a label file means where they differ; empty where the
    # files themselves must tell
    labels_by: str = ""
    # values of images of more than 8 bits that become 0 and 255; None takes the range of their type
    image_range: tuple[float, float] | None = None
    # "upright" or "stored": how images with an orientation tag fit their labels; empty where the
    # files themselves must tell
    orientation: str = ""
    max_megapixels: int = MEGAPIXELS  # images with more pixels are refused

    @property
    def num_classes(self) -> int:
        """Number of classes C, without the ignored one."""
        return len(self.class_names)


PLAIN = DatasetInfo("", (), (), {}, {}, "", "")  # reads images of any dataset by the defaults


@dataclass(frozen=True)
class Sample:
    """One image with its label map: id (unique in the dataset), split, files.

    The split is train, val or unlabelled; only unlabelled images have no label.
    """

    id: str
    split: str
    image: Path
    label: Path | None


@dataclass(frozen=True, kw_only=True)
class SharedOptions:
    """The options that every dataset has; the modules add their own."""

    relax_counts: bool = False  # whether a list may be of another length than the official one
    exclude: tuple[str, ...] = ()  # ids to leave out, which the stage fetch does


def info_to_json(info: DatasetInfo) -> dict[str, Any]:
    """`info` as plain JSON values (numbers become strings where they are keys)."""
    maps = {key: {str(value): c for value, c in getattr(info, key).items()} for key in MAPS}
    return asdict(info) | maps


def info_from_json(value: Mapping[str, Any]) -> DatasetInfo:
    """Invert `info_to_json`; other keys (sizes, fingerprints) are passed over.

    Keys that older versions did not write have their defaults.
    """
    known = {entry.name: value[entry.name] for entry in fields(DatasetInfo) if entry.name in value}
    info = build(DatasetInfo, known, "dataset")
    maps: dict[str, Any] = {
        key: {int(raw): c for raw, c in getattr(info, key).items()} for key in MAPS
    }
    return replace(info, **maps)


def load_info(dataset_json: str | Path) -> DatasetInfo:
    """Read the `DatasetInfo` in a `dataset.json` written by the index stage."""
    return info_from_json(read_json(dataset_json))


def default_colours(count: int) -> tuple[tuple[int, int, int], ...]:
    """Return VOC's colours for class ids 0..count-1.

    Bit 3k + j of the id (j = 0, 1, 2 for red, green, blue) is bit 7 - k of channel j.
    """

    def channel(c: int, j: int) -> int:
        return sum((c >> (3 * k + j) & 1) << (7 - k) for k in range(8))

    return tuple((channel(c, 0), channel(c, 1), channel(c, 2)) for c in range(count))


def colour_name(colour: int) -> str:
    """A colour 0xRRGGBB as a description states it; -1 is none."""
    if colour == TRANSPARENT:
        return "transparent"
    return "no colour" if colour < 0 else str(list(colour.to_bytes(3)))


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
