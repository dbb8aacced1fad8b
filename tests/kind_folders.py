"""Datasets of every kind, each written below a folder; what they hold is one truth."""

import base64
import io
import json
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from written_kinds import png, save, write_bytes, write_image_kind, write_label_kind

COLOURS = [(120, 80, 40), (60, 180, 60), (200, 30, 30)]
PALETTE = [*COLOURS, *((i, i // 2, 255 - i) for i in range(3, 256))]
NAMES = ("a", "b", "v")  # two to train on, one to validate
PLAIN = [{"name": "soil"}, {"name": "crop"}, {"name": "weed"}]
STATED = [{**entry, "colour": list(c)} for entry, c in zip(PLAIN, COLOURS)]
Options = dict[str, Any]
Make = Callable[[Path], Options]


def grey(name: str) -> np.ndarray:
    """The upright image of a name, (16, 24), blocks of 8x8."""
    rng = np.random.default_rng(ord(name[-1]))
    blocks = rng.integers(0, 256, (2, 3), dtype=np.uint8)
    blocks[0, 0] = 255
    return np.kron(blocks, np.ones((8, 8), np.uint8))


def ids(name: str, most: int = 3) -> np.ndarray:
    """The class ids of a name, (16, 24)."""
    found = np.random.default_rng(ord(name[-1])).integers(0, most, (16, 24)).astype(np.uint8)
    found[0, :most] = range(most)
    return found


def of(
    suffix: str = ".png", depth: str = "8", tag: int = 1, label: str = "grey8", **keys: Any
) -> Make:
    """Makes pairs of one kind of image and label."""

    def make(root: Path) -> Options:
        for name in NAMES:
            write_image_kind(root / "images" / f"{name}{suffix}", grey(name), depth, tag)
            write_label_kind(root / "labels" / f"{name}.png", ids(name), label, PALETTE)
        return {"classes": PLAIN, **keys}

    return make


def then(make: Make, change: Callable[[Path], Any]) -> Make:
    """Makes a kind and changes it."""

    def changed(root: Path) -> Options:
        options = make(root)
        return {**options, **(change(root) or {})}

    return changed


def binary(**keys: Any) -> Make:
    """Masks of 0 and 255, of two classes."""

    def make(root: Path) -> Options:
        of()(root)
        for name in NAMES:
            save(root / "labels" / f"{name}.png", ids(name, 2) * np.uint8(255))
        return {"classes": PLAIN[:2], **keys}

    return make


def bits(root: Path) -> Options:
    of()(root)
    for name in NAMES:
        write_bytes(root / "labels" / f"{name}.png", png(ids(name, 2), 1))
    return {"classes": PLAIN[:2]}


def other_palette(root: Path) -> None:
    swapped = [PALETTE[0], PALETTE[2], PALETTE[1], *PALETTE[3:]]
    swap = np.array([0, 2, 1], np.uint8)
    write_label_kind(root / "labels" / "b.png", swap[ids("b")], "index8", swapped)


def coco(root: Path) -> Options:
    """Runs of equal pixels as rectangles: outlines whose pixels are known."""
    of()(root)
    shutil.rmtree(root / "labels")
    images, annotations = [], []
    for i, name in enumerate(NAMES):
        images.append({"id": i, "file_name": f"{name}.png", "height": 16, "width": 24})
        for y, row in enumerate(ids(name)):
            for x, c in enumerate(row.tolist()):
                if c:
                    box = [[x, y, x + 1, y, x + 1, y + 1, x, y + 1]]
                    annotations.append(
                        {"id": len(annotations), "image_id": i, "category_id": c + 6, "area": 1,
                         "segmentation": box}
                    )  # fmt: skip
    categories = [{"id": c + 6, "name": PLAIN[c]["name"]} for c in (1, 2)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "coco.json").write_text(json.dumps(content))
    return {"classes": PLAIN, "labels": "coco.json", "background": "soil"}


def labelme(root: Path) -> Options:
    of()(root)
    shutil.rmtree(root / "labels")
    for name in NAMES:
        shapes = []
        for c in (1, 2):
            stream = io.BytesIO()
            Image.fromarray((ids(name) == c).astype(np.uint8)).save(stream, "PNG")
            mask = base64.b64encode(stream.getvalue()).decode()
            shapes.append({"label": PLAIN[c]["name"], "points": [[0, 0], [23, 15]],
                           "shape_type": "mask", "mask": mask})  # fmt: skip
        content = {"shapes": shapes, "imageHeight": 16, "imageWidth": 24}
        (root / "images" / f"{name}.json").write_text(json.dumps(content))
    return {"classes": PLAIN, "labels": "images", "background": "soil"}


def unlabelled(root: Path) -> Options:
    of()(root)
    write_image_kind(root / "more" / "u.png", grey("u"), "8")
    return {"classes": PLAIN, "unlabelled": "more"}


def labels_of_stored_pixels(root: Path) -> None:
    for name in NAMES:
        save(root / "labels" / f"{name}.png", np.rot90(ids(name)))


def jpeg_labels(root: Path) -> None:
    for name in NAMES:
        Image.fromarray(ids(name)).save(root / "labels" / f"{name}.png", "JPEG")


def stack(root: Path) -> None:
    pages = [Image.fromarray(grey(name)) for name in "ab"]
    pages[0].save(root / "images" / "a.tif", save_all=True, append_images=pages[1:])


def huge(root: Path) -> None:
    """An image whose header says 20,000x20,000."""
    plain = png(np.zeros((1, 1), np.uint8), 1)
    size = (20000).to_bytes(4, "big") * 2
    head = b"IHDR" + size + plain[24:29]
    sums = zlib.crc32(head).to_bytes(4, "big")
    write_bytes(root / "images" / "a.png", plain[:12] + head + sums + plain[33:])


def broken(root: Path) -> None:
    write_bytes(root / "images" / "a.png", b"GIF8")


def labels_of_white(root: Path) -> Options:
    return binary()(root) | {"classes": [PLAIN[0], {"name": "crop", "values": [255]}]}


def recompressed(root: Path) -> None:
    packed = png(ids("a"), 2, [(0, 0, 0), (1, 1, 1), (2, 2, 2)])
    write_bytes(root / "labels" / "a.png", packed)


def reordered(root: Path) -> None:
    packed = png(2 - ids("a"), 2, [(2, 2, 2), (1, 1, 1), (0, 0, 0)])
    write_bytes(root / "labels" / "a.png", packed)


def other_colour(root: Path) -> Options:
    return {"classes": [*STATED[:2], {"name": "weed", "colour": [1, 2, 3]}]}


def wild_values(root: Path) -> None:
    values = np.where(ids("a") == 2, 2147483647, -1).astype(np.int32)
    Image.fromarray(values).save(root / "labels" / "a.png", "TIFF")


def one_class(root: Path) -> None:
    save(root / "labels" / "v.png", ids("v") * 0)


def half_a_label(root: Path) -> None:
    save(root / "labels" / "a.png", ids("a")[:8])


def junk(root: Path) -> None:
    write_bytes(root / "images" / ".ipynb_checkpoints" / "a.png", b"")
    write_bytes(root / "images" / "._a.png", b"")


def two_stems(root: Path) -> None:
    save(root / "images" / "a.jpg", grey("c"))


def linked(root: Path) -> None:
    for kind in ("images", "labels"):
        (root / kind).rename(root / f"{kind}_elsewhere")
        (root / kind).mkdir()
        (root / kind / "link").symlink_to(root / f"{kind}_elsewhere")


def linked_twice(root: Path) -> None:
    (root / "images" / "again").symlink_to(root / "images")


def two_forms(root: Path) -> None:
    for name in ("\u00fc", "u\u0308"):
        save(root / "images" / f"{name}.png", grey("c"))


def other_form(root: Path) -> None:
    (root / "images" / "a.png").rename(root / "images" / "\u00fca.png")
    (root / "labels" / "a.png").rename(root / "labels" / "u\u0308a.png")


def line_end(root: Path) -> None:
    save(root / "images" / "a\rb.png", grey("c"))


def no_utf8(root: Path) -> None:
    save(root / "images" / "a\udcfcb.png", grey("c"))


def same_picture(root: Path) -> None:
    save(root / "images" / "v.png", np.repeat(grey("a")[..., None], 3, 2), compress_level=1)


def compressed_again(root: Path) -> None:
    """Some detail, without which nothing can tell two pictures; within the tolerance of a truth."""
    detail = np.random.default_rng(0).integers(-2, 3, (16, 24))
    picture = (grey("a") + detail).clip(0, 255).astype(np.uint8)
    save(root / "images" / "a.png", picture)
    save(root / "images" / "north" / "a.jpg", picture, quality=100)
    write_label_kind(root / "labels" / "north" / "a.png", ids("a"), "grey8", PALETTE)
    (root / "val.txt").write_text("v\nnorth/a.jpg\n")


def braces(root: Path) -> None:
    for name in NAMES:
        for folder in ("images", "labels"):
            (root / folder / f"{name}.png").rename(root / folder / f"{{seed}}_{{{name}.png")
    (root / "train.txt").write_text("{seed}_{a\n{seed}_{b\n")
    (root / "val.txt").write_text("{seed}_{v\n")


def no_labels(root: Path) -> None:
    shutil.rmtree(root / "labels")
    (root / "labels").mkdir()


def long_lines(root: Path) -> None:
    (root / "train.txt").write_text(f"images\\a.png labels/a.png\n{root}/images/b\n")


def utf16_list(root: Path) -> None:
    (root / "train.txt").write_bytes("a\r\n# b\r\nb\r\n".encode("utf-16"))


def other_folder(root: Path) -> None:
    (root / "train.txt").write_text("north/a\nb\n")
