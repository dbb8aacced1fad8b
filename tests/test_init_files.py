"""Which images and labels `cseg init` uses, and that it names those that it does not use."""

import json

import numpy as np
import pytest
from init_folders import seen_in, truth
from PIL import Image
from written_kinds import write_image_kind

from cseg.cli import main
from cseg.datasets import folder
from cseg.datasets.reading import read_label
from cseg.estimate.calibrate import ArmCost
from cseg.init import proposal
from cseg.init.look import look

COST = ArmCost(0.1, 0.05, 0.01, 2.0, 800.0, 4.0, 0.001, "made up")


@pytest.fixture
def fast(monkeypatch):
    """Costs of all arms that were not measured."""
    monkeypatch.setattr(proposal, "calibrate", lambda _, arms, **__: dict.fromkeys(arms, COST))


def test_dark_images_with_different_small_things_are_different_images(tmp_path):
    """They agree in all the pixels of which the checksum is kept; one is there twice."""
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    for number, place in enumerate((11, 31, 51, 71, 71)):
        image = np.zeros((200, 200), np.uint8)
        image[53:55, place : place + 2] = 200
        Image.fromarray(image).save(tmp_path / "images" / f"{number}.png")
        Image.fromarray(image // 200).save(tmp_path / "labels" / f"{number}.png")
    seen = seen_in(tmp_path)
    assert [path.name for path in seen.twice] == ["4.png"]
    assert len(seen.pairs) == len(seen.usable) == 4


def test_names_that_begin_with_a_sign_are_used_like_others(tmp_path, fast):
    """A list takes # for a comment, and strips blanks and quotation marks."""
    names = ["#1", "# 2", " 3", "'4", '"5', "_6", "7", "(8), b"]
    for number, name in enumerate(names):
        grey, ids = truth(number)
        for place in ("images", "labels"):
            (tmp_path / place).mkdir(exist_ok=True)
        write_image_kind(tmp_path / "images" / f"{name}.png", grey, "8")
        Image.fromarray(ids).save(tmp_path / "labels" / f"{name}.png")
    assert {path.stem for path in seen_in(tmp_path).usable} == set(names)
    out = tmp_path / "mine.yaml"
    assert main(["init", str(tmp_path), "--out", str(out)]) == 0
    description = {
        "classes": [{"name": c} for c in "abc"],
        **{s: str(out.with_name(f"mine_{s}.txt")) for s in ("train", "val")},
    }
    samples = folder.samples(tmp_path, tmp_path, folder.Options(description=description))
    assert {sample.image.stem for sample in samples} == set(names)


def labelled(root, names):
    """Images with labels of these names; the first one alone has the last class."""
    (root / "images").mkdir(parents=True)
    (root / "labels").mkdir()
    for number, (image, label) in enumerate(names):
        grey, ids = truth(number)
        write_image_kind(root / "images" / image, grey, "8")
        Image.fromarray(ids if number == 0 else ids.clip(max=1)).save(root / "labels" / label)


@pytest.mark.parametrize(
    ("endings", "suffix"),
    [
        ([".PNG", ".png", ".png", ".png"], ".png"),
        ([".tif", ".png", ".PNG", ".png"], ""),
        (["_L.PNG", "_L.png", "_l.png", "_L.png"], "_L.png"),
    ],
)
def test_labels_whose_ending_differs_in_case_or_format_are_found(tmp_path, endings, suffix):
    names = [(f"{i}.PNG" if i else "0.png", f"{i}{end}") for i, end in enumerate(endings)]
    labelled(tmp_path, names)
    seen = seen_in(tmp_path)
    assert seen.description.get("label_suffix", "") == suffix and len(seen.pairs) == 4
    assert seen.info.num_classes == 3 and not (seen.files.unlabelled or seen.files.others)


def test_labels_whose_letters_are_made_of_other_parts_count_for_the_classes(tmp_path):
    """Some systems write an ä as two signs; the one label that shows class 2 has such a name."""
    labelled(tmp_path, [("B\u00e4ume.png", "Ba\u0308ume.png"), *[(f"{i}.png",) * 2 for i in "123"]])
    seen = seen_in(tmp_path)
    assert seen.info.num_classes == 3 and len(seen.pairs) == 4


def test_files_among_the_labels_that_are_not_used_are_named(tmp_path, fast, capsys):
    names = [(f"{i}.png", f"{i}_mask.png") for i in range(5)]
    labelled(tmp_path, [*names, ("5.png", "5_mask.tif")])
    assert main(["init", str(tmp_path), "--out", str(tmp_path / "mine.yaml")]) == 0
    said = capsys.readouterr().out
    assert "1 images without a label: 5.png" in said
    assert "not used, since most labels end differently: 5_mask.tif" in said


def test_a_second_label_of_an_image_in_another_format_is_not_used(tmp_path):
    names = [(f"{i}.png", f"{i}.png") for i in range(4)]
    labelled(tmp_path, names)
    Image.open(tmp_path / "labels" / "0.png").save(tmp_path / "labels" / "0.tif")
    seen = seen_in(tmp_path)
    assert seen.description["label_suffix"] == ".png" and seen.files.others == ("0.tif",)
    assert len(seen.pairs) == 4


def test_labels_in_the_folder_of_the_images_are_no_images(tmp_path):
    labelled(tmp_path / "x", [(f"{i}.png", f"{i}.png") for i in range(4)])
    (tmp_path / "x" / "labels").rename(tmp_path / "x" / "images" / "labels")
    seen = seen_in(tmp_path / "x" / "images")
    assert len(seen.pairs) == 4 and not seen.files.unlabelled


def test_labels_in_the_folder_of_the_images_come_before_those_next_to_it(tmp_path):
    labelled(tmp_path / "x", [(f"{i}.png", f"{i}.png") for i in range(4)])
    labelled(tmp_path, [(f"{i}.png", f"{i}.png") for i in range(4)])
    (tmp_path / "x" / "labels").rename(tmp_path / "x" / "images" / "masks")
    (tmp_path / "x" / "images").rename(tmp_path / "run1")
    seen = look(tmp_path / "run1", None, name="mine", work=tmp_path)
    assert seen.files.labels == tmp_path / "run1" / "masks" and not seen.files.unlabelled


@pytest.mark.parametrize("ending", [".json", ".JSON"])
def test_outlines_of_labelme_that_are_to_be_ignored_are_no_class(tmp_path, ending):
    for number in range(4):
        shapes = [
            {"label": label, "shape_type": "polygon", "points": [[x, 4], [x + 8, 4], [x + 8, 20]]}
            for x, label in ((2, "leaf"), (20, "__ignore__"))
        ]
        grey, _ = truth(number)
        (tmp_path / "a").mkdir(exist_ok=True)
        write_image_kind(tmp_path / "a" / f"{number}.png", grey, "8")
        content = {"shapes": shapes, "imageHeight": 24, "imageWidth": 32, "imagePath": "x"}
        (tmp_path / "a" / f"{number}{ending}").write_text(json.dumps(content))
    seen = look(tmp_path / "a", None, name="mine", work=tmp_path / "a")
    assert seen.info.class_names == ("background", "leaf") and not seen.problems
    ids = read_label(seen.pairs[0].label, seen.info)
    assert [ids[6, 25], ids[6, 7], ids[0, 0]] == [255, 1, 0]
