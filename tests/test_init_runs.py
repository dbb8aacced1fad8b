"""From `cseg init` to a finished page, on folders of three kinds."""

import json

import pandas as pd
import pytest
import yaml
from test_init import PALETTE, truth, write_folder
from workflow_runs import overlay, snakemake
from written_kinds import write_image_kind

from cseg.cli import main

SHORT = {stage: {"steps": 4} for stage in ("pretrain", "finetune")}  # not ten minutes of them


def colour_masks(root):
    """As CamVid came: colour masks, `_L` behind the names, colours named in a file."""
    write_folder(root, "rgb", count=8, labels="labels", suffix="_L")
    names = [
        f"{r} {g} {b}\t{n}" for (r, g, b), n in zip(sorted(PALETTE[:3]), ("Sky", "Car", "Kerb"))
    ]
    (root / "label_colors.txt").write_text("\n".join(names))


def deep_images_some_without_label(root):
    """Grey of 16 bits, masks of 0 and 255, and four images that have none."""
    write_folder(root, "0 and 255", "16", count=8, image_suffix=".tif", labels="masks")
    for number in range(20, 24):
        write_image_kind(root / "images" / f"{number}.tif", truth(number)[0], "16")


def outlines(root):
    """Of labelme, next to images whose names have braces."""
    for number in range(8):
        grey, _ = truth(number)
        (root / "images").mkdir(exist_ok=True, parents=True)
        write_image_kind(root / "images" / f"{{leaf}}_{number}.png", grey, "8")
        points = [[4, 4], [20 + number, 4], [20, 20], [4, 20]]
        shape = {"label": "leaf", "points": points, "shape_type": "polygon"}
        content = {"shapes": [shape], "imageHeight": 24, "imageWidth": 32, "imagePath": "x"}
        (root / "images" / f"{{leaf}}_{number}.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("make", "taught"),
    [
        pytest.param(colour_masks, False, marks=pytest.mark.long),
        pytest.param(deep_images_some_without_label, True, marks=pytest.mark.long),
        pytest.param(outlines, False, marks=pytest.mark.slow),
    ],
)
def test_a_folder_becomes_a_page(tmp_path, make, taught):
    """What `init` wrote is run as it is, but for the steps."""
    make(tmp_path / "mine")
    config = tmp_path / "first.yaml"
    assert main(["init", str(tmp_path / "mine"), "--out", str(config)]) == 0
    path = overlay(tmp_path, yaml.safe_dump(SHORT))
    done = snakemake(tmp_path, "all", "--configfile", str(config), path, timeout=1800)
    assert done.returncode == 0, done.stderr
    results = tmp_path / "results" / "first"
    rows = pd.read_csv(results / "summary.csv")
    arms = ["scratch", "cross", "imagenet"] + ["cross_pseudo"] * taught
    # two images to measure on carry no test, so there are three seeds
    runs = {(arm, n, seed) for arm in arms for n in (4, 6) for seed in (0, 1, 2)}
    assert set(zip(rows["arm"], rows["n"], rows["seed"])) == runs
    page = (results / "summary.html").read_text(encoding="utf-8")
    assert all(arm in page for arm in arms)
