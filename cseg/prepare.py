"""Stage prepare (optional): decode every pair once, so that later epochs only copy bytes.

The cache is a folder of three files: `images.npy` and `labels.npy`, flat uint8 arrays that are
memory-mapped when read, and `cache.csv`, which says where each pair lies in them.
"""

import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image
from tqdm import tqdm

from cseg.datasets.samples import load_info, open_image, read_label
from cseg.errors import DataError


class Cache:
    """The pairs of a cache folder, read without decoding."""

    def __init__(self, folder: str | Path):
        folder = Path(folder)
        try:
            table = pd.read_csv(folder / "cache.csv", dtype={"id": str}, keep_default_na=False)
            self._images = np.load(folder / "images.npy", mmap_mode="r")
            self._labels = np.load(folder / "labels.npy", mmap_mode="r")
        except (OSError, ValueError, EOFError) as error:
            raise DataError(
                f"cannot read the prepared cache {folder}: {error}; delete it and run again"
            ) from error
        self._places = {row.id: row for row in table.itertuples()}

    def read(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the image (uint8 HxWx3) and class ids (uint8 HxW, 255 ignored) of an id.

        Both are read-only views of the mapped files.
        """
        place = self._places[name]
        start, height, width = place.offset, place.height, place.width
        end = start + height * width
        image = self._images[3 * start : 3 * end].reshape(height, width, 3)
        return image, self._labels[start:end].reshape(height, width)


class _Place(NamedTuple):
    id: str
    width: int
    height: int
    offset: int  # pixels before this pair


def prepare(
    index_csv: str | Path,
    dataset_json: str | Path,
    out: str | Path,
    shorter_side: int,
    workers: int,
) -> None:
    """Write the cache of every indexed pair to the folder `out`; says its size before it starts.

    Args:
        index_csv: written by the index stage.
        dataset_json: written by the index stage.
        out: the folder to make; replaced whole if it is there.
        shorter_side: pixels to which the shorter side is reduced (images: bilinear over all
            covered pixels, labels: nearest); smaller pairs, and all with 0, keep their size.
        workers: threads.

    Raises:
        DataError: not enough space, or a file has changed since the index was made.
    """
    table = pd.read_csv(index_csv, dtype={"id": str}, keep_default_na=False)
    places = plan(table, shorter_side)
    size = 4 * sum(place.width * place.height for place in places)
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(out.parent).free
    told = f"prepared cache of {len(places)} pairs at {out}: {size / 2**20:.1f} MiB"
    print(f"{told}, {free / 2**20:.0f} MiB free", file=sys.stderr)
    if size > free:
        raise DataError(f"{told} do not fit into {free / 2**20:.1f} MiB; lower the image size")
    label_map = load_info(dataset_json).label_map
    scratch = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        images = _new_array(scratch / "images.npy", 3 * size // 4)
        labels = _new_array(scratch / "labels.npy", size // 4)

        def copy(number: int) -> None:
            row, place = table.iloc[number], places[number]
            picture = open_image(row["image"])
            if picture.size != (row["width"], row["height"]):
                raise DataError(f"{row['image']} has changed since it was indexed; run index again")
            target = (place.width, place.height)
            pixels = np.asarray(picture.convert("RGB").resize(target, Image.Resampling.BILINEAR))
            classes = Image.fromarray(read_label(row["label"], label_map))
            start, end = place.offset, place.offset + place.width * place.height
            images[3 * start : 3 * end] = pixels.ravel()
            labels[start:end] = np.asarray(classes.resize(target, Image.Resampling.NEAREST)).ravel()

        bar = tqdm(total=len(places), desc="prepare", disable=not sys.stderr.isatty())
        with bar, ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
            for _ in pool.map(copy, range(len(places))):
                bar.update()
        images.flush()
        labels.flush()
        pd.DataFrame(places).to_csv(scratch / "cache.csv", index=False)
        scratch.chmod(0o755)
        if out.exists():
            shutil.rmtree(out)
        scratch.rename(out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def plan(table: pd.DataFrame, shorter_side: int) -> list[_Place]:
    """Place every pair of an index behind the one before it, at its reduced size."""
    places, offset = [], 0
    for name, width, height in zip(table["id"], table["width"], table["height"]):
        shorter = min(width, height)
        if 0 < shorter_side < shorter:
            width = max(1, round(width * shorter_side / shorter))
            height = max(1, round(height * shorter_side / shorter))
        places.append(_Place(name, int(width), int(height), offset))
        offset += int(width) * int(height)
    return places


def _new_array(path: Path, length: int) -> np.memmap:
    return np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(length,))
