"""Folders of images and labels that `cseg init` looks at, with what their labels mean."""

from pathlib import Path

import numpy as np
from PIL import Image
from written_kinds import LABEL_SUFFIX, write_image_kind, write_label_kind

from cseg.init.look import look

PALETTE = [(40 + 7 * i % 200, (90 * i) % 256, 255 - i) for i in range(256)]  # all different
RGB = sorted(PALETTE[:3])  # classes of colour masks come in the order of their colours


def truth(seed, classes=3, size=(24, 32)):
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, classes, size).astype(np.uint8)
    ids[0, :classes] = range(classes)
    grey = np.repeat(np.repeat(rng.integers(0, 256, (3, 4), dtype=np.uint8), 8, 0), 8, 1)
    grey[0, 0] = 255
    return grey, ids


def write_folder(root, kind, depth="8", *, count=6, images="images", labels="labels",
                 suffix="", image_suffix=".png", tag=1):  # fmt: skip
    """Images with labels of a kind, and the truth by id."""
    known = {}
    classes = 2 if kind.endswith("1") or kind == "0 and 255" else 3
    for number in range(count):
        name = f"{'north' if number % 2 else 'south'}/{number:03d}"
        grey, ids = truth(number, classes)
        known[name] = grey, ids
        path = root / images / f"{name}{image_suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image_kind(path, grey, depth, tag)
        label = root / labels / f"{name}{suffix}"
        if kind == "0 and 255":
            write_label_kind(Path(f"{label}.png"), ids * 255, "grey8", PALETTE)
        else:
            table = RGB + PALETTE[3:] if kind.startswith("rgb") else PALETTE
            write_label_kind(Path(f"{label}{LABEL_SUFFIX.get(kind, '.png')}"), ids, kind, table)
    return known


def masks(root, values, count=4, names=""):
    """Images with grey masks of these values, and a file of names next to the masks."""
    for number in range(count):
        grey, ids = truth(number, len(values))
        write_image_kind(root / "images" / f"{number}.png", grey, "8")
        path = root / "labels" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.array(values, np.uint8)[ids]).save(path)
    if names:
        (root / "labels" / "classes.txt").write_text(names, encoding="utf-8")
    return seen_in(root)


def seen_in(root):
    (root / "work").mkdir()
    return look(root, None, name="mine", work=root / "work")
