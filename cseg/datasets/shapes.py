"""The embedded default: painted scenes whose objects are told apart by outline or texture.

Six object classes on a background. Two are plain and known by their outline (disc, star); four are
known by what they are made of (stripes, checks, dots, rings) and wear any outline.
Colour, size, rotation, position, light and noise vary from scene to scene and say nothing about
the class. Every scene is a function of (seed, split, index) alone.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cseg.datasets.options import check_options
from cseg.datasets.samples import IGNORE, SPLITS, DatasetInfo, Sample
from cseg.errors import ConfigError

CLASS_NAMES = ("background", "disc", "star", "stripes", "checks", "dots", "rings")
PALETTE = (
    (40, 40, 40),
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
DEFAULTS = {"size": 48, "train": 512, "val": 200, "seed": 0, "relax_counts": False}
LEAST = {"size": 8, "train": 1, "val": 1, "seed": 0}
PAINTER = 1  # raise it when scenes change, so that older ones on disk are not taken for new


def info(options: Mapping[str, Any]) -> DatasetInfo:
    """Describe the painted dataset; its split sizes are the ones asked for."""
    chosen = _chosen(options)
    return DatasetInfo(
        name="shapes",
        class_names=CLASS_NAMES,
        palette=PALETTE,
        label_map={value: value for value in range(len(CLASS_NAMES))} | {IGNORE: IGNORE},
        split_sizes={"train": chosen["train"], "val": chosen["val"]},
        licence="Painted by cseg; no rights reserved.",
        citation="cseg, painted shapes",
        labels_by="stored",
    )


def fetch(root: Path, work_dir: Path, options: Mapping[str, Any]) -> None:
    """Paint every scene that is not there yet, as PNG, below `root`."""
    from cseg.datasets.painter import paint  # planning needs no numpy
    from cseg.datasets.reading import write_image, write_label

    chosen = _chosen(options)
    for split, index, sample in _listing(_folder(root, chosen), chosen):
        label_path = sample.label
        if label_path is None or (sample.image.exists() and label_path.exists()):
            continue
        image, label = paint(
            chosen["size"], (chosen["seed"], SPLITS.index(split), index), CLASS_NAMES
        )
        write_image(sample.image, image)
        write_label(label_path, label, PALETTE)


def samples(root: Path, work_dir: Path, options: Mapping[str, Any]) -> list[Sample]:
    """List the scenes, train first."""
    chosen = _chosen(options)
    return [sample for _, _, sample in _listing(_folder(root, chosen), chosen)]


def _chosen(options: Mapping[str, Any]) -> dict[str, Any]:
    chosen = check_options("shapes", options, DEFAULTS)
    for key, least in LEAST.items():
        if chosen[key] < least:
            raise ConfigError(
                f"dataset_options: shapes: {key} is {chosen[key]}; give at least {least}"
            )
    return chosen


def _folder(root: Path, chosen: Mapping[str, int]) -> Path:
    name = f"shapes-painter{PAINTER}-{chosen['size']}px-seed{chosen['seed']}"
    return Path(root) / name


def _listing(folder: Path, chosen: Mapping[str, int]) -> list[tuple[str, int, Sample]]:
    listing = []
    for split in SPLITS:
        for index in range(chosen[split]):
            name = f"{split}_{index:05d}"
            image, label = (folder / split / kind / f"{name}.png" for kind in ("images", "labels"))
            listing.append((split, index, Sample(name, split, image, label)))
    return listing
