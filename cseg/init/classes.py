"""Which classes there are, from what label files hold.

Outlines have names. An image means its colours where it is a colour image, else its values (palette
indices, grey values), of which 255 is ignored unless it is one of two.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from cseg.datasets.description import BACKGROUNDS
from cseg.datasets.label_values import count_values, read_raw_label
from cseg.datasets.polygons import Drawing
from cseg.datasets.samples import IGNORE, MAX_CLASSES, TRANSPARENT
from cseg.errors import CsegError, DataError

MOST_LEVELS = 64  # more grey values than that are shades, not classes
VOID = 0xE0E0C0  # the colour in which VOC, and cseg, draw ignored pixels
VOID_NAMES = ("void", "unlabelled", "unlabeled", "ignore", "ignored")
NAME_FILES = ("classes.txt", "class_names.txt", "label_colors.txt", "class_dict.csv", "labels.txt")
COLOUR = re.compile(r"(\d{1,3})[\s,;]+(\d{1,3})[\s,;]+(\d{1,3})")


@dataclass(frozen=True, kw_only=True)
class LabelKinds:
    """What label files hold."""

    meant_by: str  # what tells classes apart: name, colour or value
    # how many pixels have each value, or colour 0xRRGGBB; of names, how many outlines
    pixels: Mapping[Any, int]
    colours: Mapping[int, int]  # the colour of a value, where palettes say so
    kinds: Mapping[str, int]  # how many files there are of each kind, in words


def look_at_outlines(drawings: Iterable[Drawing]) -> LabelKinds:
    """Count the names of outlines."""
    named = [[name for name, _ in drawing.outlines] for drawing in drawings]
    pixels = Counter(chain.from_iterable(named))
    return LabelKinds(meant_by="name", pixels=pixels, colours={}, kinds={"outlines": len(named)})


@dataclass(frozen=True, kw_only=True)
class Held:
    """What one label image holds."""

    kind: str  # grey, palette or colour
    bits: int  # of a value
    used: Mapping[int, int]  # pixels by value, or by colour 0xRRGGBB
    shown: Mapping[int, int]  # the colour of each value that is used, of a palette


def read_held(path: Path) -> Held | str:
    """What a label image holds, or the sentence that says why it cannot be read."""
    try:
        raw = read_raw_label(path)
    except CsegError as error:
        return str(error)
    used = count_values(raw.values_HW)
    shown = {v: raw.colours.get(v, -1) for v in used} if raw.kind == "palette" else {}
    return Held(kind=raw.kind, bits=raw.file.bits, used=used, shown=shown)


def look_at_images(labels: Iterable[Held | str]) -> LabelKinds:
    """Count the values, or colours, of label images.

    Raises:
        DataError: no file could be read; the first reason.
    """
    values: Counter[int] = Counter()
    colours: Counter[int] = Counter()
    palettes: dict[int, set[int]] = {}
    kinds: Counter[str] = Counter()
    problem = ""
    for held in labels:
        if isinstance(held, str):
            problem = problem or held
            continue
        kinds[f"{held.kind} of {held.bits} bits"] += 1
        if held.kind == "colour":
            colours.update(held.used)
            continue
        values.update(held.used)
        for value, colour in held.shown.items():
            colours[colour] += held.used[value]
            palettes.setdefault(value, set()).add(colour)
    if not kinds:
        raise DataError(problem)
    differ = any(len(shown) > 1 for shown in palettes.values())
    by_colour = differ or any(kind.startswith("colour") for kind in kinds)
    return LabelKinds(
        meant_by="colour" if by_colour else "value",
        pixels=colours if by_colour else values,
        colours={value: next(iter(shown)) for value, shown in palettes.items()},
        kinds=kinds,
    )


def guess_classes(found: LabelKinds, names: Mapping[int, str]) -> dict[str, Any]:
    """Keys of a description: classes, and what is ignored or background.

    `names` are those of values or colours, as a file near the labels has them.

    Raises:
        DataError: there are too many values or colours for classes, or only one.
    """
    used = sorted(value for value, count in found.pixels.items() if count)
    if found.meant_by == "name":  # a class for each, and one for what no outline covers
        if not used:
            raise DataError("the labels have no outline; draw some, or give other labels")
        ground = next((name for name in used if name.lower() in BACKGROUNDS), "background")
        others = [{"name": name} for name in used if name != ground]
        return {"classes": [{"name": ground}, *others], "background": ground}
    _check_number(found, used)
    ignored = [value for value in used if _is_void(found, value, names)]
    if len(used) - len(ignored) < 2:
        ignored = []
    kept = [value for value in used if value not in ignored]
    colours = [found.colours.get(value, -1) for value in kept]
    drawn = len(set(colours)) == len(kept) and all(0 <= c < TRANSPARENT for c in colours)
    classes = []
    for place, value in enumerate(kept):
        entry: dict[str, Any] = {"name": names.get(value) or _name(found, kept, value)}
        if found.meant_by == "colour" and value != TRANSPARENT:
            entry["colour"] = _written(found, value)
        else:
            entry["values"] = _written(found, value)
        if found.meant_by == "value" and drawn:
            entry["colour"] = list(colours[place].to_bytes(3))
        classes.append(entry)
    return {"classes": classes, "ignore": [_written(found, value) for value in ignored]}


def _is_void(found: LabelKinds, value: int, names: Mapping[int, str]) -> bool:
    if names.get(value, "").lower() in VOID_NAMES:
        return True
    if found.meant_by == "colour":
        return value in (VOID, TRANSPARENT)
    return value == IGNORE or not 0 <= value < 2**16


def _check_number(found: LabelKinds, used: Sequence[Any]) -> None:
    if len(used) < 2:
        raise DataError(
            f"all pixels of the labels have one {found.meant_by} ({_written(found, used[0])}), and "
            "a network needs two classes; give labels that show where things are"
        )
    grey = found.meant_by == "value" and not found.colours
    if len(used) > (MOST_LEVELS if grey else MAX_CLASSES):
        raise DataError(
            f"the labels hold {len(used)} {found.meant_by}s, too many for classes; save masks as "
            "PNG without smoothed edges, one value or colour for each class"
        )


def _name(found: LabelKinds, kept: Sequence[int], value: int) -> str:
    if found.meant_by == "value" and len(kept) == 2:
        return ("background", "object")[kept.index(value)]
    if found.meant_by == "value":
        return f"class {value}"
    return "transparent" if value == TRANSPARENT else f"colour {value:06x}"


def _written(found: LabelKinds, value: int) -> Any:
    """A value or colour as a description has it."""
    if found.meant_by == "value":
        return value
    return "transparent" if value == TRANSPARENT else list(value.to_bytes(3))


def read_names(folders: Sequence[Path]) -> dict[int, str]:
    """Names of classes by colour 0xRRGGBB or by value, from a file that often lies near labels.

    A line with three numbers and a word names a colour; otherwise line n (from 0) names value n.
    """
    paths = [folder / name for folder in folders for name in NAME_FILES]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        return {}
    names: dict[int, str] = {}
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip() and line[0] != "#"]
    for number, line in enumerate(lines):
        colour = COLOUR.search(line)
        word = (line[: colour.start()] + line[colour.end() :] if colour else line).strip(" \t,;:")
        if colour:
            red, green, blue = map(int, colour.groups())
            names[red << 16 | green << 8 | blue] = word
        elif not any(COLOUR.search(other) for other in lines):
            names[number] = word
    twice = {name for name, count in Counter(names.values()).items() if count > 1 or not name}
    return {value: name for value, name in names.items() if name not in twice}
