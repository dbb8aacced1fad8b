"""Judge a dataset as a whole: what no single pair can tell.

Problems end the index; notices are said in its log.
"""

from collections.abc import Sequence

from cseg.datasets.copies import leaks, near_copies
from cseg.datasets.pairs import Pair, Problem
from cseg.datasets.samples import SPLITS, DatasetInfo, colour_name
from cseg.errors import listed

DARK = 0.5  # a deep image none of whose pixels is above this share of its type's range is too dark


def problems_of(pairs: Sequence[Pair], info: DatasetInfo, complete: bool) -> list[str]:
    """What makes a dataset unsound; each a sentence with its remedy.

    The pairs are the sound ones; they are counted if they are `complete`, that is, all there are.
    """
    found = [*leaks(pairs, info), *_palettes(pairs), *_unsure(pairs), *_dark(pairs)]
    for split in SPLITS if complete else ():
        found += _too_few_classes([pair for pair in pairs if pair.split == split], split, info)
    return found


def notices_of(pairs: Sequence[Pair], info: DatasetInfo) -> list[str]:
    """What may be meant but changes what a result says."""
    found = []
    totals = {split: _total([p for p in pairs if p.split == split], info) for split in SPLITS}
    for split, effect in (("train", "learned"), ("val", "measured")):
        absent = [name for name, n in zip(info.class_names, totals[split]) if n == 0]
        if absent:
            found.append(
                f"no {split} label has a pixel of {listed(absent)}, which cannot be {effect}"
            )
    ignored = sum(pair.pixels_ignored for pair in pairs)
    if info.ignore_default and ignored:
        found.append(_default(pairs, ignored))
    first: dict[tuple[str, str], Pair] = {}
    twice = [p for p in pairs if first.setdefault((p.split, p.image_sha256), p) is not p]
    if twice:
        names = listed([pair.image for pair in twice])
        found.append(f"{len(twice)} images are files that their split has already: {names}")
    near = near_copies(pairs, info)
    if near:
        names = listed([f"{pair.image} like {other.image} ({other.split})" for pair, other in near])
        found.append(
            f"{len(near)} val images differ by their compression only from images to learn from: "
            f"{names}; take one of each off its list, or put its id into the dataset's option "
            "exclude"
        )
    return found


def grouped(problems: Sequence[Problem]) -> list[str]:
    """One line for all problems of a kind: the first, how many there are, and three names."""
    kinds: dict[str, list[Problem]] = {}
    for problem in problems:
        kinds.setdefault(problem.kind, []).append(problem)
    lines = []
    for alike in kinds.values():
        names = listed([problem.file.name for problem in alike])
        more = f" ({len(alike):,} alike: {names})" if len(alike) > 1 else ""
        lines.append(alike[0].text + more)
    return lines


def _palettes(pairs: Sequence[Pair]) -> list[str]:
    """Palettes that show one index in two colours, or a colour single in both at two indices."""
    colours: dict[int, tuple[int, Pair]] = {}
    indices: dict[int, tuple[int, Pair]] = {}
    for pair in pairs:
        palette = pair.meaning.palette if pair.meaning else {}
        shown = list(palette.values())
        for index, colour in palette.items():
            single = shown.count(colour) == 1 and colour >= 0
            for seen, key, value in ((colours, index, colour), (indices, colour, index)):
                if seen is indices and not single:
                    continue
                known, other = seen.setdefault(key, (value, pair))
                if known != value:
                    return [_two_palettes(pair, other, seen is colours, key, value, known)]
    return []


def _two_palettes(pair: Pair, other: Pair, by_index: bool, key: int, value: int, known: int) -> str:
    if by_index:
        what = f"shows index {key} as {colour_name(value)}"
        then = f"shows it as {colour_name(known)}"
    else:
        what = f"has the colour {colour_name(key)} at index {value}"
        then = f"has it at index {known}"
    return (
        f"the palettes of two labels differ: {pair.label} {what}, {other.label} {then}; state the "
        "classes' colours, which then decide, or set labels_by: stored if the indices are right"
    )


def _unsure(pairs: Sequence[Pair]) -> list[str]:
    """White that is a class in some files since nobody has named 255, and ignored in others.

    A program that compresses files again without loss makes such kinds out of one.
    """
    meanings = [(pair, pair.meaning) for pair in pairs if pair.meaning]
    doubtful, way = next(((pair, m.unsure) for pair, m in meanings if m.unsure), (None, ""))
    other = next((pair for pair, meaning in meanings if way not in meaning.ways), None)
    if doubtful is None or other is None:
        return []
    return [
        f"label {doubtful.label}, {way}, shows white, which is read as a class, but label "
        f"{other.label} is not {way}, and 255 is ignored by default; state ignore in the "
        "description, or set labels_by: stored or shown"
    ]


def _dark(pairs: Sequence[Pair]) -> list[str]:
    """Deep images that all use a small part of their type's range."""
    deep = [(*pair.peak, pair) for pair in pairs if pair.peak]
    if not deep or any(peak > DARK * most for peak, most, _ in deep):
        return []
    top, most, pair = max(deep, key=lambda item: item[0])
    return [
        f"images of more than 8 bits hold values up to {top:.0f} of {most:.0f} only "
        f"({len(deep):,} images; {top:.0f} in {pair.image}) and would be read nearly black; state "
        "their range in the description: add image_range: [low, high]"
    ]


def _too_few_classes(pairs: Sequence[Pair], split: str, info: DatasetInfo) -> list[str]:
    if not pairs:
        return [f"{info.name} has no {split} image; name at least one in its {split} list"]
    total, ignored = _total(pairs, info), sum(pair.pixels_ignored for pair in pairs)
    shown = [name for name, n in zip(info.class_names, total) if n]
    if len(shown) >= 2:
        return []
    hint = f" ({_default(pairs, ignored)})" if info.ignore_default and ignored else ""
    what = f"only the class {shown[0]}" if shown else "no class: all pixels are ignored"
    return [
        f"the {split} labels of {info.name} show {what}{hint}, and at least two are needed; "
        "correct the classes' values and ignore, or add images"
    ]


def _default(pairs: Sequence[Pair], ignored: int) -> str:
    share = 100 * ignored / sum(sum(pair.pixels) + pair.pixels_ignored for pair in pairs)
    return (
        f"255 covers {share:.2g} % of the pixels and is ignored by default; if it is a class, give "
        "that class values: [255] and set ignore: []"
    )


def _total(pairs: Sequence[Pair], info: DatasetInfo) -> list[int]:
    return [sum(pair.pixels[c] for pair in pairs) for c in range(info.num_classes)]
