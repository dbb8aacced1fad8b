"""`cseg predict` and `load_segmenter(path).predict`: the same masks, and nobody's file replaced."""

import csv
import os
import shutil
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as V

from cseg.cli import main
from cseg.datasets.reading import PLAIN
from cseg.errors import CsegError, DataError
from cseg.images.overlay import blend, overlay
from cseg.inference import load_segmenter
from cseg.inference.load import image_pixels
from cseg.inference.masks import MAPS, MaskSettings, Outcome, write_masks
from cseg.storage.own_files import RECORD, read_record


def picture(path, height, width, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def masks(checkpoint, *sources, out, **settings):
    return write_masks(checkpoint, sources, out, MaskSettings(device="cpu", **settings))


def table(out):
    with (out / "predictions.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def files(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_every_image_has_a_mask_an_overlay_and_a_row(checkpoint, tmp_path):
    picture(tmp_path / "in" / "wide.png", 30, 50)
    picture(tmp_path / "in" / "north" / "tall.jpg", 61, 33, seed=1)
    out = tmp_path / "out"
    assert main(["predict", str(tmp_path / "in"), "--checkpoint", str(checkpoint),
                 "--out", str(out), "--device", "cpu"]) == 0  # fmt: skip
    assert set(files(out)) == {
        "wide_mask.png", "wide_overlay.png", "north/tall_mask.png", "north/tall_overlay.png",
        "predictions.csv", RECORD,
    }  # fmt: skip
    mask = Image.open(out / "north" / "tall_mask.png")
    assert mask.mode == "P" and mask.size == (33, 61)
    rows = {row["mask"]: row for row in table(out)}
    shares = [float(v) for k, v in rows["north/tall_mask.png"].items() if k.startswith("share_")]
    expected = np.bincount(np.array(mask).ravel(), minlength=len(shares)) / mask.width / mask.height
    assert np.allclose(shares, expected, atol=1e-6) and sum(shares) == pytest.approx(1, abs=1e-5)


def test_the_table_begins_with_the_least_certain_image(checkpoint, tmp_path):
    loaded, entropies = load_segmenter(checkpoint), {}
    for seed in range(3):
        path = picture(tmp_path / "in" / f"{seed}.png", 20 + 9 * seed, 30, seed)
        p = loaded.probabilities(path).astype(np.float64)
        entropies[str(path)] = -(p * np.log(p)).sum(0).mean() / np.log(len(p))
    (tmp_path / "in" / "bad.png").write_bytes(b"no image")
    masks(checkpoint, tmp_path / "in", out=tmp_path / "out", more=MAPS)
    *rows, last = table(tmp_path / "out")
    assert [r["image"] for r in rows] == sorted(entropies, key=lambda name: -entropies[name])
    for row in rows:
        assert float(row["mean_entropy"]) == pytest.approx(entropies[row["image"]], abs=2e-6)
    assert last["image"].endswith("bad.png") and last["mean_entropy"] == ""
    assert "cannot be decoded" in last["problem"]
    p = loaded.probabilities(tmp_path / "in" / "1.png").astype(np.float64)
    entropy = np.array(Image.open(tmp_path / "out" / "1_entropy.png"))
    assert np.abs(entropy / 255 + (p * np.log(p)).sum(0) / np.log(len(p))).max() < 0.51 / 255
    best = np.array(Image.open(tmp_path / "out" / "1_probability.png"))
    assert np.abs(best / 255 - p.max(0)).max() < 0.51 / 255


@pytest.mark.parametrize("short_side", [None, 24])
@pytest.mark.parametrize("size", [(40, 61), (24, 24), (90, 33)])
def test_a_loaded_network_predicts_what_the_command_writes(checkpoint, tmp_path, short_side, size):
    content = torch.load(checkpoint, weights_only=True)
    content["settings"]["image"]["short_side"] = short_side
    resized = tmp_path / "finetune.pt"
    torch.save(content, resized)
    loaded = load_segmenter(resized)
    path = picture(tmp_path / "a.png", *size)
    masks(resized, path, out=tmp_path / "out")
    written = np.array(Image.open(tmp_path / "out" / "a_mask.png"))
    image = Image.open(path)
    pixels = np.array(image)
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    for given in (path, str(path), image, pixels, pixels / 255.0, tensor, tensor.float() / 255):
        assert (loaded.predict(given) == written).all()
    with torch.inference_mode():  # by hand
        small = V.resize(tensor, short_side) if short_side else tensor
        logits = F.interpolate(loaded.network(small[None] / 255), size, mode="bilinear")
    assert (logits[0].argmax(0).numpy() == written).mean() > 0.999
    assert np.allclose(loaded.probabilities(path), logits[0].softmax(0), atol=1e-4)


def test_grey_and_transparent_images_are_taken_as_they_look(checkpoint):
    loaded, generator = load_segmenter(checkpoint), np.random.default_rng(0)
    grey = generator.integers(0, 256, (30, 20), dtype=np.uint8)
    expected = loaded.predict(np.stack([grey] * 3, axis=-1))
    clear = np.dstack([grey] * 4)
    for given in (grey, clear, Image.fromarray(grey)):
        assert (loaded.predict(given) == expected).all()


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((3, 20, 20), np.uint8), r"array of shape \(3, 20, 20\) is no image"),
        (np.zeros((0, 20, 3), np.uint8), r"is no image; give one of shape \(H, W\)"),
        (torch.zeros(2, 3, 20, 20), r"tensor of shape \(2, 3, 20, 20\) .*; give .* \(3, H, W\)"),
        (np.zeros((20, 20, 3), np.int32), "uint8 .* or float .*, not int32"),
        (np.full((20, 20, 3), 200.0), "from 200 to 200; give those"),
        (np.full((20, 20, 3), np.nan), "not float64"),
    ],
)
def test_what_is_no_image_is_refused(checkpoint, image, message):
    with pytest.raises(DataError, match=message):
        load_segmenter(checkpoint).predict(image)


