"""Which classes there are, from what label files hold.

Outlines have names. An image means its colours where it is a colour image, else its values (palette
indices, grey values), of which 255 is ignored unless it is one of two, is the last of evenly spaced
shades, or has a name.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from cseg.datasets.description import BACKGROUNDS
from cseg.datasets.label_values import count_values, read_raw_label
from cseg.datasets.polygons import Drawing
from cseg.datasets.samples import IGNORE, MAX_CLASSES, TRANSPARENT
from cseg.errors import CsegError, DataError
from cseg.init.names import LABELME_IGNORE, VOID_NAMES, NameFile, clean, names_that_fit
from cseg.storage.tables import rounded

MOST_LEVELS = 64  # more grey values than that are shades, not classes
VOID = 0xE0E0C0  # the colour in which VOC, and cseg, draw ignored pixels


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


def guess_classes(found: LabelKinds, file: NameFile | None) -> tuple[dict[str, Any], list[str]]:
    """Keys of a description: classes, and what is ignored or background; and sentences on them.

    `file` holds names of values or colours, if there is such a file near the labels.

    Raises:
        DataError: there are too many values or colours for classes, or only one.
    """
    used = sorted(value for value, count in found.pixels.items() if count)
    if found.meant_by == "name":  # a class for each, and one for what no outline covers
        if set(used) <= {LABELME_IGNORE}:
            raise DataError("the labels have no outline; draw some, or give other labels")
        return _outlined(used), []
    _check_number(found, used)
    names, said = dict[int, str](), ""
    kept = _kept(found, used, names)
    if file:
        shown = found.colours if found.meant_by == "value" else None
        names, said = names_that_fit(file, used, kept, shown)
        kept = _kept(found, used, names)
    ignored = [value for value in used if value not in kept]
    colours = [found.colours.get(value, -1) for value in kept]
    drawn = len(set(colours)) == len(kept) and all(0 <= c < TRANSPARENT for c in colours)
    classes = []
    for place, value in enumerate(kept):
        name = _name(found, kept, value)
        name += " (no name)" if name in names.values() else ""
        entry: dict[str, Any] = {"name": names.get(value, name)}
        if found.meant_by == "colour" and value != TRANSPARENT:
            entry["colour"] = _written(found, value)
        else:
            entry["values"] = _written(found, value)
        if found.meant_by == "value" and drawn:
            entry["colour"] = list(colours[place].to_bytes(3))
        classes.append(entry)
    keys = {"classes": classes, "ignore": [_written(found, value) for value in ignored]}
    return keys, [sentence for sentence in (said, _doubt(found, kept, names)) if sentence]


def _doubt(found: LabelKinds, kept: Sequence[int], names: Mapping[int, str]) -> str:
    """A sentence on 255, if it is ignored, or a class, by a guess."""
    void_by_name = names.get(IGNORE, "").lower() in VOID_NAMES
    if found.meant_by != "value" or not found.pixels.get(IGNORE) or void_by_name:
        return ""
    share = found.pixels[IGNORE] / sum(found.pixels.values())
    covers = f"{IGNORE} covers {rounded(100 * share, 2)} % of all pixels and is"
    if IGNORE not in kept:
        return (
            f"{covers} ignored by a guess; if it is a class, add "
            f"{{name: NAME, values: {IGNORE}}} to classes in the config and take it off ignore."
        )
    if _are_shades(found) and IGNORE not in names:
        return (
            f"{covers} a class by a guess, since the values are evenly spaced; if it is to be "
            f"ignored, write ignore: [{IGNORE}] in the config and take it off classes."
        )
    return ""


def _outlined(labels: Sequence[str]) -> dict[str, Any]:
    """Keys of a description: a class for each name of outlines, and one that no outline covers."""
    by_name: dict[str, list[str]] = {}
    for label in labels:
        if label != LABELME_IGNORE:
            by_name.setdefault(clean(label) or "no name", []).append(label)
    ignore = {"ignore": [IGNORE, LABELME_IGNORE]} if LABELME_IGNORE in labels else {}
    ground = next((name for name in by_name if name.lower() in BACKGROUNDS), BACKGROUNDS[0])
    by_name = {ground: [ground], **by_name}
    # a class's place is its value in the labels that are drawn
    classes = [
        {"name": name} if alike == [name] else {"name": name, "values": [place, *alike]}
        for place, (name, alike) in enumerate(by_name.items())
    ]
    return {"classes": classes, "background": ground, **ignore}


def _kept(found: LabelKinds, used: Sequence[int], names: Mapping[int, str]) -> list[int]:
    """The values or colours that are classes: all, if fewer than two would be left."""
    kept = [value for value in used if not _is_void(found, value, names)]
    return kept if len(kept) >= 2 else list(used)


def _is_void(found: LabelKinds, value: int, names: Mapping[int, str]) -> bool:
    if names.get(value, "").lower() in VOID_NAMES:
        return True
    if found.meant_by == "colour":
        return value in (VOID, TRANSPARENT)
    white = value == IGNORE and (found.colours.get(value) == VOID or not _are_shades(found))
    named = value in names and found.colours.get(value) != VOID
    return not named and (white or not 0 <= value < 2**16)


def _are_shades(found: LabelKinds) -> bool:
    """Whether the values are three or more, evenly spaced from 0 to 255: 0, 85, 170, 255."""
    used = sorted(value for value, count in found.pixels.items() if count)
    even = np.linspace(0, IGNORE, len(used))
    return len(used) >= 3 and bool((np.abs(np.array(used) - even) < 1).all())


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
