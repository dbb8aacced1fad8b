"""Stage index: look at every image and label once, and write down what is in them."""

import csv
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tqdm import tqdm

from cseg.datasets.pairs import Pair, inspect_pair
from cseg.datasets.samples import DatasetInfo, Sample, info_from_json, info_to_json
from cseg.errors import DataError
from cseg.storage.files import atomic, fingerprint, read_json, sha256_file, write_json


def index(
    fetch_json: str | Path, index_csv: str | Path, dataset_json: str | Path, workers: int
) -> None:
    """Decode every pair that fetch found, check it, count its pixels per class.

    Args:
        fetch_json: what fetch wrote.
        index_csv: one row per pair, in list order: split, id, image, label (paths), width, height
            (pixels), image_sha256, label_sha256 (of the files), pixels_0.. (per class),
            pixels_ignored.
        dataset_json: the `DatasetInfo`, index_fingerprint (of contents and classes, not of
            paths), train_size, val_size, index_sha256 (of the file index.csv).
        workers: how many pairs are decoded at a time. Threads, not processes: decoders and
            hashes run outside Python's lock, and threads need no importable main module.

    Raises:
        DataError: lists every problem at once, by file, with its remedy.
    """
    fetched = read_json(fetch_json)
    info = info_from_json(fetched["info"])
    samples = [
        Sample(s["id"], s["split"], Path(s["image"]), Path(s["label"])) for s in fetched["samples"]
    ]
    pairs, problems = [], []
    for result in _inspect_all(samples, info, workers):
        if isinstance(result, Pair):
            pairs.append(result)
        else:
            problems.extend(result)
    problems += _leaks(pairs)
    if problems:
        raise DataError(_report(info.name, problems, len(samples)))
    if not any(pair.split == "train" for pair in pairs):
        raise DataError(f"{info.name} has no training image; name at least one in its train list")
    _write_csv(pairs, index_csv)
    write_json(dataset_json, _describe(info, pairs) | {"index_sha256": sha256_file(index_csv)})


def _inspect_all(
    samples: list[Sample], info: DatasetInfo, workers: int
) -> Iterator[Pair | list[str]]:
    """Results in the order of `samples`, with a bar on a terminal."""
    bar = tqdm(total=len(samples), unit="pair", desc="index", disable=not sys.stderr.isatty())
    with bar, ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        for result in pool.map(lambda sample: inspect_pair(sample, info), samples):
            bar.update()
            yield result


def _leaks(pairs: list[Pair]) -> list[str]:
    """Images that stand in both splits under different names."""
    train = {pair.image_sha256: pair for pair in pairs if pair.split == "train"}
    return [
        f"image {pair.image} (val) is the same file as {train[pair.image_sha256].image} (train); "
        f"take one off its list, or put its id ({pair.id}) into the dataset's option exclude"
        for pair in pairs
        if pair.split == "val" and pair.image_sha256 in train
    ]


def _report(name: str, problems: list[str], count: int) -> str:
    lines = [f"{name} has {len(problems)} problems in {count} pairs:"]
    lines += [f"- {problem}" for problem in problems]
    return "\n".join(lines) if len(problems) > 1 else problems[0]


def _write_csv(pairs: list[Pair], path: str | Path) -> None:
    classes = [f"pixels_{c}" for c in range(len(pairs[0].pixels))]
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([*Pair._fields[:-2], *classes, "pixels_ignored"])
        for pair in pairs:
            writer.writerow([*pair[:-2], *pair.pixels, pair.pixels_ignored])


def _describe(info: DatasetInfo, pairs: list[Pair]) -> dict[str, Any]:
    described = info_to_json(info)
    contents = sorted((p.split, p.id, p.image_sha256, p.label_sha256) for p in pairs)
    described["index_fingerprint"] = fingerprint(
        [contents, described["class_names"], described["label_map"], described["ignore_index"]]
    )
    described["train_size"] = sum(pair.split == "train" for pair in pairs)
    described["val_size"] = sum(pair.split == "val" for pair in pairs)
    return described
