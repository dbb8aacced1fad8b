import csv
import re

import numpy as np
import pandas as pd
import pytest
from made_trees import write_list
from PIL import Image
from shared_data import shared_data
from small_runs import ROOT

from cseg.datasets.image_files import image_name, match_ids, read_lines
from cseg.errors import DataError
from cseg.stages.audit import audit, class_distance, family, find_lists
from cseg.stages.subset import subset


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("2007_000032", "2007_000032"),
        ("JPEGImages/2007_000032.jpg SegmentationClass/2007_000032.png", "2007_000032"),
        ("leftImg8bit/train/ulm/ulm_000079_000019_leftImg8bit.png", "ulm_000079_000019"),
        (
            "leftImg8bit/train/ulm/ulm_000079_000019_leftImg8bit.png "
            "gtFine/train/ulm/ulm_000079_000019_gtFine_labelTrainIds.png",
            "ulm_000079_000019",
        ),
        (
            "/images/train/jena_000078_000019.png\t/segmentation/train/jena_000078_000019_gtFine.png",
            "jena_000078_000019",
        ),
        ("a.b", "a.b"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_every_published_format_names_its_images(tmp_path, line, name, end):
    write_list(tmp_path / "l.txt", [line, line], end)
    assert list(map(image_name, read_lines(tmp_path / "l.txt"))) == [name] * 2


def test_lines_are_matched_by_id_or_by_name_and_the_others_told():
    images = {
        name: f"data/x/{name}.png" for name in ("a", "b", "one/twice", "two/twice", "field/c")
    }
    matches = match_ids(["a", "x/b", "zz", "twice", "field/c"], images)
    assert matches == ["a", "b", None, None, "field/c"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("u2pl/data/splits/pascal/92/labeled.txt", "u2pl/data/splits/pascal/*/labeled.txt"),
        ("pascal/1.4k/labeled.txt", "pascal/*/labeled.txt"),
        ("pascal/1_16/split_2/labeled.txt", "pascal/1_*/split_2/labeled.txt"),
        ("subset_train/train_aug_labeled_1-4.txt", "subset_train/train_aug_labeled_*.txt"),
        ("subsets/n1of16_seed0.csv", "subsets/n*_seed0.csv"),
        ("subsets/nall_seed12.csv", "subsets/n*_seed12.csv"),
        ("subsets/n0.05_seed1.csv", "subsets/n*_seed1.csv"),
        ("subsets/nu2pl_92_seed1.csv", "subsets/nu2pl_92_seed1.csv"),
    ],
)
def test_the_count_in_a_path_is_told_from_the_rest(path, expected):
    assert family(path) == expected


def test_class_distance_is_the_total_variation():
    assert class_distance(np.array([1, 1]), np.array([10, 10])) == 0
    assert class_distance(np.array([1, 0]), np.array([0, 5])) == 1
    assert class_distance(np.array([3, 1]), np.array([1, 1])) == pytest.approx(0.25)


@pytest.fixture
def index_csv(tmp_path):
    """Training images t0..t9 of one class each: 2 on t2, 0 and 1 in turn elsewhere; one of val."""
    classes = [2 if i == 2 else i % 2 for i in range(10)]
    rows = [("train", f"t{i}", *(10 * (c == k) for k in range(3))) for i, c in enumerate(classes)]
    rows.append(("val", "v0", 1, 1, 1))
    table = pd.DataFrame(rows, columns=["split", "id", "pixels_0", "pixels_1", "pixels_2"])
    table.insert(2, "image", "data/" + table["id"] + ".png")
    table.to_csv(tmp_path / "index.csv", index=False)
    (tmp_path / "dataset.json").write_text('{"index_fingerprint": "f"}')
    return tmp_path / "index.csv"


def run(tmp_path, places, index_csv=None):
    figures = [tmp_path / "audit.png", tmp_path / "audit.pdf"]
    said = audit(
        places, index_csv, out_csv=tmp_path / "audit.csv", out_figures=figures,
        out_findings=tmp_path / "audit.txt",
    )  # fmt: skip
    assert (tmp_path / "audit.txt").read_text().splitlines() == said
    page = (tmp_path / "audit.pdf").read_bytes()
    assert page.startswith(b"%PDF") and b"CreationDate" not in page  # same lists, same bytes
    with (tmp_path / "audit.csv").open(newline="", encoding="utf-8") as stream:
        rows = {row["list"]: row for row in csv.DictReader(stream)}
    assert Image.open(tmp_path / "audit.png").size[0] > 300
    return rows, said


