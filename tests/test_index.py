import json
import shutil
from dataclasses import fields

import pandas as pd
import pytest
from made_trees import make_camvid, make_voc, paint_label, write_list
from PIL import Image
from shared_data import shared_data

from cseg.datasets.reading import read_label
from cseg.datasets.samples import DatasetInfo, load_info
from cseg.errors import DataError
from cseg.stages.fetch import fetch
from cseg.stages.index import SHAPES_NOTHING, index
from cseg.storage.files import sha256_file


def run(folder, dataset="camvid", options=None, workers=2, out=None):
    """Fetch and index what is in `folder`; returns the table and the description."""
    out = out or folder
    options = {"relax_counts": True} if options is None else options
    fetch(dataset, folder, options=options, out=out / "fetch.json")
    index(out / "fetch.json", out / "index.csv", dataset_json=out / "dataset.json", workers=workers)
    return pd.read_csv(out / "index.csv"), json.loads((out / "dataset.json").read_text())


def test_every_pair_has_a_row_with_its_pixels_counted(tmp_path):
    home = make_camvid(tmp_path)
    table, described = run(tmp_path)
    assert list(table.columns) == [
        "split", "id", "image", "label", "width", "height", "image_sha256", "label_sha256",
        *(f"pixels_{c}" for c in range(11)), "pixels_ignored",
    ]  # fmt: skip
    assert table["id"].tolist() == ["train_000", "train_001", "train_002", "val_000", "val_001"]
    info = load_info(tmp_path / "dataset.json")
    for row in table.itertuples():
        label = read_label(row.label, info)
        assert (row.width, row.height) == label.shape[::-1] == (24, 16)
        counted = [getattr(row, f"pixels_{c}") for c in range(11)] + [row.pixels_ignored]
        assert counted == [int((label == c).sum()) for c in [*range(11), 255]]
        assert row.image_sha256 == sha256_file(row.image)
        assert row.label_sha256 == sha256_file(home / f"{row.split}annot" / f"{row.id}.png")
    assert (described["train_size"], described["val_size"]) == (3, 2)
    assert info.name == "camvid"


def test_workers_change_nothing(tmp_path):
    make_camvid(tmp_path, train=20)
    run(tmp_path, workers=1)
    one = (tmp_path / "index.csv").read_bytes(), (tmp_path / "dataset.json").read_bytes()
    run(tmp_path, workers=4)
    assert one == ((tmp_path / "index.csv").read_bytes(), (tmp_path / "dataset.json").read_bytes())


