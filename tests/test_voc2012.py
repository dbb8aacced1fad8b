import hashlib
import io
import os
import shutil
import tarfile
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_trees import make_sbd, make_voc, write_list
from unruly_server import serving

from cseg.datasets import voc2012
from cseg.datasets.label_values import read_raw_label
from cseg.datasets.voc2012 import Options
from cseg.errors import ConfigError, DataError
from cseg.stages.fetch import fetch, listed_samples
from cseg.stages.index import index

AUG = {"train_set": "train_aug", "relax_counts": True}
NAMES = [f"2007_{i:06d}" for i in range(9)]  # made: 3 train, 2 val, 4 that only SBD labels


def test_addresses_are_those_of_torchvision():
    voc = pytest.importorskip("torchvision.datasets.voc").DATASET_YEAR_DICT["2012"]
    sbd = pytest.importorskip("torchvision.datasets").SBDataset
    assert (voc["url"], voc["md5"]) == (voc2012.VOC_URL, voc2012.VOC_MD5)
    assert (sbd.url, sbd.md5) == (voc2012.SBD_URL, voc2012.SBD_MD5)


def test_official_sizes():
    assert voc2012.info(Options()).split_sizes == {"train": 1464, "val": 1449}
    assert voc2012.info(Options(train_set="train_aug")).split_sizes == {"train": 10582, "val": 1449}


def test_train_is_vocs_own_list(tmp_path):
    make_voc(tmp_path)
    found = voc2012.samples(tmp_path, tmp_path, Options(relax_counts=True))
    assert [(s.id, s.split) for s in found] == [
        *((name, "train") for name in NAMES[:3]),
        *((name, "val") for name in NAMES[3:5]),
    ]
    with pytest.raises(DataError, match=r"train list of voc2012 has 3 images instead of 1464"):
        listed_samples("voc2012", tmp_path, work=tmp_path, options=Options())


def test_lists_replace_vocs_own(tmp_path):
    make_voc(tmp_path)
    own = tmp_path / "lists"
    own.mkdir()
    write_list(own / "train.txt", [NAMES[2], NAMES[0]])
    write_list(own / "val.txt", [NAMES[4]])
    options = Options(lists=str(own), relax_counts=True)
    found = voc2012.samples(tmp_path, tmp_path, options)
    assert [(s.id, s.split) for s in found] == [
        (NAMES[2], "train"), (NAMES[0], "train"), (NAMES[4], "val"),
    ]  # fmt: skip
    assert voc2012.sources(tmp_path, options) == [own / "train.txt", own / "val.txt"]
    assert voc2012.sources(tmp_path, Options()) == []
    with pytest.raises(ConfigError, match=r"lists replaces .* train_aug adds SBD's; keep one"):
        replace(options, train_set="train_aug")


def test_the_shipped_lists_are_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = Options(lists="workflow/resources/voc2012_animals")
    train, val = (path.read_text().split() for path in voc2012.sources(tmp_path, options))
    assert (len(train), len(val)) == (437, 445) and not set(train) & set(val)


def test_train_aug_is_sbd_and_train_without_val(tmp_path):
    make_sbd(tmp_path, make_voc(tmp_path))
    voc2012.fetch(tmp_path, tmp_path, Options(**AUG))
    found = voc2012.samples(tmp_path, tmp_path, Options(**AUG))
    train = {s.id: s for s in found if s.split == "train"}
    assert list(train) == NAMES[:3] + NAMES[5:]
    assert [s.id for s in found if s.split == "val"] == NAMES[3:5]
    # VOC's own label where it has one, SBD's elsewhere.
    assert train[NAMES[0]].label.parent.name == "SegmentationClass"
    raw = read_raw_label(train[NAMES[7]].label, voc2012.info(Options())).values_HW
    expected = np.zeros((16, 24))
    expected[4:12, 6:18] = 8
    assert (raw == expected).all()


def test_train_aug_runs_through_to_the_index(tmp_path):
    make_sbd(tmp_path, make_voc(tmp_path))
    fetch("voc2012", tmp_path, options=AUG, out=tmp_path / "fetch.json")
    index(
        tmp_path / "fetch.json",
        tmp_path / "index.csv",
        dataset_json=tmp_path / "dataset.json",
        workers=2,
    )
    table = pd.read_csv(tmp_path / "index.csv", index_col="id")
    assert len(table) == 9
    assert table.loc[NAMES[7], "pixels_8"] == 8 * 12
    assert table.loc[NAMES[7], "pixels_ignored"] == 0
    assert table.loc[NAMES[0], "pixels_ignored"] > 0


