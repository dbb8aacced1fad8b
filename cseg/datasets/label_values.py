"""From what a label file stores to class ids, or a refusal; the same wherever it is read.

A label file can be read in three ways: by what is stored (the grey value, or the index into a
palette), by the grey level that a viewer shows, and by the colour that it shows. Stored value and
shown level differ in palette files and in grey files of 1, 2 and 4 bits (and 16, if all values are
multiples of 257); a program that compresses a file again without loss keeps what is shown, not what
is stored. A reading is possible if every value has a class in it. If several are and give other
classes, stated colours decide for palettes and colour images, and other files are refused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from cseg.datasets.decode import Decoded, open_image
from cseg.datasets.samples import IGNORE, PLAIN, TRANSPARENT, DatasetInfo, colour_name
from cseg.errors import DataError, listed

UNKNOWN = 254  # marks values that are no class, until they are reported
GREY = 0x010101  # the colour of level g is g times this
ONE_BIT, COLOUR = "of one bit", "of stated colours"
Classes = dict[int, int]  # stored value (or colour) -> class id


@dataclass(frozen=True)
class RawLabel:
    """A decoded label file."""

    path: Path  # the file
    kind: str  # grey, palette or colour
    values_HW: np.ndarray  # grey values, palette indices, or colours 0xRRGGBB
    colours: Mapping[int, int]  # of the palette, 0xRRGGBB by index; empty for other kinds
    file: Decoded  # how it was decoded: mode, bits, size as stored and orientation tag


@dataclass(frozen=True)
class Meaning:
    """What a label file's values mean."""

    classes: Classes  # class id, or 255, by value
    counts: Mapping[int, int]  # pixels by value
    # colours by index, of the indices used, where the indices were what counted
    palette: Mapping[int, int]
    # ONE_BIT, if the file has one bit; COLOUR, if every shown colour is stated
    ways: frozenset[str]
    # the way for which a white that nobody has named is a class; empty if there is none
    unsure: str


def read_raw_label(
    path: str | Path, info: DatasetInfo = PLAIN, sha256: str | None = None
) -> RawLabel:
    """Decode a label file to what it stores; arguments as `open_image`, which raises, too.

    Raises:
        DataError: lossy, decimal values, half-transparent pixels, colours of 16 bits; names the
            file.
    """
    file = open_image(path, "label", info, sha256)
    path, image = Path(path), file.image
    if file.lossy:
        raise DataError(
            f"label {path} is a {file.format} file, a format that changes values when it stores "
            "them; save labels as PNG, from the program that drew them"
        )
    if image.mode == "P":
        return RawLabel(path, "palette", np.asarray(image), _palette(image), file)
    if image.mode in ("1", "L"):
        levels = np.asarray(image)
        values = levels.astype(np.uint8) if image.mode == "1" else levels // _step(file.bits)
        return RawLabel(path, "grey", values, {}, file)
    if image.mode == "I" or image.mode.startswith("I;16"):
        kind = np.int32 if image.mode == "I" else np.uint16
        return RawLabel(path, "grey", np.asarray(image).astype(kind), {}, file)
    if image.mode == "F" or file.bits > 8:
        what = "decimal values" if image.mode == "F" else f"colours of {file.bits} bits"
        raise DataError(f"label {path} has {what}; save it as a PNG of 8 bits per channel")
    return RawLabel(path, "colour", _colours(path, image), {}, file)


def class_ids(raw: RawLabel, info: DatasetInfo) -> np.ndarray:
    """Class ids of a label file's pixels, uint8 HxW, 255 ignored; raises as `meaning_of` does."""
    classes = meaning_of(raw, info).classes
    if raw.values_HW.dtype == np.uint8:
        table = np.zeros(256, np.uint8)
        table[list(classes)] = list(classes.values())
        return table[raw.values_HW]
    values = np.array(sorted(classes))
    sorted_classes = np.array([classes[v] for v in values.tolist()], np.uint8)
    return sorted_classes[np.searchsorted(values, raw.values_HW)]


def meaning_of(raw: RawLabel, info: DatasetInfo) -> Meaning:
    """What the values of a label file mean.

    Raises:
        DataError: a value or colour that is no class, or two readings that give other classes.
    """
    counts = count_values(raw.values_HW)
    shown = _shown(raw, list(counts))
    stored = None if raw.kind == "colour" else _looked_up({v: v for v in counts}, info.label_map)
    levels, colours = _looked_up(_levels(shown), info.label_map), _by_colour(raw, shown, info)
    if info.labels_by == "stored" and raw.kind != "colour":
        readings = [stored]
    elif info.labels_by == "shown":
        readings = [levels if colours is None else colours]
    elif raw.kind != "grey" and colours is not None:
        readings = [colours]
    else:
        readings = [stored, levels, colours]
    possible = [reading for reading in readings if reading is not None]
    sure = possible
    # 255 that nobody has named means less than one bit, or a stated colour.
    ways = [] if colours is None else [COLOUR]
    ways += [ONE_BIT] if raw.kind == "grey" and raw.file.bits == 1 else []
    if info.ignore_default and ways:
        sure = [reading for reading in possible if IGNORE not in reading.values()] or possible
    if not sure:
        raise _unknown(raw, counts, shown, info)
    if any(reading != sure[0] for reading in sure):
        raise _two_readings(raw, shown)
    if raw.kind == "palette" and colours is None and info.labels_by != "stored":
        _check_stated(raw, sure[0], info)
    told = bool(info.colour_map or info.labels_by)
    by_index = raw.kind == "palette" and not told and sure[0] == stored
    palette = shown if by_index else {}
    unsure = ways[0] if len(sure) < len(possible) else ""
    return Meaning(sure[0], counts, palette, frozenset(ways), unsure)


