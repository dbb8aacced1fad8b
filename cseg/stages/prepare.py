"""Stage prepare (optional): decode every training pair once, so that epochs only copy bytes."""

import os
import shutil
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from cseg.datasets.samples import load_info
from cseg.errors import DataError
from cseg.images.transforms import resized_shape
from cseg.stages.run import pairs_of
from cseg.storage.files import atomic
from cseg.storage.index_and_subset import read_index_rows
from cseg.training.prepared_cache import Place, write_places
from cseg.training.sampling import Pair, load_pair


def prepare(
    index_csv: str | Path,
    dataset_json: str | Path,
    *,
    short_side: int | None,
    workers: int,
    pixels: Path,
    places: Path,
) -> None:
    """Write the training pairs as batches need them; says how much room they take beforehand.

    `pixels` holds the pairs, resized to `short_side`, and `places` where each is; `workers` threads
    decode.

    Raises:
        DataError: not enough space, or a file has changed since the index was made.
    """
    rows = [row for row in read_index_rows(index_csv) if row["split"] == "train"]
    planned = plan(rows, short_side, pixels)
    size = sum(place.bytes for place in planned)
    pixels.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(pixels.parent).free
    told = f"prepared cache of {len(planned)} training pairs, {pixels}: {size / 2**20:.1f} MiB"
    print(f"{told}, {free / 2**20:.0f} MiB free", file=sys.stderr, flush=True)
    if size > free:
        raise DataError(
            f"{told} do not fit into {free / 2**20:.1f} MiB; free space or lower image.short_side"
        )
    info = load_info(dataset_json)
    torch.set_num_threads(1)  # the pairs are what runs in parallel
    with atomic(pixels) as temporary, temporary.open("r+b") as store:

        def copy(pair: Pair, place: Place) -> None:
            image, label = load_pair(pair, info, short_side)
            if tuple(label.shape) != (place.height, place.width):
                raise DataError(f"{pair.image} has changed since it was indexed; run index again")
            parts = image.permute(1, 2, 0).numpy().ravel(), label.numpy().ravel()
            _write_at(store.fileno(), np.concatenate(parts), place.offset)

        with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
            copies = pool.map(copy, pairs_of(rows), planned)
            deque(tqdm(copies, "prepare", len(planned), disable=None), maxlen=0)
    write_places(places, [row["id"] for row in rows], planned)


def _write_at(store: int, values: np.ndarray, offset: int) -> None:
    """Write bytes into an open file; mapped into memory, a full disk would kill the process."""
    data = values.tobytes()
    while data:
        written = os.pwrite(store, data, offset)
        data, offset = data[written:], offset + written


def plan(rows: Sequence[Mapping[str, str]], short_side: int | None, pixels: Path) -> list[Place]:
    """Place every pair of an index behind the one before it, at its size after resizing."""
    places, offset = [], 0
    for row in rows:
        size = resized_shape(int(row["height"]), int(row["width"]), short_side)
        places.append(Place(pixels, offset, *size))
        offset += places[-1].bytes
    return places
