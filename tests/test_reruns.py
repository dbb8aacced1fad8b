"""What runs again after a change of the config, by rule and arm, and what is shared."""

import json
import re

import kind_folders
import numpy as np
import pandas as pd
import pytest
import yaml
from small_runs import SMOKE
from workflow_runs import overlay, snakemake

from cseg import experiment
from cseg.datasets.reading import read_class_ids

SHARED = {
    "run_arms": ["shared", "cross"],
    "arms": {
        "shared": {
            "init": "random",
            "scope": "cross",
            "pretrained_by": "cross",
            "overrides": {"finetune": {"distortion": 1.0}},
        }
    },
}


def jobs(folder, tmp_path, changes, *more):
    """Rules that a dry run would run again, with the arms of those that have one."""
    path = overlay(tmp_path, yaml.safe_dump(changes))
    done = snakemake(folder, "-n", "--configfile", str(SMOKE), path, *more)
    assert done.returncode == 0, done.stderr
    found = {}
    run = r"^Job \d+: (\w+)(?: \S+/(\w+)/n\w+/seed\d+)?"
    for rule, arm in re.findall(run, done.stdout, flags=re.M):
        found.setdefault(rule, set()).update({arm} - {""})
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "trained"),
    [
        ({}, {}),
        (
            {"arms": {"cross": {"overrides": {"pretrain": {"lr": 0.05}}}}},
            {"pretrain": {"cross"}, "finetune": {"cross"}, "evaluate": {"cross"}},
        ),
        (
            {"arms": {"cross": {"overrides": {"finetune": {"lr": 0.05}}}}},
            {"finetune": {"cross"}, "evaluate": {"cross"}},  # its pretraining is kept
        ),
        (
            {"arms": {"scratch": {"overrides": {"finetune": {"lr": 0.05}}}}},
            {"finetune": {"scratch"}, "evaluate": {"scratch"}},
        ),
        ({"arms": {"within": {"overrides": {"finetune": {"lr": 0.05}}}}}, {}),  # does not run
        ({"pseudolabel": {"threshold": 0.5}}, {}),  # no arm here has a teacher
        (
            {"finetune": {"lr": 0.05}},
            {"finetune": {"cross", "scratch"}, "evaluate": {"cross", "scratch"}},
        ),
    ],
)
def test_a_change_runs_again_what_it_shapes_and_nothing_else(
    undisturbed, tmp_path, changes, trained
):
    found = jobs(undisturbed, tmp_path, changes)
    assert {
        rule: found[rule] for rule in ("pretrain", "finetune", "evaluate") if rule in found
    } == (trained)
    assert not {"fetch", "index", "subset", "pseudolabel"} & set(found)


def _without_weeds(root):
    """Edit the outlines of b."""
    path = root / "coco.json"
    path = path if path.exists() else root / "images" / "b.json"
    content = json.loads(path.read_text())
    if "shapes" in content:
        content["shapes"] = [s for s in content["shapes"] if s["label"] != "weed"]
    else:
        content["annotations"] = [
            a for a in content["annotations"] if a["image_id"] != 1 or a["category_id"] != 8
        ]
    path.write_text(json.dumps(content))


@pytest.mark.slow
@pytest.mark.parametrize("make", [kind_folders.labelme, kind_folders.coco])
def test_edited_outlines_are_drawn_again(tmp_path, make):
    """Weeds (class 2) are taken out of the label of b."""
    keys = make(tmp_path / "mine")
    description = {**keys, "name": "mine", "val_share": 0.4}
    changes = {
        "dataset": "folder", "data_dir": str(tmp_path / "mine"),
        "dataset_options": {"folder": {"description": description}},
    }  # fmt: skip
    results = "results/smoke/mine"
    path = overlay(tmp_path, yaml.safe_dump(changes))
    asked = (f"{results}/index.csv", "--configfile", str(SMOKE), path)
    drawn = tmp_path / results / "prepared" / "labels" / "b.png"
    truth = kind_folders.ids("b")
    for edit in (False, True):
        if edit:
            _without_weeds(tmp_path / "mine")
            truth = np.where(truth == 2, 0, truth)
        done = snakemake(tmp_path, *asked)
        assert done.returncode == 0, done.stderr
        assert (read_class_ids(drawn) == truth).all()
    again = snakemake(tmp_path, *asked)
    assert "Nothing to be done" in again.stdout + again.stderr


@pytest.mark.slow
def test_the_same_values_as_text_change_nothing(undisturbed, tmp_path):
    text = ["--config", "seeds=[0]", "image={flip: true}", "pretrain={lr: 0.1}", "label_counts=[4]"]
    assert jobs(undisturbed, tmp_path, {}, *text) == {}
    assert "finetune" in jobs(undisturbed, tmp_path, {}, "--config", "image={flip: false}")


@pytest.mark.slow
def test_the_plan_is_written_for_those_who_read_the_results(undisturbed):
    written = json.loads(
        (undisturbed / "results" / "smoke" / "shapes" / "experiment.json").read_text()
    )
    assert written == experiment.load([SMOKE]).manifest()
    assert written["reference_arm"] == "scratch" and written["label_counts"] == ["4"]
    runs = {run["arm"]: run["stages"] for run in written["runs"]}
    assert runs["cross"] == ["pretrain", "finetune", "evaluate"]
    assert runs["scratch"] == ["finetune", "evaluate"]


@pytest.mark.slow
def test_a_shared_pretraining_is_paid_once_and_counted_for_each(tmp_path):
    path = overlay(tmp_path, yaml.safe_dump(SHARED))
    done = snakemake(tmp_path, "summary", "--configfile", str(SMOKE), path)
    assert done.returncode == 0, done.stderr
    results = tmp_path / "results" / "smoke" / "shapes"
    assert [path.parts[-4] for path in results.rglob("pretrain.pt")] == ["cross"]
    rows = pd.read_csv(results / "summary.csv").set_index("arm")
    assert rows["pretrain_steps"].to_dict() == {"shared": 6, "cross": 6}
    assert rows.loc["shared", "pretrain_seconds"] == rows.loc["cross", "pretrain_seconds"] > 0
    cost = pd.read_csv(results / "cost.csv").set_index(["arm", "stage"])["seconds"]
    assert cost["shared", "pretrain"] == cost["cross", "pretrain"]


@pytest.mark.slow
def test_an_arm_that_only_pretrains_for_another_one_does_no_more(tmp_path):
    only = SHARED | {"run_arms": ["shared"]}
    found = jobs(tmp_path, tmp_path, only)
    assert found["pretrain"] == {"cross"}
    assert found["finetune"] == found["evaluate"] == {"shared"}
