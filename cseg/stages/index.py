"""Stage index: look at every image and label once, and write down what is in them."""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from operator import attrgetter
from pathlib import Path
from typing import Any

from tqdm import tqdm

from cseg.datasets.options import relaxes_counts
from cseg.datasets.pairs import Pair, Problem, inspect_pair
from cseg.datasets.samples import UNLABELLED, DatasetInfo, Sample, info_from_json, info_to_json
from cseg.datasets.whole import grouped, notices_of, problems_of
from cseg.errors import DataError
from cseg.storage.files import fingerprint, read_json, sha256_file, write_json
from cseg.storage.tables import write_rows

COLUMNS = (
    "split", "id", "image", "label", "width", "height", "image_sha256", "label_sha256",
)  # fmt: skip


def index(
    fetch_json: str | Path, index_csv: str | Path, *, dataset_json: str | Path, workers: int
) -> None:
    """Decode every pair that fetch found, check it, count its pixels per class.

    Args:
        fetch_json: what fetch wrote.
        index_csv: one row per pair, in list order: split, id, image, label (paths), width, height
            (pixels), image_sha256, label_sha256 (of the files), pixels_0.. (per class),
            pixels_ignored.
        dataset_json: the `DatasetInfo`, index_fingerprint (of contents and classes, not of
            paths), train_size, val_size, unlabelled_size, partial (whether lists may name images
            that are not there), notices (sentences), index_sha256 (of the file index.csv).
        workers: how many pairs are decoded at a time. Threads, not processes: decoders and
            hashes run outside Python's lock, and threads need no importable main module.

    Raises:
        DataError: lists every problem at once, by file, with its remedy.
    """
    fetched = read_json(fetch_json)
    info = info_from_json(fetched["info"])
    samples = [
        Sample(s["id"], s["split"], Path(s["image"]), Path(s["label"]) if s["label"] else None)
        for s in fetched["samples"]
    ]
    pairs: list[Pair] = []
    problems: list[Problem] = []
    for result in _inspect_all(samples, info, workers):
        if isinstance(result, Pair):
            pairs.append(result)
        else:
            problems.extend(result)
    of_all = problems_of(pairs, info, complete=not problems)
    if problems or of_all:
        lines, count = grouped(problems) + of_all, len(problems) + len(of_all)
        head = f"{info.name} has {count:,} problems in {len(samples):,} pairs:"
        raise DataError("\n- ".join([head, *lines] if len(lines) > 1 else lines))
    notices = notices_of(pairs, info)
    for notice in notices:
        print(f"warning: {info.name}: {notice}", file=sys.stderr, flush=True)
    header = [*COLUMNS, *(f"pixels_{c}" for c in range(info.num_classes)), "pixels_ignored"]
    facts = attrgetter(*COLUMNS)
    write_rows(index_csv, header, ([*facts(p), *p.pixels, p.pixels_ignored] for p in pairs))
    partial = relaxes_counts(fetched.get("options", {}))
    own = {"partial": partial, "notices": notices, "index_sha256": sha256_file(index_csv)}
    write_json(dataset_json, _describe(info, pairs) | own)


def _inspect_all(
    samples: list[Sample], info: DatasetInfo, workers: int
) -> Iterator[Pair | list[Problem]]:
    """Results in the order of `samples`, with a bar on a terminal."""
    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        found = pool.map(lambda sample: inspect_pair(sample, info), samples)
        yield from tqdm(found, "index", len(samples), unit="pair", disable=None)


def _describe(info: DatasetInfo, pairs: list[Pair]) -> dict[str, Any]:
    described = info_to_json(info)
    contents = sorted((p.split, p.id, p.image_sha256, p.label_sha256) for p in pairs)
    described["index_fingerprint"] = fingerprint(
        [contents, described["class_names"], described["label_map"], described["ignore_index"]]
    )
    described["train_size"] = sum(pair.split == "train" for pair in pairs)
    described["val_size"] = sum(pair.split == "val" for pair in pairs)
    described["unlabelled_size"] = sum(pair.split == UNLABELLED for pair in pairs)
    return described