def test_what_is_wrong_with_made_lists_is_found(tmp_path, index_csv):
    lists = tmp_path / "pub"
    write_list(lists / "2" / "labeled.txt", ["t0", "t1"])
    write_list(lists / "2" / "unlabeled.txt", ["t1", "t2", "t3"])
    write_list(lists / "4" / "labeled.txt", ["t1", "t2", "t3", "t3", "v0", "nobody"])
    write_list(lists / "9" / "labeled.txt", [f"t{i}" for i in range(9)])
    write_list(lists / "copy" / "labeled.txt", ["t1", "t0"])
    rows, said = run(tmp_path, [lists], index_csv)
    two, four = (rows[str(lists / n / "labeled.txt")] for n in "24")
    assert (two["size"], two["unlabelled"], two["overlap"]) == ("2", "3", "1")
    assert (two["next_larger"], two["not_in_next"]) == (four["list"], "1")
    assert (two["classes"], two["classes_of"]) == ("2", "3")
    assert (four["repeated"], four["unmatched"], four["validation"]) == ("1", "2", "1")
    assert (four["matched"], four["not_in_next"]) == ("3", "2")
    text = "\n".join(said)
    for sentence in (
        "2/labeled.txt shares 1 images with its unlabelled list.",
        "2/labeled.txt is not nested: 1 of its 2 images are not in",
        "2/labeled.txt shows 2 of 3 classes.",
        "4/labeled.txt repeats 1 of its 6 lines.",
        "4/labeled.txt names 1 validation images.",
        "4/labeled.txt: 2 of 6 lines match no training image.",
        "copy/labeled.txt has the same images as",
    ):
        assert sentence in text
    assert "9/labeled.txt" not in "".join(s for s in said if s.startswith(str(lists / "9")))


def test_every_column_is_documented(tmp_path, index_csv):
    write_list(tmp_path / "labeled.txt", ["t0"])
    rows, _ = run(tmp_path, [tmp_path / "labeled.txt"], index_csv)
    readme = (ROOT / "results" / "README.md").read_text()
    part = readme.split("### `audit.csv`\n")[1].split("\n#")[0]
    documented = re.findall(r"^\| `([^`]+)` \|", part, flags=re.MULTILINE)
    assert documented == list(next(iter(rows.values())))


def test_our_own_subsets_are_found_to_be_sound(tmp_path, index_csv):
    for n in (3, "1/2", "all"):
        out = tmp_path / "subsets" / f"n{str(n).replace('/', 'of')}_seed0.csv"
        subset(index_csv, tmp_path / "dataset.json", n=n, seed=0, out=out)
    rows, said = run(tmp_path, [tmp_path / "subsets"], index_csv)
    assert said == ["3 lists, nothing found."]
    full = rows[str(tmp_path / "subsets" / "nall_seed0.csv")]
    assert float(full["class_distance"]) == float(full["class_distance_random"]) == 0


def test_the_published_lists_at_hand(tmp_path):
    folder = shared_data("splits")
    rows, said = run(tmp_path, [folder])
    assert len(rows) == 50
    assert all(row["repeated"] == "0" for row in rows.values())
    lost = {name.removeprefix(f"{folder}/"): row["not_in_next"] for name, row in rows.items()}
    assert lost["cps/DATA/city/config_new/subset_train/train_aug_labeled_1-16.txt"] == "0"
    assert lost["u2pl/data/splits/pascal/92/labeled.txt"] == "83"
    assert lost["stpp/dataset/splits/pascal/1_8/split_0/labeled.txt"] == "999"
    assert any("u2pl/data/splits/pascal/1464" in s and "same images" in s for s in said)


def test_places_without_lists(tmp_path):
    with pytest.raises(DataError, match=r"the list .*nowhere does not exist; correct its path"):
        find_lists([tmp_path / "nowhere"])
    with pytest.raises(DataError, match=r"no list in .*; name files or folders"):
        find_lists([tmp_path])
