"""Small datasets in the official layouts, painted on the spot."""

from pathlib import Path

import numpy as np
from PIL import Image


def paint_image(path: Path, seed: int, size: tuple[int, int] = (24, 16)) -> None:
    """A noise image of `size` (width, height); the suffix of `path` chooses the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)


def paint_label(
    path: Path, values: list[int], size: tuple[int, int] = (24, 16), palette: bool = False
) -> None:
    """A label of vertical bars, one per value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    bars = np.array(values, dtype=np.uint8)[np.arange(size[0]) * len(values) // size[0]]
    image = Image.fromarray(np.tile(bars, (size[1], 1)))
    if palette:
        image = image.convert("P") if image.mode != "L" else _as_palette(image)
    image.save(path)


def _as_palette(image: Image.Image) -> Image.Image:
    indexed = Image.new("P", image.size)
    indexed.putdata(list(image.tobytes()))
    indexed.putpalette([channel for i in range(256) for channel in (i, 255 - i, i // 2)])
    return indexed


def make_camvid(root: Path, train: int = 3, val: int = 2) -> Path:
    """`root`/CamVid with two classes and void in each label; returns that folder."""
    home = root / "CamVid"
    seed = 0
    for split, count in (("train", train), ("val", val), ("test", 1)):
        lines = []
        for i in range(count):
            seed += 1
            name = f"{split}_{i:03d}.png"
            paint_image(home / split / name, seed)
            paint_label(home / f"{split}annot" / name, [i % 11, (i + 1) % 11, 11])
            lines.append(f"/SegNet/CamVid/{split}/{name} /SegNet/CamVid/{split}annot/{name}\n")
        (home / f"{split}.txt").write_text("".join(lines), encoding="utf-8")
    return home
