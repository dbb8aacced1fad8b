"""The same picture twice in a dataset: the same file, the same pixels, or only compressed again."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from cseg.datasets.pairs import Pair
from cseg.datasets.reading import read_image
from cseg.datasets.samples import DatasetInfo

# Grey levels. JPEG of quality 75 moves the mean of an 8x8 block by up to 4 levels, on CamVid and
# VOC (the step of its table is 1 level; clipping and coarse colours add to it), and the cells of a
# sketch by up to 4. Frames of CamVid's camera at a standstill differ by 7 in some block.
CELL_LEVELS, BLOCK_LEVELS = 8, 5
BLOCK = 8  # pixels a side
# Correlation of the detail within blocks: 0.9 and more for JPEG of quality 50 and better, about 0
# for two photographs of an empty field, which share their shading and not their noise.
DETAIL = 0.8
LEAST_DETAIL = 1.0  # grey levels (standard deviation) below which an image is flat


def leaks(pairs: Sequence[Pair], info: DatasetInfo) -> list[str]:
    """Validation images that are also there to learn from, under another name or format."""
    learned = [pair for pair in pairs if pair.split != "val"]
    by_file = {pair.image_sha256: pair for pair in learned}
    by_pixels = defaultdict(list)
    for pair in learned:
        by_pixels[_look(pair)].append(pair)
    found = []
    for pair in pairs:
        if pair.split != "val":
            continue
        other, what = by_file.get(pair.image_sha256), "the same file as"
        if other is None:
            what = "the same picture as"
            alike = by_pixels.get(_look(pair), [])
            own = read_image(pair.image, info) if alike else None
            same = (s for s in alike if (read_image(s.image, info) == own).all())
            other = next(same, None)
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
        for pair, other in zip(measured, _nearest(measured, learned), strict=True):
            if other is not None and _compressed_again(pair.image, other.image, info):
                found.append((pair, other))
    return found


def _nearest(pairs: Sequence[Pair], others: Sequence[Pair]) -> list[Pair | None]:
    """Of `others`, the one whose sketch differs least, if by at most `CELL_LEVELS` in each cell."""
    if not others:
        return [None] * len(pairs)
    others = sorted(others, key=lambda pair: sum(pair.sketch))
    cells = [np.frombuffer(pair.sketch, np.uint8) for pair in others]
    sketches = np.stack(cells).astype(np.int16)
    sums = sketches.sum(axis=1, dtype=np.int64)
    nearest: list[Pair | None] = []
    for pair in pairs:
        own = np.frombuffer(pair.sketch, np.uint8).astype(np.int16)
        ends = own.sum(dtype=np.int64) + np.array([-1, 1]) * CELL_LEVELS * own.size
        first, last = np.searchsorted(sums, ends)  # sketches of about the same mean
        apart = np.abs(sketches[first:last] - own).max(axis=1)
        best = int(apart.argmin()) if len(apart) else -1
        close = best >= 0 and apart[best] <= CELL_LEVELS
        nearest.append(others[first + best] if close else None)
    return nearest


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


def _look(pair: Pair) -> tuple[int, int, int]:
    return pair.crc, pair.width, pair.height