def test_an_overlay_mixes_both_in_equal_parts_and_names_the_classes():
    image = np.full((4, 6, 3), 100, np.uint8)
    classes = np.zeros((4, 6), np.uint8)
    classes[0], classes[1] = 1, 255
    info = replace(PLAIN, class_names=("soil", "weed"), palette=((0, 0, 0), (200, 20, 60)))
    mixed = np.array(blend(image, classes, info))
    assert (mixed[0] == (150, 60, 80)).all() and (mixed[1] == 100).all() and (mixed[2] == 50).all()
    whole = np.array(overlay(image, classes, info))
    assert (whole[:4, :6] == mixed).all()
    assert whole.shape == (4 + 3 * 20 + 10, 260, 3)  # soil, weed and the ignored pixels
    assert (whole[4 + 5 + 10, 10] == (0, 0, 0)).all()
    assert (whole[4 + 5 + 30, 10] == (200, 20, 60)).all()


def test_bad_images_are_skipped_and_told_by_the_exit_code(checkpoint, tmp_path, capsys):
    good = picture(tmp_path / "good.png", 20, 20)
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    code = main(["predict", str(good), str(bad), "--checkpoint", str(checkpoint), "--out",
                 str(tmp_path / "out"), "--window", "16", "16", "--no-overlay"])  # fmt: skip
    assert code == 1 and "1 were skipped; " in capsys.readouterr().err
    assert set(files(tmp_path / "out")) == {"good_mask.png", "predictions.csv", RECORD}


def test_images_above_a_limit_are_skipped_until_it_is_raised(checkpoint, tmp_path):
    path = picture(tmp_path / "large.png", 1100, 1000)
    assert masks(checkpoint, path, out=tmp_path / "out", max_megapixels=1).problems == 1
    (row,) = table(tmp_path / "out")
    assert "1 megapixels, and more than 1 are not decoded" in row["problem"]
    assert row["problem"].endswith("set max_megapixels to 2 (of predict: --max-megapixels)")
    assert masks(checkpoint, path, out=tmp_path / "out", max_megapixels=2).done == 1


@pytest.mark.parametrize("name", ["large.png", "large.tif", "large.jpg", "packed.tif"])
def test_pillows_own_limit_is_no_limit(checkpoint, tmp_path, monkeypatch, name):
    path = picture(tmp_path / name, 40, 50)
    if name == "packed.tif":
        Image.open(path).save(path, compression="tiff_lzw")
    expected = load_segmenter(checkpoint).predict(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 900)  # refuses from 1,800 pixels on
    assert (load_segmenter(checkpoint).predict(path) == expected).all()
    assert Image.MAX_IMAGE_PIXELS == 900


def test_a_picture_is_predicted_as_it_is_shown_not_as_it_is_stored(checkpoint, tmp_path):
    upright = picture(tmp_path / "upright.png", 40, 24)
    stored = Image.open(upright).transpose(Image.Transpose.ROTATE_90)
    tags = Image.Exif()
    tags[0x0112] = 6  # turn by 90 degrees clockwise to see it
    stored.save(tmp_path / "turned.png", exif=tags)
    loaded = load_segmenter(checkpoint)
    expected = loaded.predict(upright)
    assert (loaded.predict(tmp_path / "turned.png") == expected).all()
    assert (loaded.predict(Image.open(tmp_path / "turned.png")) == expected).all()
    masks(checkpoint, tmp_path / "turned.png", out=tmp_path / "out")
    assert (np.array(Image.open(tmp_path / "out" / "turned_mask.png")) == expected).all()
    assert Image.open(tmp_path / "out" / "turned_overlay.png").height > 40


def test_linked_folders_are_entered_and_junk_is_no_image(checkpoint, tmp_path):
    picture(tmp_path / "elsewhere" / "a.png", 20, 20)
    picture(tmp_path / "in" / "b.png", 20, 20)
    (tmp_path / "in" / "more").symlink_to(tmp_path / "elsewhere")
    for junk in ("._b.png", ".ipynb_checkpoints/b.png", "__MACOSX/b.png", "notes.txt"):
        (tmp_path / "in" / junk).parent.mkdir(exist_ok=True)
        (tmp_path / "in" / junk).write_bytes(b"junk")
    assert masks(checkpoint, tmp_path / "in", out=tmp_path / "out") == Outcome(2, 2, 0, False)
    assert (tmp_path / "out" / "more" / "a_mask.png").is_file()


