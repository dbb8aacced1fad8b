"""The embedded default: painted scenes whose objects are told apart by outline or texture.

Six object classes on a background. Two are plain and known by their outline (disc, star); four are
known by what they are made of (stripes, checks, dots, rings) and wear any outline.
Colour, size, rotation, position, light and noise vary from scene to scene and say nothing about
the class. Every scene is a function of (seed, split, index) alone.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cseg.datasets.options import check_options
from cseg.datasets.reading import write_label
from cseg.datasets.samples import DatasetInfo, Sample
from cseg.errors import ConfigError
from cseg.storage.files import atomic

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
SUPERSAMPLE = 2
PAINTER = 1  # raise it when scenes change, so that older ones on disk are not taken for new
SPLITS = ("train", "val")


def info(options: Mapping[str, Any]) -> DatasetInfo:
    """Describe the painted dataset; its split sizes are the ones asked for."""
    chosen = _chosen(options)
    return DatasetInfo(
        name="shapes",
        class_names=CLASS_NAMES,
        palette=PALETTE,
        label_map={value: value for value in range(len(CLASS_NAMES))} | {255: 255},
        split_sizes={"train": chosen["train"], "val": chosen["val"]},
        licence="Painted by cseg; no rights reserved.",
        citation="cseg, painted shapes",
        labels_by="stored",
    )


def fetch(root: Path, work_dir: Path, options: Mapping[str, Any]) -> None:
    """Paint every scene that is not there yet, as PNG, below `root`."""
    chosen = _chosen(options)
    for split, index, sample in _listing(_folder(root, chosen), chosen):
        label_path = sample.label
        if label_path is None or (sample.image.exists() and label_path.exists()):
            continue
        image, label = paint(chosen["size"], (chosen["seed"], SPLITS.index(split), index))
        with atomic(sample.image) as temporary:
            Image.fromarray(image).save(temporary, format="PNG")
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


def paint(size: int, key: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Paint one scene.

    Args:
        size: side length in pixels.
        key: what the scene is a function of; the seed of its random numbers.

    Returns:
        The image, uint8 (size, size, 3), and its labels, uint8 (size, size).
    """
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))
    side = size * SUPERSAMPLE
    centres = (np.arange(side) + 0.5) / side
    y, x = np.meshgrid(centres, centres, indexing="ij")
    image = _backdrop(rng, y, x)
    label = np.zeros((side, side), np.uint8)
    for _ in range(int(rng.integers(2, 5))):
        kind = int(rng.integers(1, len(CLASS_NAMES)))
        inside, colour = _object(rng, kind, y, x, pixel=1.0 / size)
        image[inside] = colour[inside]
        label[inside] = kind
    image *= _light(rng, y, x)
    image = image.reshape(size, SUPERSAMPLE, size, SUPERSAMPLE, 3).mean(axis=(1, 3))
    noise = rng.random((4, size, size, 3)).sum(axis=0) - 2.0  # near normal, std 0.577
    image += noise * rng.uniform(0.01, 0.05)
    middle = slice(SUPERSAMPLE // 2, None, SUPERSAMPLE)
    return np.clip(image * 255.0 + 0.5, 0, 255).astype(np.uint8), label[middle, middle]


def _backdrop(rng: np.random.Generator, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Two colours blended by a slow wave."""
    first, second = rng.random((2, 3))
    angle, phase = rng.uniform(0, 2 * np.pi, 2)
    wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * rng.uniform(2, 9) + phase) / 2 + 0.5
    return first + (second - first) * wave[..., None]


def _light(rng: np.random.Generator, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """A linear fall-off of brightness in a random direction."""
    angle = rng.uniform(0, 2 * np.pi)
    slope = rng.uniform(0, 0.6)
    return (1.0 - slope * (0.5 + (x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle)))[..., None]


def _object(
    rng: np.random.Generator, kind: int, y: np.ndarray, x: np.ndarray, pixel: float
) -> tuple[np.ndarray, np.ndarray]:
    """The mask (H, W) and the colour (H, W, 3) of one object of class `kind`."""
    centre = rng.uniform(0.12, 0.88, 2)
    radius = rng.uniform(0.2, 0.36)
    angle = rng.uniform(0, 2 * np.pi)
    dx, dy = x - centre[0], y - centre[1]
    u = dx * np.cos(angle) + dy * np.sin(angle)
    v = dy * np.cos(angle) - dx * np.sin(angle)
    first = rng.random(3)
    second = _distinct(rng, first)
    colour = np.broadcast_to(first, (*x.shape, 3)).copy()
    name = CLASS_NAMES[kind]
    if name in ("disc", "star"):
        return _outline(name, u, v, radius), colour
    outline = ("disc", "triangle", "star", "square")[int(rng.integers(0, 4))]
    period = rng.uniform(6.0, 9.0) * pixel
    colour[_texture(name, u, v, period)] = second
    return _outline(outline, u, v, radius), colour


def _distinct(rng: np.random.Generator, first: np.ndarray) -> np.ndarray:
    """A colour that differs from `first` by at least 0.5 in some channel sum."""
    second = rng.random(3)
    while np.abs(second - first).sum() < 0.9:
        second = rng.random(3)
    return second


def _outline(name: str, u: np.ndarray, v: np.ndarray, radius: float) -> np.ndarray:
    """The inside of an outline centred at the origin of (u, v)."""
    distance = np.hypot(u, v)
    if name == "disc":
        return distance < radius * 0.85
    if name == "square":
        return np.maximum(np.abs(u), np.abs(v)) < radius * 0.75
    theta = np.arctan2(v, u)
    if name == "triangle":
        sector = np.mod(theta, 2 * np.pi / 3) - np.pi / 3
        return distance * np.cos(sector) < radius * 0.58
    ripple = np.abs(np.mod(theta * 5 / (2 * np.pi), 1.0) * 2 - 1)  # five points
    return distance < radius * (0.42 + 0.75 * ripple**1.5)


def _texture(name: str, u: np.ndarray, v: np.ndarray, period: float) -> np.ndarray:
    """Where the second colour of a texture lies."""
    if name == "stripes":
        return np.mod(u / period, 1.0) < 0.5
    if name == "checks":
        return (np.mod(u / period, 1.0) < 0.5) ^ (np.mod(v / period, 1.0) < 0.5)
    if name == "dots":
        return np.hypot(np.mod(u / period, 1.0) - 0.5, np.mod(v / period, 1.0) - 0.5) < 0.28
    return np.mod(np.hypot(u, v) / period, 1.0) < 0.5
