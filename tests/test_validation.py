"""Seen while it runs: the validation curve, the best weights, TensorBoard, the log's last line."""

import pandas as pd
import pytest
import torch
from small_runs import SMOKE, changed, small_data, small_settings
from stage_runs import evaluated, trained

from cseg import experiment
from cseg.errors import ConfigError
from cseg.model import checkpoint

MEASURED = {"steps": 45, "log_every": 5, "validate_every": 10, "lr": 0.2}


def run(data, settings, out):
    """Fine-tune and evaluate; returns the curve, the evaluated row and the weights."""
    done = trained("finetune", data, settings, out)
    row = pd.read_csv(evaluated(data, settings, done.weights, out).metrics).iloc[0]
    return pd.read_csv(done.curve), row, checkpoint.load(done.weights, "finetune")["network"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("validation")
    data = small_data(folder)
    blocks = {"unmeasured": {"validate_every": 0}, "last": {}, "best": {"report": "best"}}
    return {
        name: run(data, small_settings("scratch", finetune=MEASURED | block), folder / name)
        for name, block in blocks.items()
    }


def test_the_curve_has_the_validation_miou_at_the_steps_asked_for_and_at_the_end(runs):
    curve = runs["last"][0].set_index("step")["val_miou"]
    assert list(curve.dropna().index) == [10, 20, 30, 40, 45]
    assert list(curve.index) == list(range(5, 50, 5))
    assert "val_miou" not in runs["unmeasured"][0]


def test_the_last_value_is_the_miou_that_evaluation_finds(runs):
    curve, row, _ = runs["last"]
    assert curve["val_miou"].iloc[-1] == row["miou"]
    assert row["model_choice"] == "last"


def test_measuring_changes_nothing_in_the_training(runs):
    plain, measured = runs["unmeasured"], runs["last"]
    assert list(plain[0]["loss"]) == list(measured[0]["loss"])
    assert all(torch.equal(plain[2][key], measured[2][key]) for key in plain[2])


def test_best_reports_the_weights_of_the_highest_value(runs):
    curve, row, _ = runs["best"]
    assert curve["val_miou"].max() > curve["val_miou"].iloc[-1], "the last is the best: no test"
    assert row["miou"] == curve["val_miou"].max()
    assert row["model_choice"] == "best"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "validate_every: 7, log_every: 5",
            r"validate_every is 7 .*multiple of finetune\.log_every",
        ),
        ("report: best", r"report is best .*set finetune\.validate_every"),
    ],
)
def test_settings_that_do_not_fit_are_told(tmp_path, text, message):
    path = tmp_path / "mine.yaml"
    path.write_text(f"finetune: {{{text}}}\n")
    with pytest.raises(ConfigError, match=message):
        experiment.load([SMOKE, path])


def test_tensorboard_shows_the_rows_of_the_curve(tmp_path, capsys):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    data = small_data(tmp_path)
    block = {"steps": 20, "log_every": 5, "validate_every": 10, "consistency": {"weight": 1.0}}
    settings = small_settings("scratch", finetune=block, tensorboard=True)
    done = trained("finetune", data, settings, tmp_path)
    board = events.EventAccumulator(str(tmp_path / "tensorboard" / "finetune"))
    board.Reload()
    curve = pd.read_csv(done.curve)
    for name in ("loss", "lr", "labelled_loss", "consistency_loss", "confident", "val_miou"):
        shown, rows = board.Scalars(name), curve.dropna(subset=[name])
        assert [value.step for value in shown] == list(rows["step"])
        assert [value.value for value in shown] == pytest.approx(list(rows[name]), rel=1e-6)
    assert len(board.Scalars("val_miou")) == 2 and len(board.Scalars("loss")) == 4
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("finetune: ") and "peak memory" in said and "MiB" in said


@pytest.mark.slow
def test_a_compiled_network_learns_the_same(tmp_path):
    import shutil

    if shutil.which("g++") is None:
        pytest.skip("torch.compile needs a C++ compiler, and there is no g++")
    data = small_data(tmp_path)
    settings = small_settings("scratch", finetune={"steps": 6, "log_every": 1, "lr": 0.01})
    curves = []
    for compiled in (False, True):
        own = changed(settings, compile=compiled)
        done = trained("finetune", data, own, tmp_path / str(compiled))
        curves.append(pd.read_csv(done.curve)["loss"])
        weights = checkpoint.load(done.weights, "finetune")["network"]
        assert not any("_orig_mod" in key for key in weights)
    assert list(curves[1]) == pytest.approx(list(curves[0]), rel=1e-2)