def test_the_fingerprint_is_of_contents_not_of_places(tmp_path):
    make_camvid(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b c")
    first = run(tmp_path / "a")[1]["index_fingerprint"]
    assert run(tmp_path / "b c")[1]["index_fingerprint"] == first
    paint_label(tmp_path / "b c" / "CamVid" / "trainannot" / "train_000.png", [3])
    assert run(tmp_path / "b c")[1]["index_fingerprint"] != first
    options = {"relax_counts": True, "exclude": ["train_002"]}
    assert run(tmp_path / "a", options=options)[1]["index_fingerprint"] != first


# The value of each fact of a dataset that shapes pixels, changed so that the files still fit it.
SHAPING = {
    "class_names": [f"other {c}" for c in range(11)],
    "label_map": {**{str(c): 10 - c for c in range(11)}, "11": 255},
    "ignore_index": 254,
    "image_range": [0.0, 128.0],
    "orientation": "stored",
}


@pytest.mark.parametrize("name", [entry.name for entry in fields(DatasetInfo)])
def test_the_fingerprint_follows_each_fact_that_shapes_pixels(tmp_path, name):
    assert set(SHAPING).isdisjoint(SHAPES_NOTHING)
    make_camvid(tmp_path)
    first = run(tmp_path)[1]["index_fingerprint"]
    fetched = json.loads((tmp_path / "fetch.json").read_text())
    plain = {"max_megapixels": 7, "palette": [[1, 2, 3]] * 11, "split_sizes": {"train": 3},
             "colour_map": {str(0xFF0000): 3}, "ignore_default": True, "labels_by": ""}  # fmt: skip
    fetched["info"][name] = SHAPING.get(name, plain.get(name, "other"))
    (tmp_path / "fetch.json").write_text(json.dumps(fetched))
    out = tmp_path / "dataset.json"
    index(tmp_path / "fetch.json", tmp_path / "index.csv", dataset_json=out, workers=1)
    changed = json.loads(out.read_text())["index_fingerprint"] != first
    assert changed == (name not in SHAPES_NOTHING)


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_all_problems_are_listed_at_once_by_file_with_the_remedy(tmp_path):
    home = make_camvid(tmp_path, train=8)
    truncate(home / "train" / "train_000.png")
    truncate(home / "trainannot" / "train_001.png")
    (home / "trainannot" / "train_002.png").unlink()
    (home / "train" / "train_003.png").unlink()
    paint_label(home / "trainannot" / "train_004.png", [1], size=(12, 16))
    paint_label(home / "trainannot" / "train_005.png", [1, 12, 200])
    Image.new("RGB", (24, 16), (9, 0, 0)).save(home / "trainannot" / "train_006.png")
    shutil.copy(home / "train" / "train_007.png", home / "val" / "val_001.png")
    with pytest.raises(DataError) as caught:
        run(tmp_path)
    heading, *problems = str(caught.value).splitlines()
    assert heading == "camvid has 8 problems in 10 pairs:"
    expected = [
        ("train/train_000.png cannot be decoded", "restore"),
        ("trainannot/train_001.png cannot be decoded", "restore"),
        ("trainannot/train_002.png is missing", "restore it or take it off the list"),
        ("train/train_003.png is missing", "restore it or take it off the list"),
        ("trainannot/train_004.png is 12x16", "train_004.png is 24x16"),
        ("train_005.png holds values that are no class: 12 (128 pixels), 200", "correct the file"),
        ("train_006.png is a colour image (mode RGB)", "or save it as"),
        ("val_001.png (val) is the same file as", "exclude"),
    ]
    for problem, parts in zip(problems, expected, strict=True):
        assert all(part in problem for part in parts), problem
    assert not (tmp_path / "index.csv").exists()
    assert not (tmp_path / "dataset.json").exists()


def test_a_leak_can_be_left_out(tmp_path):
    home = make_camvid(tmp_path)
    shutil.copy(home / "train" / "train_000.png", home / "val" / "val_001.png")
    table, _ = run(tmp_path, options={"relax_counts": True, "exclude": ["val_001"]})
    assert len(table) == 4


def test_a_truncated_jpeg_and_a_value_that_voc_does_not_know(tmp_path):
    home = make_voc(tmp_path)
    truncate(home / "JPEGImages" / "2007_000001.jpg")
    paint_label(home / "SegmentationClass" / "2007_000002.png", [0, 21], palette=True)
    with pytest.raises(DataError, match=r"voc2012 has 2 problems in 5 pairs") as caught:
        run(tmp_path, "voc2012")
    assert "2007_000001.jpg cannot be decoded" in str(caught.value)
    assert "2007_000002.png holds values that are no class: 21 (192 pixels)" in str(caught.value)


def test_one_problem_is_one_sentence(tmp_path):
    home = make_camvid(tmp_path)
    (home / "trainannot" / "train_000.png").unlink()
    with pytest.raises(DataError, match=r"^label .*train_000\.png is missing; [^\n]*$"):
        run(tmp_path)


def test_crlf_lists_spaces_and_letters_of_any_language(tmp_path):
    home = make_camvid(tmp_path / "Stra\u00dfe \u8857 1")
    for name in ("train", "val", "test"):
        write_list(home / f"{name}.txt", (home / f"{name}.txt").read_text().splitlines(), "\r\n")
    table, _ = run(tmp_path / "Stra\u00dfe \u8857 1")
    assert len(table) == 5


def test_an_empty_list(tmp_path):
    home = make_camvid(tmp_path)
    (home / "train.txt").write_text("\n\n")
    with pytest.raises(DataError, match=r"the train list of camvid is empty; restore"):
        run(tmp_path)


def test_a_data_dir_that_cannot_be_written(tmp_path):
    folder = shared_data("camvid")
    before = sorted(p.name for p in folder.rglob("*"))
    table, described = run(folder, options={}, out=tmp_path)
    assert (described["train_size"], described["val_size"]) == (367, 101)
    pixels = [name for name in table.columns if name.startswith("pixels_")]
    assert (table[pixels].sum(axis=1) == 240 * 180).all()
    assert sorted(p.name for p in folder.rglob("*")) == before


def test_real_voc_pairs(tmp_path):
    options = {"relax_counts": True, "download": False}
    table, described = run(shared_data("voc2012_animals"), "voc2012", options, out=tmp_path)
    assert (described["train_size"], described["val_size"]) == (437, 445)
    absent = [c for c in range(21) if table[f"pixels_{c}"].sum() == 0]
    assert absent == [1, 19]  # no aeroplane and no train among these images
    assert table["id"].is_unique
