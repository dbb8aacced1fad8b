import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from shared_data import shared_data

from cseg.datasets import MODULES, camvid, dataset_module, shapes, typed_options
from cseg.datasets.image_files import read_lines
from cseg.datasets.reading import read_image, read_label, write_image, write_label
from cseg.datasets.samples import (
    DatasetInfo,
    default_colours,
    info_from_json,
    info_to_json,
)
from cseg.errors import ConfigError, DataError


def known(label_map):
    """A dataset of the classes of a map from label values."""
    count = 1 + max(c for c in label_map.values() if c != 255)
    names = tuple(str(c) for c in range(count))
    return DatasetInfo("d", names, default_colours(count), label_map, {}, "", "")


IDENTITY = known({i: i for i in range(11)} | {255: 255})


@given(label=arrays(np.uint8, (3, 4), elements=st.sampled_from([0, 1, 2, 255])))
def test_a_label_written_is_the_label_read(tmp_path_factory, label):
    path = tmp_path_factory.mktemp("labels") / "ä b.png"
    write_label(path, label, ((1, 2, 3), (4, 5, 6), (7, 8, 9)))
    assert (read_label(path, IDENTITY) == label).all()
    colours = np.asarray(Image.open(path).convert("RGB"))
    assert all(colours[y, x].tolist() == [4, 5, 6] for y, x in np.argwhere(label == 1))


def test_an_image_written_is_the_image_read(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    write_image(tmp_path / "i.png", image)
    assert (read_image(tmp_path / "i.png") == image).all()


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1", "I;16"])
def test_images_of_any_mode_are_read_as_rgb(tmp_path, mode):
    path = tmp_path / ("i.tif" if mode == "CMYK" else "i.png")
    Image.new(mode, (7, 5)).save(path)
    read = read_image(path)
    assert read.shape == (5, 7, 3)
    assert read.dtype == np.uint8


def test_label_values_are_mapped_and_others_refused(tmp_path):
    raw = np.array([[0, 7, 8], [33, 7, 0]], dtype=np.uint8)
    Image.fromarray(raw).save(tmp_path / "l.png")
    assert read_label(tmp_path / "l.png", known({0: 255, 7: 0, 8: 1, 33: 18})).tolist() == [
        [255, 0, 1],
        [18, 0, 255],
    ]
    with pytest.raises(DataError, match=r"l\.png holds values .*: 7 \(2 pixels\), 33 \(1 "):
        read_label(tmp_path / "l.png", known({0: 0, 8: 1}))


def test_labels_of_sixteen_bits_and_of_one_bit(tmp_path):
    Image.fromarray(np.array([[0, 300]], dtype=np.uint16)).save(tmp_path / "deep.png")
    assert read_label(tmp_path / "deep.png", known({0: 0, 300: 1})).tolist() == [[0, 1]]
    Image.fromarray(np.array([[-5, 70000, 65535]], dtype=np.int32)).save(tmp_path / "wild.tif")
    with pytest.raises(DataError, match=r"no class: -5 \(1 pixels\), 70000 \(1 pixels\);"):
        read_label(tmp_path / "wild.tif", known({0: 0, 65535: 1}))
    Image.fromarray(np.array([[False, True]])).save(tmp_path / "bit.png")
    assert read_label(tmp_path / "bit.png", known({0: 0, 1: 1})).tolist() == [[0, 1]]


def test_a_coloured_label_is_refused_with_the_remedy(tmp_path):
    Image.new("RGB", (2, 2), (9, 0, 0)).save(tmp_path / "c.png")
    with pytest.raises(
        DataError,
        match=r"c\.png is a colour image \(mode RGB\) .*; state ",
    ):
        read_label(tmp_path / "c.png", IDENTITY)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_truncated_image_is_named(tmp_path, suffix):
    path = tmp_path / f"half.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(DataError, match=rf"image .*half\.{suffix} cannot be decoded .*truncated"):
        read_image(path)


def test_missing_and_foreign_files_are_named(tmp_path):
    with pytest.raises(DataError, match=r"image .*no\.png is missing; restore it"):
        read_image(tmp_path / "no.png")
    (tmp_path / "page.jpg").write_text("<html>")
    with pytest.raises(DataError, match=r"page\.jpg cannot be decoded \(no known format\)"):
        read_image(tmp_path / "page.jpg")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_lists_with_any_line_end_and_a_byte_order_mark(tmp_path, end, mark):
    (tmp_path / "l.txt").write_bytes(f"{mark}a b{end}{end} ü {end}c".encode())
    assert read_lines(tmp_path / "l.txt") == ["a b", "ü", "c"]


def test_a_line_that_begins_with_a_hash_is_a_comment(tmp_path):
    text = "# of 2025\n#\n#excluded: blurred\n#images/a1.png\na.png\n./#1.png\n"
    (tmp_path / "l.txt").write_text(text)
    assert read_lines(tmp_path / "l.txt") == ["a.png", "./#1.png"]


def test_a_list_that_is_missing_or_no_text(tmp_path):
    with pytest.raises(DataError, match=r"cannot read the list .*l\.txt"):
        read_lines(tmp_path / "l.txt")
    (tmp_path / "l.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"cannot read the list .*l\.txt"):
        read_lines(tmp_path / "l.txt")


def test_options_are_filled_in_and_checked():
    assert shapes.info(shapes.Options(train=9)).split_sizes == {"train": 9, "val": 200}
    with pytest.raises(ConfigError, match=r"shapes\.siz is unknown; use one of relax_counts, excl"):
        typed_options("shapes", {"siz": 9})
    assert typed_options("shapes", {"train": "9"}) == shapes.Options(train=9)  # text of --config
    for wrong in ("nine", 9.0, True, None, 0):
        with pytest.raises(ConfigError, match=r"shapes\.train is .*; give a whole number from 1"):
            typed_options("shapes", {"train": wrong})


def test_facts_survive_json():
    info = camvid.info(camvid.Options())
    assert info_from_json(json.loads(json.dumps(info_to_json(info)))) == info


def test_default_colours_are_those_of_real_voc_labels():
    folder = shared_data("voc2012_animals") / "VOCdevkit" / "VOC2012" / "SegmentationClass"
    flat = Image.open(min(folder.iterdir())).getpalette()
    assert [c for colour in default_colours(256) for c in colour] == flat


def test_datasets_are_found_by_name():
    for name in MODULES:
        module = dataset_module(name)
        assert all(callable(getattr(module, part)) for part in ("info", "fetch", "samples"))
    with pytest.raises(
        ConfigError, match=r"dataset is 'kitti', which is unknown; choose one of camvid, city"
    ):
        dataset_module("kitti")