def test_images_of_one_name_do_not_overwrite_each_other(checkpoint, tmp_path):
    for folder in ("a", "b"):
        picture(tmp_path / folder / "same.png", 20, 20)
    masks(checkpoint, tmp_path / "a", tmp_path / "b", out=tmp_path / "out")
    assert {p.name for p in (tmp_path / "out").glob("*_mask.png")} == {
        "same_mask.png",
        "same-2_mask.png",
    }


def test_a_users_file_is_never_replaced(checkpoint, tmp_path):
    picture(tmp_path / "a.png", 20, 20)
    for name in ("a_mask.png", "a_overlay.png", "predictions.csv"):
        mine = tmp_path / name
        mine.write_bytes(b"mine")
        before = files(tmp_path)
        with pytest.raises(CsegError, match=f"did not write, .*: {name}; move them"):
            masks(checkpoint, tmp_path / "a.png", out=tmp_path)
        assert files(tmp_path) == before
        mine.unlink()


def test_results_in_the_folder_of_the_images_are_no_images_and_are_renewed(checkpoint, tmp_path):
    picture(tmp_path / "a.png", 20, 20)
    picture(tmp_path / "north" / "b.png", 20, 20, seed=1)
    assert masks(checkpoint, tmp_path, out=tmp_path).images == 2
    first = files(tmp_path)
    assert masks(checkpoint, tmp_path, out=tmp_path).images == 2
    again = files(tmp_path)
    assert {k: v for k, v in again.items() if k != RECORD} == {
        k: v for k, v in first.items() if k != RECORD
    }
    assert masks(checkpoint, tmp_path, out=tmp_path / "elsewhere").images == 2
    assert masks(checkpoint, tmp_path / "north", out=tmp_path / "there").images == 1
    with pytest.raises(DataError, match="no image to predict in"):
        masks(checkpoint, tmp_path / "a_mask.png", out=tmp_path / "there")


def test_a_mask_that_was_corrected_by_hand_is_its_owners(checkpoint, tmp_path):
    picture(tmp_path / "in" / "a.png", 20, 20)
    out = tmp_path / "out"
    masks(checkpoint, tmp_path / "in", out=out)
    picture(out / "a_mask.png", 20, 20, seed=7)
    corrected = (out / "a_mask.png").read_bytes()
    with pytest.raises(CsegError, match=r"changed since: a_mask\.png; move"):
        masks(checkpoint, tmp_path / "in", out=out)
    assert (out / "a_mask.png").read_bytes() == corrected


def test_the_record_is_a_list_of_checksums(checkpoint, tmp_path):
    odd = "a\\b\nc\rd é {x}"
    first = picture(tmp_path / "in" / f"{odd}.png", 20, 20)
    second = Path(os.fsdecode(os.fsencode(tmp_path / "in") + b"/\xff.png"))
    shutil.copy(first, second)
    with pytest.raises(DataError, match=r"holds control characters or is not UTF-8; rename it"):
        masks(checkpoint, tmp_path / "in", out=tmp_path / "out")
    outcome = masks(checkpoint, first, second, out=tmp_path / "out")
    assert (outcome.done, outcome.problems) == (2, 0)
    assert set(read_record(tmp_path / "out")) == {
        f"{odd}_mask.png", f"{odd}_overlay.png", "\udcff_mask.png", "\udcff_overlay.png",
        "predictions.csv",
    }  # fmt: skip
    subprocess.run(["sha256sum", "--quiet", "-c", RECORD], cwd=tmp_path / "out", check=True)
    assert {row["mask"] for row in table(tmp_path / "out")} == {
        f"{odd}_mask.png", "\\xff_mask.png",
    }  # fmt: skip


def test_after_ctrl_c_what_is_done_is_kept_and_listed(checkpoint, tmp_path, capsys, monkeypatch):
    """The signal comes while the third image is read; that image is the last."""
    for number in range(6):
        picture(tmp_path / "in" / f"{number}.png", 30, 30, number)

    seen = []

    def pixels(path, info):
        seen.append(f"{path.stem}_mask.png")
        if len(seen) == 3:
            signal.raise_signal(signal.SIGINT)
        return image_pixels(path, info)

    monkeypatch.setattr("cseg.inference.masks.image_pixels", pixels)
    out = tmp_path / "out"
    assert main(["predict", str(tmp_path / "in"), "--checkpoint", str(checkpoint),
                 "--out", str(out), "--device", "cpu"]) == 130  # fmt: skip
    said = capsys.readouterr().err
    assert f"stopped: 3 of 6 images, listed in {out / 'predictions.csv'}" in said
    assert {row["mask"] for row in table(out)} == set(seen)
    assert len(seen) == len(list(out.glob("*_mask.png"))) == 3
    assert not [path for path in out.rglob(".*") if path.is_file()]
