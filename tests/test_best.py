"""The network to use: of the best arm on average, its best seed, with a card that says so."""

import json

import pandas as pd
import pytest
from fake_results import paint_results

from cseg.errors import DataError
from cseg.stages.best import best, best_arm
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


def test_the_best_arm_is_the_best_on_average_and_of_equals_the_first():
    rows = pd.DataFrame({"arm": ["a", "b", "b", "a"], "miou": [0.9, 0.6, 0.7, 0.1]})
    assert best_arm(rows) == "b"
    assert best_arm(pd.DataFrame({"arm": ["z", "a"], "miou": [0.5, 0.5]})) == "z"


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