def count_values(values_HW: np.ndarray) -> dict[int, int]:
    """Pixels by value, ascending."""
    if values_HW.dtype == np.uint8:
        counted = enumerate(Image.fromarray(values_HW).histogram())
        return {value: count for value, count in counted if count}
    values, counts = np.unique(values_HW, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def _by_colour(raw: RawLabel, shown: Mapping[int, int], info: DatasetInfo) -> Classes | None:
    """Classes by shown colour, if colours are stated and every one has a class.

    A palette's index that is ignored by its number may have any colour.
    """
    if raw.kind == "palette":
        ignored = {v for v in shown if info.label_map.get(v) == IGNORE}
        shown = {v: c for v, c in shown.items() if v not in ignored or c in info.colour_map}
        found = _looked_up(shown, info.colour_map)
        return None if found is None else found | dict.fromkeys(ignored - found.keys(), IGNORE)
    return _looked_up(shown, info.colour_map)


def _shown(raw: RawLabel, used: Sequence[int]) -> dict[int, int]:
    """The colour that a viewer shows for each value; -1 where there is none."""
    if raw.kind == "colour":
        return {v: v for v in used}
    if raw.kind == "palette":
        return {v: raw.colours.get(v, -1) for v in used}
    bits = raw.file.bits
    if bits <= 8:
        return {v: v * _step(bits) * GREY for v in used}
    whole = bits == 16 and all(v % 257 == 0 and 0 <= v < 2**16 for v in used)
    return {v: v // 257 * GREY if whole else -1 for v in used}


def _levels(shown: Mapping[int, int]) -> dict[int, int]:
    """The grey level, 0..255, of each value's colour; -1 where not all are grey."""
    grey = all(0 <= colour < TRANSPARENT and colour % GREY == 0 for colour in shown.values())
    return {v: colour // GREY if grey else -1 for v, colour in shown.items()}


def _step(bits: int) -> int:
    """How far apart the levels of a grey file of so many bits are shown, on 0..255."""
    return 255 // (2 ** min(bits, 8) - 1)


def _looked_up(shown: Mapping[int, int], classes: Mapping[int, int]) -> Classes | None:
    found = {v: classes.get(s, UNKNOWN) for v, s in shown.items()}
    return None if UNKNOWN in found.values() or not classes else found


def _check_stated(raw: RawLabel, meaning: Classes, info: DatasetInfo) -> None:
    """Refuse a palette whose colours are not those stated for the classes of its indices."""
    for value, c in meaning.items():
        colour = raw.colours.get(value, -1)
        stated = info.colour_map.get(colour)
        free = stated is None and c not in info.colour_map.values()
        if c not in (IGNORE, stated) and not free:
            raise DataError(
                f"label {raw.path} shows index {value} as {colour_name(colour)}, which is not the "
                f"stated colour of class {info.class_names[c]}; correct the colours in the "
                "description, or set labels_by: stored there if the indices are what counts"
            )


def _two_readings(raw: RawLabel, shown: Mapping[int, int]) -> DataError:
    levels = ", ".join(f"{v} is shown as {colour_name(shown[v])}" for v in sorted(shown)[:5])
    return DataError(
        f"label {raw.path} ({raw.kind}, {raw.file.bits} bits) can be read in two ways that give "
        f"other classes: its value {levels}; set labels_by: stored or shown in the description, or "
        "save it as a grey PNG of 8 bits"
    )


def _unknown(
    raw: RawLabel, counts: Mapping[int, int], shown: Mapping[int, int], info: DatasetInfo
) -> DataError:
    if raw.kind == "colour" and not info.colour_map:
        return DataError(
            f"label {raw.path} is a colour image (mode {raw.file.image.mode}) and no class has a "
            "colour; state the classes' colours, or save it as a PNG whose values or palette "
            "indices are the class ids"
        )
    if raw.kind == "colour" or info.labels_by == "shown":
        total = raw.values_HW.size
        lost = {v: n for v, n in counts.items() if shown[v] not in info.colour_map}
        lost_values = [
            f"{colour_name(shown[v])} ({100 * n / total:.3g} %)"
            for v, n in sorted(lost.items(), key=lambda item: (-item[1], item[0]))
        ]
        what = "colours"
    else:
        lost = {v: n for v, n in counts.items() if v not in info.label_map}
        lost_values = [f"{value} ({count} pixels)" for value, count in sorted(lost.items())]
        what = "values"
    return DataError(
        f"label {raw.path} holds {what} that are no class: {listed(lost_values, 5)}; "
        "correct the file, or the dataset's classes and ignore value"
    )


def _palette(image: Image.Image) -> dict[int, int]:
    """Colours 0xRRGGBB by index; TRANSPARENT where a palette's entry is wholly transparent."""
    channels = np.reshape(image.getpalette() or [], (-1, 3)).astype(int)
    colours = (channels @ (1 << 16, 1 << 8, 1)).tolist()
    alpha = image.info.get("transparency", b"")
    clear = {alpha} if isinstance(alpha, int) else {i for i, a in enumerate(alpha) if a == 0}
    return {i: TRANSPARENT if i in clear else colour for i, colour in enumerate(colours)}


def _colours(path: Path, image: Image.Image) -> np.ndarray:
    """Colours 0xRRGGBB of an image's pixels, int32 HxW; TRANSPARENT where wholly transparent."""
    rgba = np.asarray(image.convert("RGBA")).astype(np.int32)
    red, green, blue, alpha = np.moveaxis(rgba, -1, 0)
    if ((alpha > 0) & (alpha < 255)).any():
        raise DataError(
            f"label {path} has half-transparent pixels, whose colour is not exact; save it without "
            "transparency"
        )
    return np.where(alpha == 0, TRANSPARENT, red << 16 | green << 8 | blue)
