"""The prepared cache gives the very pixels that decoding gives."""

from dataclasses import replace

import pandas as pd
import pytest
import torch
from faults import file_limit
from made_trees import make_camvid, paint_image, paint_label

from cseg.datasets.samples import load_info
from cseg.errors import CsegError, DataError
from cseg.settings.network import ImageSettings
from cseg.stages.fetch import fetch
from cseg.stages.index import index
from cseg.stages.prepare import prepare
from cseg.stages.run import RunInputs, labelled_pairs
from cseg.stages.subset import subset
from cseg.training.loader import iterate
from cseg.training.sampling import StepBatches


@pytest.fixture
def indexed(tmp_path):
    """An index and a subset of CamVid pairs of two sizes."""
    home = make_camvid(tmp_path)
    paint_image(home / "train" / "train_001.png", 9, size=(31, 17))
    paint_label(home / "trainannot" / "train_001.png", [3, 11, 4], size=(31, 17))
    fetch("camvid", tmp_path, options={"relax_counts": True}, out=tmp_path / "fetch.json")
    index(
        tmp_path / "fetch.json",
        tmp_path / "index.csv",
        dataset_json=tmp_path / "dataset.json",
        workers=1,
    )
    subset(
        tmp_path / "index.csv", tmp_path / "dataset.json", n="all", seed=0, out=tmp_path / "all.csv"
    )
    return tmp_path


def files(folder):
    return RunInputs(
        index=folder / "index.csv", dataset=folder / "dataset.json", subset=folder / "all.csv"
    )


def run(folder, side, workers=2):
    inputs = replace(
        files(folder),
        pixels=folder / "cache" / "pixels.bin",
        places=folder / "cache" / "places.csv",
    )
    prepare(
        inputs.index, inputs.dataset, short_side=side, workers=workers, pixels=inputs.pixels,
        places=inputs.places,
    )  # fmt: skip
    return inputs


def batches(folder, cache, side):
    pairs, _ = labelled_pairs(cache or files(folder))
    image = ImageSettings(short_side=side, crop=(12, 16), scale=(0.5, 2.0), flip=True)
    return pairs, StepBatches(pairs, load_info(folder / "dataset.json"), image, 4, 3, 5, 0)


@pytest.mark.parametrize("side", [None, 8, 13, 40])
@pytest.mark.parametrize("workers", [0, 2])
def test_batches_from_the_cache_are_those_from_the_files(indexed, side, workers):
    _, decoded = batches(indexed, None, side)
    pairs, copied = batches(indexed, run(indexed, side), side)
    copied.pairs = [replace(pair, image=None, label=None) for pair in pairs]  # files out of reach
    both = (iterate(source, workers, pin=False) for source in (decoded, copied))
    for plain, stored in zip(*both, strict=True):
        assert torch.equal(plain[0], stored[0]) and torch.equal(plain[1], stored[1])


def test_its_size_is_told_beforehand_and_is_right(indexed, capsys):
    cache = run(indexed, None)
    size = 4 * (2 * 16 * 24 + 17 * 31)
    told = capsys.readouterr().err
    assert f"of 3 training pairs, {cache.pixels}: {size / 2**20:.1f} MiB" in told
    assert cache.pixels.stat().st_size == size


def test_workers_change_nothing(indexed):
    def written(workers):
        cache = run(indexed, 8, workers=workers)
        return [path.read_bytes() for path in (cache.pixels, cache.places)]

    assert written(1) == written(4)


def test_a_file_that_changed_since_the_index_is_named_and_nothing_is_left(indexed):
    paint_image(indexed / "CamVid" / "train" / "train_002.png", 5, size=(30, 20))
    with pytest.raises(DataError, match=r"train_002\.png has changed since it was indexed"):
        run(indexed, None)
    assert not list((indexed / "cache").iterdir())


def test_a_cache_that_the_disk_does_not_hold_after_all_is_a_sentence(indexed):
    refused = pytest.raises(CsegError, match=r"cannot write .*pixels\.bin: .*; free space")
    with file_limit(3000), refused:
        run(indexed, None)
    assert not list((indexed / "cache").iterdir())


def test_a_damaged_cache_is_named(indexed):
    cache = run(indexed, None)
    cache.pixels.write_bytes(cache.pixels.read_bytes()[:500])
    _, damaged = batches(indexed, cache, None)
    with pytest.raises(DataError, match=r"cache .*pixels\.bin is missing or damaged; delete it"):
        list(iterate(damaged, 0, pin=False))
    cache.places.write_text("id,offset\n")
    with pytest.raises(DataError, match=r"cache .*places\.csv is missing or damaged"):
        batches(indexed, cache, None)


def test_a_cache_of_another_index_is_refused(indexed):
    cache = run(indexed, None)
    table = pd.read_csv(cache.places)
    table[table["id"] != "train_001"].to_csv(cache.places, index=False)
    with pytest.raises(DataError, match=r"places\.csv is of another index"):
        batches(indexed, cache, None)
