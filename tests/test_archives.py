import io
import os
import shutil
import stat
import tarfile
import zipfile

import pytest
from faults import dies_writing, file_limit

from cseg.datasets.archives import extract
from cseg.errors import DataError
from cseg.storage.files import take

FILES = {"top/in/a.txt": b"aaa" * 999, "top/in/deep/ü b.txt": b"b", "top/other.txt": b"c"}


def make_tar(path, files=FILES, extra=(), mode="w:gz"):
    with tarfile.open(path, mode) as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
        for entry in extra:
            tar.addfile(entry)
    return path


def make_zip(path, files=FILES):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def tree(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz", "zip"])
def test_a_folder_of_an_archive_becomes_the_target(tmp_path, mode):
    path = tmp_path / "archive"
    make_zip(path) if mode == "zip" else make_tar(path, mode=mode)
    extract(path, tmp_path / "some where" / "here", inside="top/in")
    assert tree(tmp_path / "some where") == {
        "here/a.txt": FILES["top/in/a.txt"],
        "here/deep/ü b.txt": b"b",
    }
    extract(path, tmp_path / "all")
    assert tree(tmp_path / "all") == FILES


def test_what_a_killed_unpacking_left_is_gone_after_the_next(tmp_path):
    path = make_tar(tmp_path / "a.tar", FILES | {"top/big": b"b" * 2**21}, mode="w")
    assert dies_writing(2**20, extract, path, tmp_path / "target")
    assert [p.name for p in (tmp_path / ".target.unpacking" / "top").iterdir()]
    extract(path, tmp_path / "target")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tar", "target"]
    assert len(tree(tmp_path / "target")) == 4


def test_an_archive_that_the_disk_does_not_hold_after_all(tmp_path):
    path = make_tar(tmp_path / "a.tar", {"big": b"b" * 2**21}, mode="w")
    refused = pytest.raises(DataError, match=r"cannot unpack .*a\.tar to .*target: .*; free space")
    with file_limit(2**20), refused:
        extract(path, tmp_path / "target")
    assert [p.name for p in tmp_path.iterdir()] == ["a.tar"]


def test_two_unpackings_at_once_do_not_touch_each_other(tmp_path):
    path = make_tar(tmp_path / "a.tgz")
    other = tmp_path / ".target.unpacking"
    other.mkdir()
    (other / "half").write_text("of a living process")
    handle = os.open(other, os.O_RDONLY)
    assert take(handle, other)
    extract(path, tmp_path / "target")
    os.close(handle)
    assert tree(tmp_path / "target") == FILES and (other / "half").exists()


def link(name, kind, target):
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry


@pytest.mark.fault
@pytest.mark.parametrize(
    "entry",
    [
        link("top/in/l", tarfile.SYMTYPE, "/etc"),
        link("top/in/l", tarfile.SYMTYPE, "a.txt"),
        link("top/in/l", tarfile.LNKTYPE, "top/in/a.txt"),
        link("top/in/l", tarfile.CHRTYPE, ""),
        link("top/in/l", tarfile.BLKTYPE, ""),
        link("top/in/l", tarfile.FIFOTYPE, ""),
    ],
    ids=lambda entry: f"{entry.type!r}-{entry.linkname}",
)
def test_links_and_devices_are_refused_whole(tmp_path, entry, tried):
    path = make_tar(tmp_path / "a.tgz", extra=[entry])
    with pytest.raises(DataError, match=r"a\.tgz holds 'top/in/l', which is a link or device"):
        extract(path, tmp_path / "target", inside="top/in")
    assert [p.name for p in tmp_path.iterdir()] == ["a.tgz"]
    tried("Hostile files", "an archive with a link or device", 1, "refused whole, by name")


def test_links_outside_the_wanted_folder_are_left_alone(tmp_path):
    path = make_tar(tmp_path / "a.tgz", extra=[link("top/link", tarfile.SYMTYPE, "in")])
    extract(path, tmp_path / "target", inside="top/in")
    assert not any(p.is_symlink() for p in tmp_path.rglob("*"))


@pytest.mark.fault
@pytest.mark.parametrize(
    "name", ["../out", "top/in/../../../out", "/tmp/out", "top\\..\\out", ".."]
)
@pytest.mark.parametrize("make", [make_tar, make_zip])
def test_names_that_lead_outside_are_refused_whole(tmp_path, make, name, tried):
    folder = tmp_path / "in"
    folder.mkdir()
    path = make(folder / "evil", FILES | {name: b"evil"})
    with pytest.raises(DataError, match=r"evil holds .* which leads outside its folder"):
        extract(path, folder / "target")
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["evil"]
    tried("Hostile files", "an archive with a path that leads outside", 1, "refused whole, by name")


@pytest.mark.fault
def test_a_symlink_in_a_zip_is_refused(tmp_path, tried):
    entry = zipfile.ZipInfo("top/in/l")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(entry, "/etc/passwd")
    with pytest.raises(DataError, match=r"link or device"):
        extract(tmp_path / "a.zip", tmp_path / "target")
    tried("Hostile files", "an archive with a link or device", 1, "refused whole, by name")


@pytest.mark.fault
def test_set_user_id_bits_are_not_restored(tmp_path, tried):
    entry = tarfile.TarInfo("run")
    entry.mode = 0o6777
    extract(make_tar(tmp_path / "a.tar", extra=[entry], mode="w"), tmp_path / "target")
    assert (tmp_path / "target" / "run").stat().st_mode & 0o7111 == 0
    tried("Hostile files", "an archive with set-user-id bits", 1, "unpacked without them")


@pytest.mark.fault
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_a_damaged_archive_leaves_no_target(tmp_path, kind, tried):
    path = tmp_path / "a"
    make_zip(path) if kind == "zip" else make_tar(path)
    data = bytearray(path.read_bytes())
    if kind == "zip":
        data[60:64] = b"\0\0\0\0"
    else:
        data = data[: len(data) * 2 // 3]
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"cannot unpack .*a: .*delete it and run again"):
        extract(path, tmp_path / "target")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    tried("Damaged files", "an archive: cut short or altered", 1, "named, nothing unpacked")


@pytest.mark.fault
def test_an_html_page_instead_of_an_archive(tmp_path, tried):
    (tmp_path / "a.tar").write_text("<html>log in first</html>")
    with pytest.raises(DataError, match=r"cannot unpack .*a\.tar"):
        extract(tmp_path / "a.tar", tmp_path / "target")
    tried("Damaged files", "an HTML page instead of an archive", 1, "named, nothing unpacked")


def test_another_archive_than_expected(tmp_path):
    path = make_tar(tmp_path / "a.tgz")
    with pytest.raises(DataError, match=r"holds no folder 'VOCdevkit'; it is another archive"):
        extract(path, tmp_path / "target", inside="VOCdevkit")


def test_a_target_that_is_there_is_not_overwritten(tmp_path):
    (tmp_path / "target").mkdir()
    with pytest.raises(DataError, match=r"target is already there"):
        extract(make_tar(tmp_path / "a.tgz"), tmp_path / "target")


def test_an_archive_that_needs_more_than_the_disk_has(tmp_path):
    entry = tarfile.TarInfo("big")
    entry.size = shutil.disk_usage(tmp_path).free + 2**30
    path = tmp_path / "big.tar"
    with path.open("wb") as stream:  # a sparse file: its content takes no room
        stream.write(entry.tobuf())
        stream.truncate(512 + -(-entry.size // 512) * 512 + 1024)
    with pytest.raises(DataError, match=r"unpacks to .* GiB but .* GiB free; make room"):
        extract(path, tmp_path / "target")
    assert [p.name for p in tmp_path.iterdir()] == ["big.tar"]
