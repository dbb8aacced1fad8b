"""Panels: pixels come from the right files, in the dataset's palette; extremes are the extremes."""

import zipfile
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from fake_results import PALETTE, paint_results
from PIL import Image

from cseg.datasets.reading import IGNORED_COLOUR, colour_table
from cseg.errors import DataError
from cseg.paper import panels
from cseg.paper.results import read_results
from cseg.stages.summary import summary
from cseg.storage.index_and_subset import read_index


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    root = tmp_path_factory.mktemp("panels")
    arms = ("scratch", "cross", "imagenet")
    runs = paint_results(root, arms, (4, 64), (0, 1), skip=[("imagenet", 4, 0)])
    summary(runs, root / "fake")
    return read_results(root / "fake")


def validation_ids(results):
    index = read_index(results.folder / "index.csv")
    return list(index.loc[index["split"] == "val", "id"])


def test_runs_are_found_by_their_number_of_labels_not_their_folders_name(results):
    folders = panels.run_folders(results)
    assert folders["cross", 64, 1] == results.folder / "cross/nall/seed1"
    assert ("imagenet", 4, 0) not in folders
    assert len(folders) == 11


def test_folders_that_the_summary_does_not_know_are_left_alone(results):
    rows = results.tables["summary"]
    fewer = {**results.tables, "summary": rows[rows["seed"] == 0]}
    assert {key[2] for key in panels.run_folders(replace(results, tables=fewer))} == {0}


def test_prediction_holds_class_ids(results):
    folder = panels.run_folders(results)["cross", 64, 0]
    got = panels.read_prediction(folder / "predictions.zip", "000003")
    truth = np.array(Image.open(results.folder / "data/000003_label.png"))
    assert got.shape == truth.shape
    assert (got == truth)[truth != 255].mean() > 0.7  # the painted run errs on fewer
    with pytest.raises(DataError, match="prediction of nowhere in"):
        panels.read_prediction(folder / "predictions.zip", "nowhere")


def test_a_damaged_archive_is_named(results, tmp_path):
    broken = tmp_path / "predictions.zip"
    broken.write_bytes(b"PK not a zip")
    with pytest.raises(DataError, match=str(broken)):
        panels.read_prediction(broken, "000003")
    with zipfile.ZipFile(broken, "w") as archive:
        archive.writestr("000003.png", b"no picture")
    with pytest.raises(DataError, match="cannot read the prediction of 000003"):
        panels.read_prediction(broken, "000003")


def test_pictures_have_the_datasets_palette_and_one_colour_for_the_ignored():
    label = np.array([[0, 1], [4, 255]], np.uint8)
    rgb = colour_table(PALETTE)[label]
    assert rgb.dtype == np.uint8
    assert [tuple(c) for c in rgb.reshape(-1, 3)] == [
        PALETTE[0], PALETTE[1], PALETTE[4], IGNORED_COLOUR,
    ]  # fmt: skip


def test_common_seed_is_the_one_most_arms_have(results):
    folders = panels.run_folders(results)
    assert panels.common_seed(folders, results.arms, 4) == 1  # imagenet lacks seed 0
    assert panels.common_seed(folders, results.arms, 64) == 0
    with pytest.raises(DataError, match=r"no predictions\.zip of any arm at n = 7"):
        panels.common_seed(folders, results.arms, 7)


def test_fixed_ids_are_spread_over_the_set_and_do_not_depend_on_order():
    ids = [f"{i:02d}" for i in range(10)]
    assert tuple(panels.fixed_ids(ids, 4)) == ("00", "03", "06", "09")
    assert tuple(panels.fixed_ids(ids[::-1], 4)) == ("00", "03", "06", "09")
    assert tuple(panels.fixed_ids(ids[:2], 4)) == ("00", "01")


def brute_change(results, image_id, arm, n, seed):
    """mIoU of one image under arm minus under scratch, from the predictions themselves."""
    truth = np.array(Image.open(results.folder / f"data/{image_id}_label.png"))
    folders = panels.run_folders(results)
    values = []
    for each in (arm, "scratch"):
        guess = panels.read_prediction(folders[each, n, seed] / "predictions.zip", image_id)
        kept = truth != 255
        ious = []
        for c in np.unique(truth[kept]):
            a, b = (truth == c) & kept, (guess == c) & kept
            ious.append((a & b).sum() / (a | b).sum())
        values.append(np.mean(ious))
    return values[0] - values[1]


def test_extremes_agree_with_the_predictions_themselves(results):
    choice = panels.extreme_ids(results, "cross", 4, 1, 3)
    ids = validation_ids(results)
    change = {i: brute_change(results, i, "cross", 4, 1) for i in ids}
    ordered = sorted(ids, key=lambda i: -change[i])
    assert list(choice) == [*ordered[:3], *ordered[-3:]]
    for image_id, note in choice.items():
        sign = "+" if change[image_id] > 0 else "−"
        assert note == f"{sign}{100 * abs(change[image_id]):.1f} points"
    everything = panels.extreme_ids(results, "cross", 4, 1, 7)
    assert list(everything) == ordered  # of twelve images none is shown twice


def test_no_extremes_without_counts(results):
    bare = replace(results, tables={**results.tables, "per_image": pd.DataFrame()})
    assert panels.extreme_ids(bare, "cross", 4, 1, 3) == {}


def test_long_ids_are_shortened_in_the_middle(results, tmp_path):
    index, long = results.folder / "index.csv", "frankfurt_000000_000294_leftImg8bit"
    text = index.read_text()
    with zipfile.ZipFile(tmp_path / "predictions.zip", "w") as archive:
        archive.write(results.folder / "data/000000_label.png", f"{long}.png")
    try:
        index.write_text(text.replace("000000,", f"{long},", 1))
        figure = panels.panel(results, {("cross", 4, 0): tmp_path}, {long: ""}, ("cross",), 4)
    finally:
        index.write_text(text)
    assert figure.axes[0].get_ylabel() == "frankfur…tImg8bit"


def test_panel_shows_what_the_files_hold(results):
    folders = panels.run_folders(results)
    del folders["imagenet", 4, 1]  # as it lacks seed 0: seed 0 is the lowest that the others have
    chosen = panels.fixed_ids(validation_ids(results), 2)
    figure = panels.panel(results, folders, chosen, results.arms, 4)
    assert figure.get_suptitle() == "n = 4, seed 0"
    axes = np.array(figure.axes).reshape(2, 5)
    titles = [a.get_title() for a in axes[0]]
    assert titles == ["image", "truth", "scratch", "cross", "imagenet"]
    image_id = list(chosen)[1]
    shown = [np.asarray(a.get_images()[0].get_array()) for a in axes[1]]
    assert (shown[0] == np.array(Image.open(results.folder / f"data/{image_id}.png"))).all()
    truth = np.array(Image.open(results.folder / f"data/{image_id}_label.png"))
    assert (shown[1] == colour_table(PALETTE)[truth]).all()
    guess = panels.read_prediction(folders["cross", 4, 0] / "predictions.zip", image_id)
    assert (shown[3] == colour_table(PALETTE)[guess]).all()
    assert (shown[4] == IGNORED_COLOUR).all()  # imagenet has no run
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend[-1] == "ignored"
    assert set(legend[:-1]) <= {"background", "stripes", "dots", "rings", "checks"}


def test_an_unknown_id_is_named(results):
    folders = panels.run_folders(results)
    with pytest.raises(DataError, match=r"index\.csv has no image nowhere"):
        panels.panel(results, folders, {"nowhere": ""}, ("cross",), 4)
