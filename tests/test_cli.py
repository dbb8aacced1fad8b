"""The command line, as a user calls it."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from small_runs import ROOT, small_data, small_settings

from cseg.cli import main
from cseg.stages.finetune import finetune


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    data = small_data(folder)
    paths = (folder / "finetune.pt", folder / "finetune.csv", folder / "finetune_cost.json")
    finetune(*data, None, small_settings("scratch"), 1, "shapes/scratch/n4/seed0", *paths)
    return paths[0]


def picture(path, height, width):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def test_info_says_what_a_checkpoint_is(checkpoint, capsys):
    assert main(["info", str(checkpoint)]) == 0
    said = capsys.readouterr().out
    for fact in (
        "run: shapes/scratch/n4/seed0",
        "labelled images: 4",
        "background, disc",
        "not ev",
    ):
        assert fact in said


def test_predict_writes_masks_overlays_and_shares(checkpoint, tmp_path):
    picture(tmp_path / "in" / "wide.png", 30, 50)
    picture(tmp_path / "in" / "tall.jpg", 61, 33)
    out = tmp_path / "out"
    assert main(["predict", str(tmp_path / "in"), "--checkpoint", str(checkpoint),
                 "--out", str(out), "--device", "cpu"]) == 0  # fmt: skip
    mask = Image.open(out / "tall_mask.png")
    assert mask.mode == "P" and mask.size == (33, 61)
    assert Image.open(out / "wide_overlay.png").size == (50, 30)
    shares = pd.read_csv(out / "shares.csv")
    assert len(shares) == 2
    assert np.allclose(shares.drop(columns="image").sum(axis=1), 1, atol=1e-4)
    expected = (np.array(mask) == 0).mean()
    row = shares[shares["image"].str.endswith("tall.jpg")].iloc[0]
    assert row["background"] == pytest.approx(expected, abs=1e-5)


def test_bad_images_are_named_skipped_and_told_by_the_exit_code(checkpoint, tmp_path, capsys):
    good = picture(tmp_path / "good.png", 20, 20)
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    code = main(["predict", str(good), str(bad), "--checkpoint", str(checkpoint),
                 "--out", str(tmp_path / "out"), "--window", "16", "16"])  # fmt: skip
    assert code == 1 and "bad.png" in capsys.readouterr().err
    assert (tmp_path / "out" / "good_mask.png").exists()


def test_images_of_one_name_do_not_overwrite_each_other(checkpoint, tmp_path):
    for folder in ("a", "b"):
        picture(tmp_path / folder / "same.png", 20, 20)
    main(["predict", str(tmp_path / "a"), str(tmp_path / "b"), "--checkpoint", str(checkpoint),
          "--out", str(tmp_path / "out")])  # fmt: skip
    assert {p.name for p in (tmp_path / "out").glob("*_mask.png")} == {
        "same_mask.png",
        "same-2_mask.png",
    }


def test_failures_are_one_sentence(tmp_path, capsys):
    assert main(["info", str(tmp_path / "absent.pt")]) == 1
    assert main(["paper", str(tmp_path)]) == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 2 and all(line.startswith("error: ") for line in said)


def test_the_module_runs():
    done = subprocess.run([sys.executable, "-m", "cseg", "--version"], cwd=ROOT, check=True)
    assert done.returncode == 0
