"""Judge a dataset as a whole: what no single pair can tell, such as the same picture twice.

Problems end the index; notices are said in its log.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from cseg.datasets.pairs import Pair, Problem
from cseg.datasets.reading import read_image
from cseg.datasets.samples import SPLITS, DatasetInfo, colour_name
from cseg.errors import listed
from cseg.storage.tables import rounded

DARK = 0.5  # a deep image none of whose pixels is above this share of its type's range is too dark
# Grey levels. JPEG of quality 75 moves the mean of an 8x8 block by up to 4 levels, on CamVid and
# VOC (the step of its table is 1 level; clipping and coarse colours add to it), and the cells of a
# sketch by up to 4. Frames of CamVid's camera at a standstill differ by 7 in some block.
CELL_LEVELS, BLOCK_LEVELS = 8, 5
BLOCK = 8  # pixels a side
# Correlation of the detail within blocks: 0.9 and more for JPEG of quality 50 and better, about 0
# for two photographs of an empty field, which share their shading and not their noise.
DETAIL = 0.8
LEAST_DETAIL = 1.0  # grey levels (standard deviation) below which an image is flat


def problems_of(pairs: Sequence[Pair], info: DatasetInfo, complete: bool) -> list[str]:
    """What makes a dataset unsound; each a sentence with its remedy.

    The pairs are the sound ones; they are counted if they are `complete`, that is, all there are.
    """
    found = [*_leaks(pairs, info), *_palettes(pairs), *_unsure(pairs), *_dark(pairs)]
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


def _leaks(pairs: Sequence[Pair], info: DatasetInfo) -> list[str]:
    """Validation images that are also there to learn from, under another name or format."""
    learned = [pair for pair in pairs if pair.split != "val"]
    by_file = {pair.image_sha256: pair for pair in learned}
    by_crc, read = defaultdict(list), partial(read_image, info=info)
    for pair in learned:
        by_crc[pair.crc].append(pair)
    found = []
    for pair in pairs:
        if pair.split != "val":
            continue
        other, what = by_file.get(pair.image_sha256), "the same file as"
        if other is None:
            what = "the same picture as"
            alike = by_crc[pair.crc]
            own = read(pair.image) if alike else np.empty(0)
            other = next((one for one in alike if np.array_equal(read(one.image), own)), None)
        if other is not None:
            found.append(
                f"image {pair.image} (val) is {what} {other.image} ({other.split}); take one off "
                f"its list, or put its id ({pair.id}) into the dataset's option exclude"
            )
    return found


def near_copies(pairs: Sequence[Pair], info: DatasetInfo) -> list[tuple[Pair, Pair]]:
    """Validation images that differ by their compression only from another, each before that one.

    Of each validation image, the one of the same size whose sketch is nearest is looked at; the two
    are copies if their 8x8 blocks have the same mean and the same detail, but for `BLOCK_LEVELS`
    and `DETAIL`. Flat images are none.
    """
    by_size = defaultdict(list)
    for pair in pairs:
        by_size[pair.width, pair.height].append(pair)
    found = []
    for alike in by_size.values():
        learned = [pair for pair in alike if pair.split != "val"]
        measured = [pair for pair in alike if pair.split == "val"]
        for pair, other in _nearest(measured, learned):
            if _compressed_again(pair.image, other.image, info):
                found.append((pair, other))
    return found


def _nearest(pairs: Sequence[Pair], others: Sequence[Pair]) -> Iterator[tuple[Pair, Pair]]:
    """Pairs with the one of `others` whose sketch differs least, by `CELL_LEVELS` at most."""
    if not others:
        return
    others = sorted(others, key=lambda pair: sum(pair.sketch))
    cells = [np.frombuffer(pair.sketch, np.uint8) for pair in others]
    sketches = np.stack(cells).astype(np.int16)
    sums = sketches.sum(axis=1, dtype=np.int64)
    for pair in pairs:
        own = np.frombuffer(pair.sketch, np.uint8).astype(np.int16)
        ends = own.sum(dtype=np.int64) + np.array([-1, 1]) * CELL_LEVELS * own.size
        first, last = np.searchsorted(sums, ends)  # sketches of about the same mean
        apart = np.abs(sketches[first:last] - own).max(axis=1)
        if apart.min(initial=CELL_LEVELS + 1) <= CELL_LEVELS:
            yield pair, others[first + int(apart.argmin())]


def _compressed_again(one: Path, other: Path, info: DatasetInfo) -> bool:
    (means, detail), (other_means, other_detail) = (_in_blocks(p, info) for p in (one, other))
    spread = detail.std() * other_detail.std() if detail.size else 0.0
    if spread < LEAST_DETAIL**2 or np.abs(means - other_means).max() > BLOCK_LEVELS:
        return False
    return float((detail * other_detail).mean() / spread) >= DETAIL


def _in_blocks(path: Path, info: DatasetInfo) -> tuple[np.ndarray, np.ndarray]:
    """Grey means of an image's blocks, and what its pixels differ from them."""
    grey = np.asarray(Image.fromarray(read_image(path, info)).convert("L"), np.float32)
    rows, columns = (length // BLOCK for length in grey.shape)
    grey = grey[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK)
    means = grey.mean(axis=(1, 3), keepdims=True)
    return means, grey - means


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
    seen: dict[tuple[str, int], tuple[int, Pair]] = {}
    for pair in pairs:
        palette = pair.meaning.palette if pair.meaning else {}
        shown = Counter(colour for colour in palette.values() if colour >= 0)
        facts = [("index", index, colour) for index, colour in palette.items()]
        facts += [("colour", c, index) for index, c in palette.items() if shown[c] == 1]
        for kind, key, value in facts:
            known, other = seen.setdefault((kind, key), (value, pair))
            if known == value:
                continue
            if kind == "index":
                what = f"shows index {key} as {colour_name(value)}"
                then = f"shows it as {colour_name(known)}"
            else:
                what = f"has the colour {colour_name(key)} at index {value}"
                then = f"has it at index {known}"
            return [
                f"the palettes of two labels differ: {pair.label} {what}, {other.label} {then}; "
                "state the classes' colours, which then decide, or set labels_by: stored if the "
                "indices are right"
            ]
    return []


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
        f"255 covers {rounded(share, 2)} % of the pixels and is ignored by default; if it is a "
        "class, give that class values: [255] and set ignore: []"
    )


def _total(pairs: Sequence[Pair], info: DatasetInfo) -> list[int]:
    return [sum(pair.pixels[c] for pair in pairs) for c in range(info.num_classes)]