def test_labels_already_made_are_kept_and_missing_ones_added(tmp_path):
    make_sbd(tmp_path, make_voc(tmp_path))
    voc2012.fetch(tmp_path, tmp_path, Options(**AUG))
    made = tmp_path / "sbd_labels"
    (made / f"{NAMES[6]}.png").unlink()
    before = (made / f"{NAMES[5]}.png").stat().st_mtime_ns
    voc2012.fetch(tmp_path, tmp_path, Options(**AUG))
    assert sorted(p.stem for p in made.iterdir()) == NAMES[5:]
    assert (made / f"{NAMES[5]}.png").stat().st_mtime_ns == before


def test_a_damaged_mat_file_is_named(tmp_path):
    sbd = make_sbd(tmp_path, make_voc(tmp_path))
    path = sbd / "cls" / f"{NAMES[6]}.mat"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match=rf"cannot read SBD's label .*{NAMES[6]}\.mat: .*restore"):
        voc2012.fetch(tmp_path, tmp_path, Options(**AUG))


def test_lists_with_windows_line_ends(tmp_path):
    home = make_voc(tmp_path)
    write_list(home / "ImageSets" / "Segmentation" / "train.txt", NAMES[:3], "\r\n")
    assert voc2012.samples(tmp_path, tmp_path, Options(relax_counts=True))[0].image.is_file()


def test_a_missing_list_is_named(tmp_path):
    (make_voc(tmp_path) / "ImageSets" / "Segmentation" / "val.txt").unlink()
    with pytest.raises(DataError, match=r"cannot read the list .*val\.txt"):
        voc2012.samples(tmp_path, tmp_path, Options(relax_counts=True))


def packed(folder, name, kind):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=kind) as tar:
        tar.add(folder / name, name)
    return buffer.getvalue()


def test_both_archives_are_fetched_checked_and_unpacked(tmp_path, monkeypatch):
    source = tmp_path / "source"
    make_sbd(source, make_voc(source))
    voc_tar, sbd_tar = packed(source, "VOCdevkit", "w"), packed(source, "benchmark_RELEASE", "w:gz")
    monkeypatch.setattr(voc2012, "VOC_MD5", hashlib.md5(voc_tar).hexdigest())
    (tmp_path / "data").mkdir()
    with serving(voc_tar) as voc_server, serving(sbd_tar) as sbd_server:
        options = Options(
            **AUG,
            voc_url=voc_server.url.replace("file.bin", "voc.tar"),
            sbd_url=sbd_server.url.replace("file.bin", "sbd.tgz"),
        )
        with pytest.raises(DataError, match=rf"sbd\.tgz.* has md5 .* instead of {voc2012.SBD_MD5}"):
            voc2012.fetch(tmp_path / "data", tmp_path / "work", options)
        monkeypatch.setattr(voc2012, "SBD_MD5", hashlib.md5(sbd_tar).hexdigest())
        voc2012.fetch(tmp_path / "data", tmp_path / "work", options)
        voc2012.fetch(tmp_path / "data", tmp_path / "work", options)
        assert (len(voc_server.requests), len(sbd_server.requests)) == (1, 2)
    assert len(voc2012.samples(tmp_path / "data", tmp_path / "work", Options(**AUG))) == 9


@pytest.fixture
def unprivileged():
    """A new folder that any user can reach; afterwards root is root again, and it is removed."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    os.seteuid(os.getuid())
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir():
            path.chmod(0o755)
    shutil.rmtree(folder)


def test_a_read_only_data_dir_is_left_alone(unprivileged):
    data, out = unprivileged / "data", unprivileged / "out"
    make_sbd(data, make_voc(data))
    warm = unprivileged / "warm"  # loads what is imported late, which another user may not read
    make_sbd(warm, make_voc(warm))
    fetch("voc2012", warm, options=AUG, out=warm / "fetch.json")
    index(warm / "fetch.json", warm / "index.csv", dataset_json=warm / "dataset.json", workers=1)
    out.mkdir()
    out.chmod(0o777)
    for path in [data, *data.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = sorted(data.rglob("*"))
    if os.geteuid() == 0:
        os.seteuid(65534)
    with pytest.raises(OSError, match="ermission"):
        (data / "probe").touch()
    fetch("voc2012", data, options=AUG, out=out / "fetch.json")
    index(out / "fetch.json", out / "index.csv", dataset_json=out / "dataset.json", workers=1)
    assert sorted(data.rglob("*")) == before
    table = pd.read_csv(out / "index.csv", index_col="id")
    assert table.loc[NAMES[7], "label"] == str(out / "prepared" / "sbd_labels" / f"{NAMES[7]}.png")
