"""Labels drawn from outlines: COCO's annotation files, and labelme's file for each image.

pycocotools turns outlines into masks, for both. Where outlines overlap, the later one is on top in
a labelme file, as on labelme's screen; in a COCO file, which has no order, the smaller one is.
Shapes: H, W of the image that a file describes.
"""

import base64
import io
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cseg.errors import DataError, readable, reason

CIRCLE = 180  # corners of the polygon that is drawn for a circle
AREAS = ("polygon", "rectangle", "circle", "mask")


@dataclass(frozen=True)
class Drawing:
    """The outlines of one image."""

    file: Path  # where they were read, for messages
    # of the image, in pixels
    height: int
    width: int
    # a label's name, and which pixels it covers, bool (H, W), from bottom to top
    outlines: tuple[tuple[str, "Outline"], ...]


Outline = Any  # what `_covered` takes: polygons [[x, y, x, y, ...], ...], COCO's RLE, or an array


def draw(drawing: Drawing, classes: Mapping[str, int], background: int) -> np.ndarray:
    """Class ids, uint8 (H, W), 255 ignored.

    `classes` maps names of labels to class ids or 255; pixels that nothing covers are `background`,
    a class id or 255.

    Raises:
        DataError: a label that is no class, or an outline that cannot be drawn; names file and
            label.
    """
    unknown = sorted({name for name, _ in drawing.outlines} - classes.keys())
    if unknown:
        raise DataError(
            f"{drawing.file} has labels that are no class: {', '.join(map(repr, unknown[:5]))}; "
            "add them to a class's values, or to ignore, in the description"
        )
    size = drawing.height, drawing.width
    ids = np.full(size, background, np.uint8)
    for name, outline in drawing.outlines:
        try:
            ids[_covered(outline, size)] = classes[name]
        except (TypeError, ValueError, IndexError, KeyError, AssertionError) as error:
            raise DataError(
                f"{drawing.file} has an outline of {name!r} that cannot be drawn "
                f"({reason(error)}); correct it"
            ) from error
    return ids


def read_coco(path: Path) -> dict[str, Drawing]:
    """Read a COCO annotation file: the drawing of each image, by its file name.

    Raises:
        DataError: not such a file, an annotation without outline, or an id or file name that is
            there twice; names it.
    """
    with _parsed(path, "COCO annotation file") as content:
        for part, key in (("images", "id"), ("categories", "id"), ("images", "file_name")):
            for value, count in Counter(entry[key] for entry in content[part]).most_common(1):
                if count > 1:
                    raise DataError(
                        f"{path} has {count} {part} of the {key} {value!r}; give each its own (a "
                        "file_name may be a path below the folder of images), or merge them if "
                        "they are one"
                    )
        names = {entry["id"]: str(entry["name"]) for entry in content["categories"]}
        found: dict[Any, list[tuple[float, str, Outline]]] = {
            entry["id"]: [] for entry in content["images"]
        }
        for entry in content["annotations"]:
            outline = entry.get("segmentation")
            if not outline:
                raise DataError(
                    f"{path} has annotation {entry.get('id')} without an outline (segmentation); "
                    "draw it, or remove it: a box is no outline"
                )
            area = -float(entry.get("area") or _area(outline))
            found[entry["image_id"]].append((area, names[entry["category_id"]], outline))
        return {
            entry["file_name"]: Drawing(
                path, int(entry["height"]), int(entry["width"]),
                tuple((name, o) for _, name, o in sorted(found[entry["id"]], key=lambda f: f[0])),
            )
            for entry in content["images"]
        }  # fmt: skip


def read_labelme(path: Path) -> Drawing:
    """Read the outlines that labelme wrote for one image.

    Raises:
        DataError: not such a file, or a shape without area; names it.
    """
    with _parsed(path, "file of labelme") as content:
        size = int(content["imageHeight"]), int(content["imageWidth"])
        outlines = [(str(e["label"]), _labelme_outline(path, e, size)) for e in content["shapes"]]
        return Drawing(path, *size, tuple(outlines))


def _labelme_outline(path: Path, entry: Mapping[str, Any], size: tuple[int, int]) -> Outline:
    kind, points = entry.get("shape_type") or "polygon", entry["points"]
    if kind not in AREAS:
        raise DataError(
            f"{path} has a {kind} labelled {entry['label']!r}, which has no area; remove it, or "
            "draw a polygon, rectangle or circle instead"
        )
    if kind == "rectangle":
        (left, top), (right, bottom) = points
        return [[left, top, right, top, right, bottom, left, bottom]]
    if kind == "circle":
        (x, y), edge = points
        radius = math.dist((x, y), edge)
        turns = [2 * math.pi * k / CIRCLE for k in range(CIRCLE)]
        return [[v for t in turns for v in (x + radius * math.cos(t), y + radius * math.sin(t))]]
    if kind == "mask":  # a PNG in base64, of a part of the image
        left, top = (round(float(value)) for value in points[0])
        part = Image.open(io.BytesIO(base64.b64decode(entry["mask"]))).convert("L")
        whole = Image.new("L", size[::-1])
        whole.paste(part, (left, top))
        return np.asarray(whole) > 0
    return [[float(value) for point in points for value in point]]


def _covered(outline: Outline, size: tuple[int, int]) -> np.ndarray:
    """Which pixels an outline covers, bool (H, W)."""
    from pycocotools import mask  # only datasets with outlines need it

    if isinstance(outline, np.ndarray):
        return outline
    if isinstance(outline, list):
        if any(len(polygon) < 6 or len(polygon) % 2 for polygon in outline):
            raise ValueError("a polygon of fewer than three points")
        if not np.isfinite(np.concatenate([np.asarray(p, float) for p in outline])).all():
            raise ValueError("a point that is no number")
        packed = mask.merge(mask.frPyObjects(outline, *size))
    elif isinstance(outline["counts"], list):
        packed = mask.frPyObjects(outline, *size)
    else:
        packed = outline
    if tuple(packed["size"]) != size:
        raise ValueError(f"it is of an image of {packed['size'][1]}x{packed['size'][0]}")
    return mask.decode(packed).astype(bool)


def _area(outline: Outline) -> float:
    """The area of polygons, in pixels; of a run-length code, what it counts."""
    if isinstance(outline, list):
        sides = [(np.asarray(p[0::2], float), np.asarray(p[1::2], float)) for p in outline]
        return sum(abs(float(x @ np.roll(y, -1) - np.roll(x, -1) @ y)) / 2 for x, y in sides)
    if isinstance(outline["counts"], list):
        return float(sum(outline["counts"][1::2]))
    from pycocotools import mask

    return float(mask.area(outline))


@contextmanager
def _parsed(path: Path, kind: str) -> Iterator[Any]:
    """Yield what a JSON file holds; what goes wrong with that becomes a DataError."""
    with readable(path, "restore the file"):
        content = json.loads(path.read_bytes())
    try:
        yield content
    except (KeyError, TypeError, ValueError, AttributeError, OSError) as error:
        raise DataError(
            f"{path} is no {kind} ({type(error).__name__}: {reason(error)}); give one, or name "
            "label images in the description"
        ) from error
