"""The summary stage: what run folders hold comes out unchanged, and gaps stay gaps."""

import json

import pandas as pd
import pytest
from fake_results import paint_results

from cseg.errors import DataError
from cseg.stages.summary import summary

KEY = ["dataset", "arm", "n", "seed"]


@pytest.fixture
def runs(tmp_path):
    return paint_results(tmp_path, ("scratch", "cross"), (4, 64), (0, 1), images=3)


def read(path):
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def test_one_row_per_run_in_the_order_given(runs, tmp_path):
    summary(runs, tmp_path / "out")
    rows = read(tmp_path / "out/summary.csv")
    assert list(rows.columns[:5]) == [*KEY, "miou"]
    expected = [(a, n, s) for a in ("scratch", "cross") for n in ("4", "64") for s in "01"]
    assert list(rows[KEY[1:]].itertuples(index=False, name=None)) == expected


def test_values_pass_through_as_they_were_written(runs, tmp_path):
    summary(runs, tmp_path / "out")
    rows = read(tmp_path / "out/summary.csv")
    for i, run in enumerate(runs):
        text = (run / "metrics.csv").read_text().splitlines()[1]
        assert ",".join(rows.iloc[i]) == text  # digits of mIoU, and "12e5" is a revision
    assert read(tmp_path / "out/per_image.csv")["id"].iloc[1] == "000001"


@pytest.mark.parametrize("name", ["per_class", "per_image", "confusion"])
def test_rows_of_all_runs_are_kept_under_their_run(runs, tmp_path, name):
    summary(runs, tmp_path / "out")
    together = read(tmp_path / f"out/{name}.csv")
    parts = [read(run / f"{name}.csv") for run in runs]
    pd.testing.assert_frame_equal(together, pd.concat(parts, ignore_index=True))


def test_rows_without_key_columns_receive_them(runs, tmp_path):
    path = runs[2] / "per_class.csv"
    read(path).drop(columns=KEY).to_csv(path, index=False)
    summary(runs[2:3], tmp_path / "out")
    rows = read(tmp_path / "out/per_class.csv")
    assert list(rows.columns[:4]) == KEY
    assert set(rows["n"]) == {"64"}  # from metrics.csv: the folder is called "nall"


def test_curves_and_costs_by_stage(runs, tmp_path):
    summary(runs, tmp_path / "out")
    curves = read(tmp_path / "out/curves.csv")
    assert list(curves.columns) == [*KEY, "stage", "step", "loss", "lr", "val_miou"]
    assert set(curves[curves["arm"] == "scratch"]["stage"]) == {"finetune"}
    assert set(curves[curves["arm"] == "cross"]["stage"]) == {"pretrain", "finetune"}
    cost = read(tmp_path / "out/cost.csv")
    one = cost[(cost["arm"] == "cross") & (cost["n"] == "64") & (cost["seed"] == "1")]
    assert list(one["stage"]) == ["pretrain", "finetune", "evaluate"]
    written = json.loads((runs[7] / "finetune_cost.json").read_text())
    assert float(one.iloc[1]["seconds"]) == written["seconds"] == 21.0
    assert one.iloc[2]["seconds"] == "1.5"
    assert one.iloc[2]["peak_memory_mib"] == ""


def test_unfinished_runs_are_absent_and_named(runs, tmp_path, caplog):
    (runs[1] / "metrics.csv").unlink()
    (runs[2] / "curves.csv").unlink(missing_ok=True)
    (runs[2] / "finetune.csv").unlink()
    summary([*runs, tmp_path / "never"], tmp_path / "out")
    assert len(read(tmp_path / "out/summary.csv")) == 7
    assert len(read(tmp_path / "out/per_image.csv")) == 7 * 3
    assert str(runs[1]) in caplog.text
    assert str(tmp_path / "never") in caplog.text


def test_metrics_paths_serve_as_well_as_folders(runs, tmp_path):
    summary(runs, tmp_path / "folders")
    summary([run / "metrics.csv" for run in runs], tmp_path / "files")
    for path in (tmp_path / "folders").iterdir():
        assert path.read_bytes() == (tmp_path / "files" / path.name).read_bytes()


def test_optional_files_are_collected_where_a_run_has_them(runs, tmp_path):
    summary(runs, tmp_path / "none")
    assert not (tmp_path / "none/pseudo.csv").exists()
    (runs[3] / "pseudo.csv").write_text("miou,pixel_accuracy,kept\n0.5,0.7,0.8\n")
    summary(runs, tmp_path / "one")
    rows = read(tmp_path / "one/pseudo.csv")
    assert len(rows) == 1
    assert list(rows.iloc[0][KEY[1:]]) == ["scratch", "64", "1"]


def test_the_plan_of_ablations_is_kept_for_the_table(runs, tmp_path):
    plan = {"temperature": {"0.07": "cross", "0.1": "cross_warm"}, "scope": {"none": "scratch"}}
    summary(runs, tmp_path / "out", ablations=plan)
    rows = read(tmp_path / "out/ablations.csv")
    assert list(rows.itertuples(index=False, name=None)) == [
        ("temperature", "0.07", "cross"),
        ("temperature", "0.1", "cross_warm"),
        ("scope", "none", "scratch"),
    ]


def test_bad_runs_are_refused_in_one_sentence_and_nothing_is_written(runs, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(DataError, match=r"none of the 1 run folders .* finish at least one"):
        summary([tmp_path / "never"], out)
    with pytest.raises(DataError, match="repeats the arm, n and seed of another run"):
        summary([runs[0], runs[0]], out)
    other = paint_results(tmp_path / "more", ("scratch",), (4,), (0,), images=1, dataset="other")
    with pytest.raises(DataError, match=r"several datasets \(fake, other\)"):
        summary([runs[0], *other], out)
    (runs[0] / "metrics.csv").write_text("arm,n\nscratch,4\n")
    with pytest.raises(DataError, match="must hold one row with columns dataset, arm, n, seed"):
        summary(runs, out)
    assert not out.exists()
