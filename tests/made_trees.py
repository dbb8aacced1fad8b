"""Small datasets in the official layouts, painted on the spot."""

from pathlib import Path

import numpy as np
import scipy.io
import scipy.sparse
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


def make_voc(root: Path, train: int = 3, val: int = 2, others: int = 4) -> Path:
    """`root`/VOCdevkit/VOC2012 with ids 2007_000000.. (train, val, then others without label)."""
    home = root / "VOCdevkit" / "VOC2012"
    names = [f"2007_{i:06d}" for i in range(train + val + others)]
    for i, name in enumerate(names):
        paint_image(home / "JPEGImages" / f"{name}.jpg", i)
        if i < train + val:
            label = home / "SegmentationClass" / f"{name}.png"
            paint_label(label, [0, i % 21, 255], palette=True)
    write_list(home / "ImageSets" / "Segmentation" / "train.txt", names[:train])
    write_list(home / "ImageSets" / "Segmentation" / "val.txt", names[train : train + val])
    return home


def make_sbd(root: Path, voc: Path) -> Path:
    """`root`/benchmark_RELEASE/dataset as SBD has it: every image of `voc` has a .mat label.

    Its lists ignore VOC's: even ids are train, odd ones val.
    """
    home = root / "benchmark_RELEASE" / "dataset"
    (home / "cls").mkdir(parents=True)
    names = sorted(path.stem for path in (voc / "JPEGImages").iterdir())
    for i, name in enumerate(names):
        classes = np.zeros((16, 24), dtype=np.uint8)
        classes[4:12, 6:18] = 1 + i % 20
        boundaries = np.empty((20, 1), dtype=object)
        for c in range(20):
            boundaries[c, 0] = scipy.sparse.csc_matrix(classes.shape, dtype=np.uint8)
        truth = {"Boundaries": boundaries, "Segmentation": classes, "CategoriesPresent": 1 + i % 20}
        scipy.io.savemat(home / "cls" / f"{name}.mat", {"GTcls": truth}, do_compression=True)
    write_list(home / "train.txt", names[::2])
    write_list(home / "val.txt", names[1::2])
    return home


def make_cityscapes(root: Path, train: int = 3, val: int = 2) -> None:
    """`root`/leftImg8bit and `root`/gtFine with raw label ids, in two cities per split."""
    number = 0
    for split, count in (("train", train), ("val", val)):
        for i in range(count):
            city = (("aachen", "zurich"), ("frankfurt", "munster"))[split == "val"][i % 2]
            name = f"{city}_{i:06d}_000019"
            paint_image(root / f"leftImg8bit/{split}/{city}/{name}_leftImg8bit.png", number)
            label = root / f"gtFine/{split}/{city}/{name}_gtFine_labelIds.png"
            paint_label(label, [0, 7, 26, 33])
            number += 1


def write_list(path: Path, lines: list[str], end: str = "\n") -> None:
    """A list file, one line each, ended as asked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(line + end for line in lines).encode())
