"""Each warning appears where there is cause, names the place, and is absent otherwise."""

import pandas as pd
import pytest
from fake_results import paint_results

from cseg.paper.cautions import cautions
from cseg.paper.results import read_results
from cseg.stages.summary import summary


@pytest.fixture
def folder(tmp_path):
    summary(paint_results(tmp_path, ("scratch", "cross"), (4, 16), images=20), tmp_path / "fake")
    (tmp_path / "fake/checksums.json").unlink()  # the tests edit the files
    return tmp_path / "fake"


def edit(folder, name, change):
    rows = pd.read_csv(folder / name, dtype={"id": str})
    change(rows)
    rows.to_csv(folder / name, index=False)


def said(folder):
    return " ".join(cautions(read_results(folder)))


def test_a_clean_run_gives_no_cause_but_its_unequal_cost(folder):
    # painted runs: 12.5 + 21 s with pretraining, 21 s without
    assert cautions(read_results(folder)) == [
        "Arms of unequal cost: training cross takes 1.6 times as long as training scratch; choose "
        "budget equal_time to compare at equal time."
    ]


def test_poor_fit_names_the_cells_below_the_bound(folder):
    def worse(rows):
        rows.loc[(rows["arm"] == "cross") & (rows["n"] == 16), "train_miou"] = 0.69

    edit(folder, "summary.csv", worse)
    assert "reaches less than 70 % mIoU (cross with 16 labels: 69.0 %)" in said(folder)


def test_a_flat_curve_is_named(folder):
    def flatten(rows):
        rows.loc[rows["arm"] == "scratch", "miou"] = 0.4 + 0.0001 * rows["n"]

    edit(folder, "summary.csv", flatten)
    assert "More labels do not help (scratch: +0.1 points from 4 to 16)" in said(folder)


def test_a_loss_that_still_falls_is_named(folder):
    assert "still falls" not in said(folder)

    def fall(rows):
        here = (rows["arm"] == "cross") & (rows["n"] == 4) & (rows["stage"] == "finetune")
        rows.loc[here, "loss"] = 2.0 - rows.loc[here, "step"] / 150  # to 0.7 at step 195

    edit(folder, "curves.csv", fall)
    assert "still falls at the end of fine-tuning (cross with 4 labels)" in said(folder)


def test_classes_without_a_right_pixel_are_named_unless_the_truth_lacks_them(folder):
    def lose(rows):
        rows.loc[(rows["class_name"] == "rings") & (rows["arm"] == "cross"), "iou"] = 0.0
        rows.loc[rows["class_name"] == "dots", "iou"] = 0.0
        rows.loc[rows["class_name"] == "checks", ["iou", "pixels"]] = [float("nan"), 0]

    edit(folder, "per_class.csv", lose)
    text = said(folder)
    assert "dots (by no arm)" in text and "rings (cross with 4 and cross with 16)" in text
    assert "checks" not in text


def test_few_seeds_and_gaps_are_named(folder):
    rows = pd.read_csv(folder / "summary.csv")
    rows[(rows["arm"] == "scratch") | (rows["seed"] < 2)].to_csv(
        folder / "summary.csv", index=False
    )
    text = said(folder)
    assert "some arms have run with 2 seeds" in text
    assert "10 of 12 runs have ended (one for each arm, n and seed)" in text


def test_seeds_that_share_a_subset_count_as_one_draw_of_it(folder):
    rows = pd.read_csv(folder / "summary.csv")  # three seeds per cell
    rows["subset_fingerprint"] = rows["seed"].map({0: "x", 1: "x", 2: "y"})
    rows.to_csv(folder / "summary.csv", index=False)
    assert "run with 3 seeds of 2 subsets" in said(folder)
    assert "run at least 3 subsets." in said(folder)
    for marks in (dict.fromkeys(range(3), "x"), {0: "x", 1: "y", 2: "z"}):
        # all on one published list, or each seed with its subset: the seeds are what varies
        rows.assign(subset_fingerprint=rows["seed"].map(marks)).to_csv(
            folder / "summary.csv", index=False
        )
        assert "Too few seeds" not in said(folder)


def test_lists_that_name_validation_images_are_a_leak(folder):
    audit = pd.DataFrame({"list": ["lists/92.txt", "lists/183.txt"], "validation": [3, 0]})
    audit.to_csv(folder / "audit.csv", index=False)
    assert "Labels leak: lists/92.txt names validation images as labelled" in said(folder)


def test_arms_of_equal_cost_are_not_called_unequal(folder):
    edit(folder, "cost.csv", lambda rows: rows.update(pd.DataFrame({"seconds": [9.0] * len(rows)})))
    rows = pd.read_csv(folder / "cost.csv")
    rows[rows["stage"] != "pretrain"].to_csv(folder / "cost.csv", index=False)
    assert cautions(read_results(folder)) == []


def test_costs_on_several_devices_are_not_compared(folder):
    def moved(rows):
        rows.loc[rows["arm"] == "cross", "device"] = "NVIDIA H100"

    edit(folder, "cost.csv", moved)
    (caution,) = cautions(read_results(folder))
    assert caution.startswith("Trainings ran on several devices (NVIDIA H100 and cpu): their")


def test_few_validation_images_are_named(folder):
    assert "Few validation images" not in said(folder)
    path = folder / "per_image.csv"
    rows = pd.read_csv(path, dtype={"id": str})
    rows[rows["id"] != "000000"].to_csv(path, index=False)
    assert cautions(read_results(folder))[0].startswith("Few validation images: 19 images that the")


def test_one_subset_for_all_seeds_is_named_unless_it_is_all_images(folder):
    path = folder / "summary.csv"
    rows = pd.read_csv(path).assign(subset_fingerprint="x")
    rows.to_csv(path, index=False)
    assert "all seeds with 4 and 16 labels share one subset" in said(folder)
    rows.assign(n_train=16).to_csv(path, index=False)
    assert "all seeds with 4 labels share one subset" in said(folder)


def test_a_student_costs_its_teacher_too(tmp_path):
    arms = ("scratch", "scratch_pseudo")
    summary(paint_results(tmp_path, arms, (4,), images=20), tmp_path / "fake")
    text = said(tmp_path / "fake")
    assert "training scratch_pseudo takes 2.0 times as long as training scratch;" in text
