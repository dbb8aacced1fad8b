"""The embedded default: painted scenes whose objects are told apart by outline or texture.

Six object classes on a background. Two are plain and known by their outline (disc, star); four are
known by what they are made of (stripes, checks, dots, rings) and wear any outline.
Colour, size, rotation, position, light and noise vary from scene to scene and say nothing about
the class. Every scene is a function of (seed, split, index) alone.
"""

from dataclasses import dataclass
from pathlib import Path

from cseg.datasets.samples import IGNORE, SPLITS, DatasetInfo, Sample, SharedOptions
from cseg.settings.keys import key

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
PAINTER = 1  # raise it when scenes change, so that older ones on disk are not taken for new


@dataclass(frozen=True, kw_only=True)
class Options(SharedOptions):
    """The options of the painted scenes."""

    size: int = key("side of a scene, pixels", default=48, ge=8)
    train: int = key("scenes to learn from", default=512, ge=1)
    val: int = key("scenes to measure on", default=200, ge=1)
    seed: int = key("what all random numbers begin with", default=0, ge=0)


def info(options: Options) -> DatasetInfo:
    """Describe the painted dataset; its split sizes are the ones asked for."""
    return DatasetInfo(
        name="shapes",
        class_names=CLASS_NAMES,
        palette=PALETTE,
        label_map={value: value for value in range(len(CLASS_NAMES))} | {IGNORE: IGNORE},
        split_sizes={"train": options.train, "val": options.val},
        licence="Painted by cseg; no rights reserved.",
        citation="cseg, painted shapes",
        labels_by="stored",
    )


def fetch(root: Path, work_dir: Path, options: Options) -> None:
    """Paint every scene that is not there yet, as PNG, below `root`."""
    from cseg.datasets.painter import paint  # planning needs no numpy
    from cseg.datasets.reading import write_image, write_label

    listed = samples(root, work_dir, options)
    for number, split in enumerate(SPLITS):
        for index, sample in enumerate(each for each in listed if each.split == split):
            if sample.label and not (sample.image.exists() and sample.label.exists()):
                keyed = (options.seed, number, index)
                image, label = paint(options.size, keyed, CLASS_NAMES)
                write_image(sample.image, image)
                write_label(sample.label, label, PALETTE)


def samples(root: Path, work_dir: Path, options: Options) -> list[Sample]:
    """List the scenes, train first."""
    folder = root / f"shapes-painter{PAINTER}-{options.size}px-seed{options.seed}"
    found = []
    for split, count in info(options).split_sizes.items():
        for index in range(count):
            name = f"{split}_{index:05d}"
            image, label = (folder / split / kind / f"{name}.png" for kind in ("images", "labels"))
            found.append(Sample(name, split, image, label))
    return found
