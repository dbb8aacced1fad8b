"""The network to use: of the best arm on average, its best seed, with a card that says so."""

import json
import shutil

import pandas as pd
import pytest
from fake_results import paint_results

from cseg.errors import DataError
from cseg.paper.best import best
from cseg.paper.recommend import recommend
from cseg.paper.render import collect
from cseg.paper.results import read_results
from cseg.storage.files import sha256_file


@pytest.fixture
def runs(tmp_path):
    runs = paint_results(tmp_path, ("scratch", "cross"), (4, 64), (0, 1), images=3)
    for number, run in enumerate(runs):
        (run / "finetune.pt").write_bytes(bytes([number]))
    return runs


def set_miou(run, value):
    rows = pd.read_csv(run / "metrics.csv", dtype=str)
    rows.assign(miou=value).to_csv(run / "metrics.csv", index=False)


def test_the_network_is_of_the_recommended_arm_though_another_has_the_higher_mean(runs, tmp_path):
    # n = 4: cross is better in seed 0, the only one both have; its further seed lowers its mean
    for run, miou in zip([runs[0], runs[4], runs[5]], (0.60, 0.62, 0.50)):
        set_miou(run, miou)
    shutil.rmtree(runs[1])
    collect(tmp_path / "fake")
    card = json.loads((tmp_path / "fake/best/n4.json").read_text())
    recommended = recommend(read_results(tmp_path / "fake"))[0]
    assert (card["n"], card["arm"]) == (recommended.n, recommended.arm) == (4, "cross")
    assert card["miou_mean"] == pytest.approx(0.56)


def test_of_equal_arms_the_first_is_taken(runs, tmp_path):
    for run in runs:
        set_miou(run, 0.5)
    best(runs, tmp_path / "fake/dataset.json", tmp_path / "best")
    assert json.loads((tmp_path / "best/n4.json").read_text())["arm"] == "scratch"


def test_a_run_that_lost_its_network_still_counts(runs, tmp_path):
    for run, miou in zip([runs[0], runs[1], runs[4], runs[5]], (0.4, 0.4, 0.6, 0.7)):
        set_miou(run, miou)
    (runs[5] / "finetune.pt").unlink()
    best(runs, tmp_path / "fake/dataset.json", tmp_path / "best")
    card = json.loads((tmp_path / "best/n4.json").read_text())
    assert (card["arm"], card["seed"], card["miou_mean"]) == ("cross", 0, pytest.approx(0.65))
    (runs[4] / "finetune.pt").unlink()
    written = best(runs, tmp_path / "fake/dataset.json", tmp_path / "other")
    assert [path.name for path in written] == ["nall.pt", "nall.json"]


def test_its_best_seed_is_copied_for_each_label_count(runs, tmp_path):
    # n = 4: scratch 0.9 and 0.1 has the best seed, cross 0.6 and 0.7 the best mean
    for run, miou in zip([runs[0], runs[1], runs[4], runs[5]], (0.9, 0.1, 0.6, 0.7)):
        set_miou(run, miou)
    written = best(runs, tmp_path / "fake/dataset.json", tmp_path / "fake/best")
    assert {path.name for path in written} == {"n4.pt", "n4.json", "nall.pt", "nall.json"}
    assert (tmp_path / "fake/best/n4.pt").read_bytes() == bytes([5])
    card = json.loads((tmp_path / "fake/best/n4.json").read_text())
    assert (card["arm"], card["seed"], card["n"], card["run"]) == ("cross", 1, 4, "cross/n4/seed1")
    assert (card["miou"], card["miou_mean"], card["seeds"]) == (0.7, pytest.approx(0.65), 2)
    assert card["miou_std"] == pytest.approx(0.0707107)
    assert card["sha256"] == sha256_file(tmp_path / "fake/best/n4.pt")
    assert set(card["iou"]) == {"background", "stripes", "dots", "rings", "checks"}
    assert card["licence_of_images"] == "CC0 & more_than 100%"
    assert card["subset_fingerprint"] == "0001e5"  # text, not a number
    assert json.loads((tmp_path / "fake/best/nall.json").read_text())["n"] == 64


def test_one_seed_has_no_deviation_on_its_card(runs, tmp_path):
    best([runs[0]], tmp_path / "fake/dataset.json", tmp_path / "best")
    assert json.loads((tmp_path / "best/n4.json").read_text())["miou_std"] is None


def test_same_runs_same_bytes(runs, tmp_path):
    for name in ("one", "two"):
        best(runs, tmp_path / "fake/dataset.json", tmp_path / name)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_an_unreadable_row_is_named(runs, tmp_path):
    (runs[0] / "metrics.csv").unlink()
    with pytest.raises(DataError, match=r"cannot read .*metrics\.csv.* evaluate the run again"):
        best(runs, tmp_path / "fake/dataset.json", tmp_path / "best")
