import numpy as np
import pandas as pd
import pytest
from made_trees import make_camvid, paint_image, paint_label

from cseg.datasets.samples import load_info, read_image, read_label
from cseg.errors import DataError
from cseg.fetch import fetch
from cseg.index import index
from cseg.prepare import Cache, prepare


@pytest.fixture
def indexed(tmp_path):
    """An index of CamVid pairs of two sizes."""
    home = make_camvid(tmp_path)
    paint_image(home / "train" / "train_001.png", 9, size=(31, 17))
    paint_label(home / "trainannot" / "train_001.png", [3, 11, 4], size=(31, 17))
    fetch("camvid", tmp_path, {"relax_counts": True}, tmp_path / "fetch.json")
    index(tmp_path / "fetch.json", tmp_path / "index.csv", tmp_path / "dataset.json", 1)
    return tmp_path


def run(folder, side, workers=2):
    prepare(folder / "index.csv", folder / "dataset.json", folder / "cache", side, workers)
    return Cache(folder / "cache")


def test_at_full_size_it_holds_what_the_files_hold(indexed):
    cache = run(indexed, 0)
    label_map = load_info(indexed / "dataset.json").label_map
    for row in pd.read_csv(indexed / "index.csv").itertuples():
        image, label = cache.read(row.id)
        assert (image == read_image(row.image)).all()
        assert (label == read_label(row.label, label_map)).all()
        assert image.dtype == label.dtype == np.uint8
        assert not image.flags.writeable


def test_the_shorter_side_is_reduced_and_labels_stay_labels(indexed):
    cache = run(indexed, 8)
    image, label = cache.read("train_001")
    assert image.shape == (8, round(31 * 8 / 17), 3)
    assert label.shape == image.shape[:2]
    assert set(np.unique(label)) == {3, 4, 255}
    image, _ = cache.read("train_000")
    assert image.shape == (8, 12, 3)
    whole = read_image(indexed / "CamVid" / "train" / "train_000.png")
    assert abs(image.mean() - whole.mean()) < 3
    assert run(indexed, 99).read("train_000")[0].shape == (16, 24, 3)


def test_its_size_is_told_beforehand_and_is_right(indexed, capsys):
    run(indexed, 0)
    pixels = 4 * 16 * 24 + 17 * 31
    told = capsys.readouterr().err
    assert f"of 5 pairs at {indexed / 'cache'}: {4 * pixels / 2**20:.1f} MiB" in told
    size = sum((indexed / "cache" / name).stat().st_size for name in ("images.npy", "labels.npy"))
    assert 0 < size - 4 * pixels <= 1024  # the headers of the two arrays


def test_workers_change_nothing(indexed):
    run(indexed, 8, workers=1)
    one = {p.name: p.read_bytes() for p in (indexed / "cache").iterdir()}
    run(indexed, 8, workers=4)
    assert one == {p.name: p.read_bytes() for p in (indexed / "cache").iterdir()}


def test_a_file_that_changed_since_the_index_is_named_and_nothing_is_left(indexed):
    paint_image(indexed / "CamVid" / "train" / "train_002.png", 5, size=(30, 20))
    with pytest.raises(DataError, match=r"train_002\.png has changed since it was indexed"):
        run(indexed, 0)
    assert not any("cache" in p.name for p in indexed.iterdir())


def test_a_damaged_cache_is_named(indexed):
    run(indexed, 0)
    (indexed / "cache" / "images.npy").write_bytes(b"")
    with pytest.raises(DataError, match=r"cannot read the prepared cache .*delete it and run"):
        Cache(indexed / "cache")
