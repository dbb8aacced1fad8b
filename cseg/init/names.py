"""Names of classes from a file near the labels, if they fit what the labels hold."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cseg.datasets.description import BACKGROUNDS, UNPRINTED
from cseg.datasets.image_files import UTF16
from cseg.errors import listed

VOID_NAMES = ("void", "unlabelled", "unlabeled", "ignore", "ignored")
LABELME_IGNORE = "__ignore__"  # labelme's name of ignored pixels, above the name of value 0
GROUNDS = (*BACKGROUNDS, *VOID_NAMES, "bg", "other", "others", "none", "unknown")
NAME_FILES = ("classes.txt", "class_names.txt", "label_colors.txt", "class_dict.csv", "labels.txt")
# r g b, the last ones in a row; before them the value, if a line begins with four numbers
COLOUR = re.compile(
    r"(?:^(-?\d+)[\s,;:]+|(?<![\w.])(?!(?:\d+[\s,;]+){3}\d))"
    r"(\d{1,3})[\s,;]+(\d{1,3})[\s,;]+(\d{1,3})(?!\d)"
)
FLAGS = re.compile(r"^\s*(?:[\d.]+\s+)+(?=\")")  # 1 1 1 before "name", as ITK-SNAP has them
FIRST = re.compile(r"(-?\d+)(?:\s*[:,;=]\s*|[.)]?\s+)(\S.*)")  # 255: crack
LAST = re.compile(r"(.*\S)\s*[:,;=\t]\s*(-?\d+)")  # crack,255
HEADING = re.compile(r"(?<![a-z])(id|index|names?|values?)(?![a-z])", re.IGNORECASE)
AROUND = " \t,;:\"'"  # what may stand around a name
MOST_SHOWN = 6  # values in a sentence


@dataclass(frozen=True, kw_only=True)
class NameFile:
    """Names as a file has them: by colour 0xRRGGBB, by value, or one a line."""

    path: Path
    by_colour: Mapping[int, str]
    by_value: Mapping[int, str]
    in_order: tuple[str, ...]  # empty if colours or values stand beside all names


def clean(name: str) -> str:
    """A name as descriptions take it: without control characters, and blanks at its ends."""
    letters = (" " if unicodedata.category(letter) in UNPRINTED else letter for letter in name)
    return "".join(letters).strip()


def read_names(folders: Sequence[Path]) -> NameFile | None:
    """The first file of names in the folders; None if there is none, or it is empty."""
    paths = [folder / name for folder in folders for name in NAME_FILES]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        return None
    data = path.read_bytes()
    encoding = "utf-16" if data.startswith(UTF16) else "utf-8-sig"
    text = data.decode(encoding, errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip() and line[0] != "#"]
    if not lines:
        return None
    rows = [_row(line) for line in lines]
    coloured = [row for row in rows if row[1] is not None]
    # a first line without number, above lines with one, may be a heading, or a class
    heading = len(rows) > 1 and rows[0][0] is None
    classes = heading and not HEADING.search(lines[0])
    valued = coloured or rows[heading:]
    numbered = bool(coloured) or all(value is not None for value, _, _ in valued)
    in_order = tuple(clean(line).strip(AROUND) for line in lines)
    in_order = in_order[in_order[0] == LABELME_IGNORE :]
    return NameFile(
        path=path,
        by_colour=_unique((colour, word) for _, colour, word in coloured),
        by_value=_unique((value, word) for value, _, word in valued) if numbered else {},
        in_order=() if coloured or (numbered and not classes) else in_order,
    )


def _row(line: str) -> tuple[int | None, int | None, str]:
    """The value, the colour and the name in a line; None for a number that is not there."""
    value, word, colour = "", line, None
    found = COLOUR.search(line)
    if found and all(int(level) <= 255 for level in found.groups()[1:]):
        red, green, blue = map(int, found.groups()[1:])
        colour = red << 16 | green << 8 | blue
        after = FLAGS.sub("", line[found.end() :])
        value, word = found[1] or "", f"{line[: found.start()]} {after}".strip(AROUND)
    first, last = FIRST.fullmatch(word), LAST.fullmatch(word)
    if first and not value:
        value, word = first.groups()
    elif last and not value:
        word, value = last.groups()
    return int(value) if value else None, colour, clean(word).strip(AROUND)


def _unique(named: Iterable[tuple[int | None, str]]) -> dict[int, str]:
    """Names by value or colour, without names that two have, and without keys that have two."""
    pairs = {(key, name) for key, name in named if key is not None and name}
    keys, names = (Counter(pair[i] for pair in pairs) for i in (0, 1))
    return {key: name for key, name in pairs if keys[key] == names[name] == 1}


def names_that_fit(
    file: NameFile, used: Sequence[int], kept: Sequence[int], shown: Mapping[int, int] | None
) -> tuple[dict[int, str], str]:
    """The names of values, or of colours, and a sentence on names that are not used.

    `used` are all that labels hold, `kept` those that are classes by their number alone; `shown`
    are the colours of values, as far as palettes have them, and None if labels are meant by colour.
    """
    colour_of = {key: key for key in used} if shown is None else shown
    named = {v: file.by_colour[colour_of[v]] for v in used if colour_of.get(v) in file.by_colour}
    if shown is not None:
        if set(kept) - named.keys():  # a palette that shares some of its colours by chance
            named = {}
        named = named or _by_number(file, used, kept)
        named = named or _unique(_by_line(file.in_order, kept).items())
        if set(kept) - named.keys() == {0} != set(kept) and not _has_ground(named.values()):
            if _from_one(file, used, kept):
                return {}, (
                    f"The names in {file.path} are not used, since it numbers as many as the "
                    f"labels have values, but up to {max(file.by_value)} instead of {kept[-1]}; "
                    "correct the numbers, or name the classes in the config."
                )
            named[0] = BACKGROUNDS[0]
    return named, _doubt(file, named, kept, coloured=shown is None)


def _by_number(file: NameFile, used: Sequence[int], kept: Sequence[int]) -> dict[int, str]:
    """Names of values by their numbers; none if the lines fit better (road, 2 wheeler)."""
    named = {value: file.by_value[value] for value in used if value in file.by_value}
    odd = file.by_value.keys() - set(used) and set(kept) - named.keys() - {0}
    return {} if odd and _by_line(file.in_order, kept) else named


def _from_one(file: NameFile, used: Sequence[int], kept: Sequence[int]) -> bool:
    """Whether names seem to be numbered from 1 where labels count from 0."""
    numbers = [value for value in file.by_value if value in kept or value not in used]
    return len(numbers) == len(kept) and max(numbers) > kept[-1]


def _doubt(file: NameFile, named: Mapping[int, str], kept: Sequence[int], *, coloured: bool) -> str:
    """A sentence on names that are not used, that are missing or that are guesses; or nothing."""
    what = "colours" if coloured else "values"
    if not named:
        numbers = "" if coloured else f" {listed(kept, MOST_SHOWN)}"
        before = "the colour (128 0 0 road)" if coloured else "the value (1: road)"
        return (
            f"The names in {file.path} are not used, since they do not fit the {what}{numbers} of "
            f"the labels; write {before} before each name, or name the classes in the config."
        )
    absent = [value for value in kept if value not in named]
    if absent:
        many = f"{len(absent)} of the {len(kept)} {what} of the labels"
        return f"{file.path} has no name for {many}; name them in the config."
    lines = dict(enumerate(file.in_order))
    if (
        len(kept) < len(lines)
        and not _has_ground(lines.values())
        and all(named[value] == lines.get(value) for value in kept)
    ):
        return (
            f"{file.path} has more names than the labels have values, so the first was taken for "
            "the value 0, the next for 1, and so on; correct the names in the config if that is "
            "wrong."
        )
    given = {*file.by_colour.values(), *file.by_value.values(), *file.in_order}
    if named.get(0) == BACKGROUNDS[0] and not _has_ground(given):
        return (
            f"{file.path} has no name for the value 0, so 0 was taken for background; correct the "
            "names in the config if it is not."
        )
    return ""


def _by_line(names: Sequence[str], kept: Sequence[int]) -> dict[int, str]:
    """Names of values from lines without numbers; none if it is not clear which is whose.

    Line n, from 0, is value n if the lines end with the largest value, or if there are more and one
    is the background's. If there is one line too few, 0 is background. Values with gaps, such as 0
    and 255, go by their order if there are as many names.
    """
    if not names or not kept or kept[0] < 0:
        return {}
    top, ground = kept[-1], _has_ground(names)
    unnamed = kept[0] == 0 and not ground  # 0 may be a background that no line names
    if top < len(names) and (ground or (top == len(names) - 1 and kept[0] == 0)):
        return {value: names[value] for value in kept}
    if top == len(names) and unnamed:
        return {value: (BACKGROUNDS[0], *names)[value] for value in kept}
    if top >= len(names) == len(kept) and (kept[0] == 0 or not ground):
        return dict(zip(kept, names, strict=True))
    if top > len(names) == len(kept) - 1 and unnamed:
        return dict(zip(kept, (BACKGROUNDS[0], *names), strict=True))
    return {}


def _has_ground(names: Iterable[str]) -> bool:
    return any(name.lower() in GROUNDS for name in names)
