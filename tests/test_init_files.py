"""Which images and labels `cseg init` uses, and that it names those that it does not use."""

import numpy as np
import pytest
from init_folders import seen_in, truth
from PIL import Image
from written_kinds import write_image_kind

from cseg.cli import main
from cseg.datasets import folder
from cseg.estimate.calibrate import ArmCost
from cseg.init import proposal

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
