"""From `cseg init` to a finished page, on folders of three kinds."""

import json

import pytest
import yaml
from test_init import PALETTE, truth, write_folder
from workflow_runs import snakemake
from written_kinds import write_image_kind

from cseg.cli import main
from cseg.estimate.calibrate import ArmCost
from cseg.init import proposal

SHORT = {  # what `init` proposes would take ten minutes
    "run_arms": ["scratch", "cross"], "seeds": [0], "label_counts": ["all"],
    "pretrain": {"steps": 4}, "finetune": {"steps": 4},
}  # fmt: skip


def colour_masks(root):
    """As CamVid came: colour masks, `_L` behind the names, colours named in a file."""
    write_folder(root, "rgb", count=8, labels="labels", suffix="_L")
    names = [
        f"{r} {g} {b}\t{n}" for (r, g, b), n in zip(sorted(PALETTE[:3]), ("Sky", "Car", "Kerb"))
    ]
    (root / "label_colors.txt").write_text("\n".join(names))


def masks_of_0_and_255(root):
    write_folder(root, "0 and 255", "16", count=8, image_suffix=".tif", labels="masks")


def outlines(root):
    for number in range(8):
        grey, _ = truth(number)
        (root / "images").mkdir(exist_ok=True, parents=True)
        write_image_kind(root / "images" / f"{number}.png", grey, "8")
        points = [[4, 4], [20 + number, 4], [20, 20], [4, 20]]
        shape = {"label": "leaf", "points": points, "shape_type": "polygon"}
        content = {"shapes": [shape], "imageHeight": 24, "imageWidth": 32, "imagePath": "x"}
        (root / "images" / f"{number}.json").write_text(json.dumps(content))


@pytest.mark.slow
@pytest.mark.parametrize("make", [colour_masks, masks_of_0_and_255, outlines])
def test_a_folder_becomes_a_page(tmp_path, monkeypatch, make):
    cost = ArmCost(0.1, 0.05, 0.01, 2.0, 800.0, 4.0, 0.001, "made up")
    monkeypatch.setattr(proposal, "calibrate", lambda _, arms, **__: dict.fromkeys(arms, cost))
    make(tmp_path / "mine")
    config = tmp_path / "first.yaml"
    assert main(["init", str(tmp_path / "mine"), "--out", str(config)]) == 0
    (tmp_path / "short.yaml").write_text(yaml.safe_dump(SHORT))
    files = (str(config), str(tmp_path / "short.yaml"))
    done = snakemake(tmp_path, "all", "--configfile", *files, timeout=900)
    assert done.returncode == 0, done.stderr
    (page,) = tmp_path.rglob("summary.html")
    assert page.parent.name == "first" and "cross" in page.read_text(encoding="utf-8")
