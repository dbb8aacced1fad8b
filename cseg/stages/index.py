"""Stage index: look at every image and label once, and write down what is in them."""

import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from operator import attrgetter
from pathlib import Path

from tqdm import tqdm

from cseg.datasets.pairs import Pair, inspect_pair
from cseg.datasets.samples import UNLABELLED, Sample, info_from_json, info_to_json
from cseg.datasets.whole import grouped, notices_of, problems_of
from cseg.errors import DataError
from cseg.storage.files import fingerprint, read_json, sha256_file, write_json
from cseg.storage.tables import write_rows

COLUMNS = (
    "split", "id", "image", "label", "width", "height", "image_sha256", "label_sha256",
)  # fmt: skip
# keys of `DatasetInfo` that do not shape what a network sees: those of colours shape labels alone,
# and change their pixels per class if they do
SHAPES_NOTHING = (
    "name", "palette", "split_sizes", "licence", "citation", "max_megapixels",
    "colour_map", "labels_by", "ignore_default",
)  # fmt: skip


def index(
    fetch_json: str | Path, index_csv: str | Path, *, dataset_json: str | Path, workers: int
) -> None:
    """Decode every pair that fetch found, check it, count its pixels per class.

    `index_csv` has a row per pair, in list order: split, id, image, label (paths), width, height
    (pixels), image_sha256, label_sha256 (of the files), pixels_0.. (per class), pixels_ignored.
    `dataset_json` holds the `DatasetInfo`, index_fingerprint (of contents and what they mean, not
    of paths), train_size, val_size, unlabelled_size, partial (whether lists may name images that
    are not there), notices (sentences), index_sha256 (of the file index.csv). `workers` threads
    decode: decoders and hashes run outside Python's lock, and threads need no importable main
    module.

    Raises:
        DataError: lists every problem at once, by file, with its remedy.
    """
    fetched = read_json(fetch_json)
    info = info_from_json(fetched["info"])
    samples = [
        Sample(s["id"], s["split"], Path(s["image"]), Path(s["label"]) if s["label"] else None)
        for s in fetched["samples"]
    ]
    with ThreadPoolExecutor(max(1, workers)) as pool:
        inspected = pool.map(partial(inspect_pair, info=info), samples)
        found = list(tqdm(inspected, "index", len(samples), unit="pair", disable=None))
    pairs = [each for each in found if isinstance(each, Pair)]
    problems = [problem for each in found if not isinstance(each, Pair) for problem in each]
    of_all = problems_of(pairs, info, complete=not problems)
    if problems or of_all:
        lines, count = grouped(problems) + of_all, len(problems) + len(of_all)
        head = f"{info.name} has {count:,} problems in {len(samples):,} pairs:"
        raise DataError("\n- ".join([head, *lines] if len(lines) > 1 else lines))
    notices = notices_of(pairs, info)
    for notice in notices:
        print(f"warning: {info.name}: {notice}", file=sys.stderr, flush=True)
    header = [*COLUMNS, *(f"pixels_{c}" for c in range(info.num_classes)), "pixels_ignored"]
    first = attrgetter(*COLUMNS)
    write_rows(index_csv, header, ([*first(p), *p.pixels, p.pixels_ignored] for p in pairs))
    described, sizes = info_to_json(info), Counter(pair.split for pair in pairs)
    contents = sorted(
        (p.split, p.id, p.image_sha256, p.label_sha256, p.pixels, p.pixels_ignored) for p in pairs
    )
    shaping = {name: value for name, value in described.items() if name not in SHAPES_NOTHING}
    facts = {
        "index_fingerprint": fingerprint([contents, shaping]),
        "train_size": sizes["train"],
        "val_size": sizes["val"],
        "unlabelled_size": sizes[UNLABELLED],
        "partial": fetched.get("options", {}).get("relax_counts") is True,
        "notices": notices,
        "index_sha256": sha256_file(index_csv),
    }
    write_json(dataset_json, described | facts)
