"""Figures: what is drawn is read back from the drawing; files are there, embedded, repeatable."""

import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from fake_results import CLASSES, paint_extras, paint_results
from golden import golden_results
from PIL import Image

from cseg.paper import plots
from cseg.paper.figures import figures
from cseg.paper.results import read_results
from cseg.paper.style import SETTINGS, arm_styles, figure_style, save
from cseg.stages.summary import summary
from cseg.storage.files import read_json, write_json

ALWAYS = {"label_efficiency", "per_class", "confusion", "training_curves", "qualitative"}
WITH_TWO_ARMS = {"confusion_difference", "largest_changes"}


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    root = tmp_path_factory.mktemp("full")
    skip = [("imagenet", 16, s) for s in (0, 1)]
    runs = paint_results(root, seeds=(0, 1), skip=skip)
    summary(runs, root / "fake")
    paint_extras(root / "fake")
    figures(root / "fake", root / "fake/figures")
    return root / "fake"


def assert_nothing_cut_off(path):
    pixels = np.array(Image.open(path).convert("L"))
    assert (pixels < 250).mean() > 0.002, path.name  # something is drawn
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    assert (edge > 250).all(), path.name  # the outermost pixels are paper


def test_a_dollar_in_a_class_name_is_a_dollar(full, tmp_path):
    shutil.copytree(full, tmp_path / "r", ignore=shutil.ignore_patterns("figures"))
    facts = read_json(tmp_path / "r/dataset.json")
    facts["class_names"] = ["$x^$", "5$ note", "a$b$", r"$\\frac$", "$"]
    write_json(tmp_path / "r/dataset.json", facts)
    with figure_style():
        figure = plots.confusion(read_results(tmp_path / "r"), 4)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == facts["class_names"]
    assert figures(tmp_path / "r", tmp_path / "out", only=["confusion", "per_class"])


def test_every_figure_as_png_and_pdf(full):
    names = {*ALWAYS, *WITH_TWO_ARMS, "feature_space"}
    assert {path.name for path in (full / "figures").iterdir()} == {
        f"{name}.{kind}" for name in names for kind in ("png", "pdf")
    }
    for path in (full / "figures").glob("*.png"):
        assert_nothing_cut_off(path)


def test_label_efficiency_draws_the_means_and_breaks_at_gaps(tmp_path):
    folder = golden_results(tmp_path / "hand")
    rows = pd.read_csv(folder / "summary.csv")
    extra = rows[rows["n"] == 16].assign(n=64)
    pd.concat([rows, extra[extra["arm"] != "cross"]]).to_csv(folder / "summary.csv", index=False)
    with figure_style():
        figure = plots.label_efficiency(read_results(folder))
    axes = figure.axes[0]
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert list(lines["scratch"].get_xdata()) == [4, 16, 64]
    assert list(lines["scratch"].get_ydata()) == pytest.approx([22, 42, 42])
    assert list(lines["cross"].get_ydata()) == pytest.approx([33, 42, np.nan], nan_ok=True)
    assert axes.get_xscale() == "log"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["4", "16", "64"]
    assert axes.get_ylabel() == "validation mIoU (%)"
    band = axes.collections[0].get_paths()[0].vertices  # scratch at 4: 22 ± 2
    at_four = band[band[:, 0] == 4][:, 1]
    assert (at_four.min(), at_four.max()) == (pytest.approx(20), pytest.approx(24))


def test_a_single_label_count_is_a_dot_plot(tmp_path):
    folder = golden_results(tmp_path / "hand")
    rows = pd.read_csv(folder / "summary.csv")
    rows[rows["n"] == 4].to_csv(folder / "summary.csv", index=False)
    axes = plots.label_efficiency(read_results(folder)).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "scratch",
        "cross",
        "imagenet",
    ]
    assert axes.get_xlabel() == "validation mIoU (%), n = 4"


def test_confusion_rows_sum_to_one_and_equal_the_counts(full):
    results = read_results(full)
    matrix = plots.confusion_matrices(results, 4)["cross"]
    assert matrix.sum(axis=1) == pytest.approx(np.ones(len(CLASSES)))
    rows = pd.read_csv(full / "confusion.csv")
    rows = rows[(rows["arm"] == "cross") & (rows["n"] == 4) & (rows["truth"] == 2)]
    hit = rows[rows["predicted"] == 2]["pixels"].sum()
    assert matrix[2, 2] == pytest.approx(hit / rows["pixels"].sum())
    assert "imagenet" not in plots.confusion_matrices(results, 16)


def test_of_many_label_counts_three_are_shown():
    assert plots.shown_counts((4, 8, 16)) == [4, 8, 16]
    assert plots.shown_counts((1, 2, 4, 8, 16, 32)) == [1, 8, 32]


def test_training_curves_have_a_panel_per_stage_and_label_count(full):
    figure = plots.training_curves(read_results(full))
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == [f"{s}, n = {n}" for s in ("pretrain", "finetune") for n in (4, 16, 64)]
    scratch = next(line for line in figure.axes[3].get_lines() if line.get_label() == "scratch")
    assert scratch.get_xdata().max() == 395  # no pretraining: all 400 steps are fine-tuning


def test_feature_space_shows_both_methods_and_all_arms(full):
    figure = plots.feature_space(read_results(full))
    assert len(figure.axes) == 2 * 4
    assert [axes.get_title() for axes in figure.axes[:4]] == [
        "scratch", "within", "cross", "imagenet",
    ]  # fmt: skip
    pairs = {plots.class_style(c) for c in range(60)}
    assert len(pairs) == 60  # colour and marker together tell many classes apart


def test_many_arms_with_long_names_are_not_cut_off(tmp_path):
    folder = golden_results(tmp_path / "hand")
    rows = pd.read_csv(folder / "summary.csv")
    names = ("scratch_distorted", "within", "batch", "imagenet_within", "imagenet_cross_pseudo")
    more = [rows[rows["arm"] == "cross"].assign(arm=name) for name in names]
    pd.concat([rows, *more]).to_csv(folder / "summary.csv", index=False)
    figures(folder, tmp_path / "figures", only=("label_efficiency",))
    assert_nothing_cut_off(tmp_path / "figures/label_efficiency.png")


def test_arms_keep_their_look_in_every_experiment():
    arms = ("scratch", "within", "cross", "batch", "imagenet", "imagenet_cross", "mine", "theirs")
    styles = arm_styles(arms)
    assert len({(s.color, s.linestyle) for s in styles.values()}) == len(arms)
    for arm in arms:  # alone, or in another order among fewer
        assert arm_styles((arm,))[arm] == styles[arm]
    assert arm_styles(arms[::-2]) == {arm: styles[arm] for arm in arms[::-2]}
    lightness = {np.dot([int(s.color[i : i + 2], 16) for i in (1, 3, 5)], [0.3, 0.6, 0.1])
                 for s in styles.values()}  # fmt: skip
    assert max(lightness) < 200  # visible on paper


def test_arms_with_pseudo_labels_take_their_partners_look_but_for_the_line():
    styles = arm_styles(("cross", "cross_pseudo"))
    assert styles["cross_pseudo"].color == styles["cross"].color
    assert styles["cross_pseudo"].marker == styles["cross"].marker
    assert styles["cross_pseudo"].linestyle != styles["cross"].linestyle


def test_no_two_of_twenty_arms_share_both_colour_and_line():
    arms = [f"arm{number}" for number in range(20)]
    styles = arm_styles(arms)
    assert len({(s.color, s.linestyle) for s in styles.values()}) == len(arms)


def test_fonts_are_embedded_in_the_vector_files(full):
    assert SETTINGS["pdf.fonttype"] == 42
    data = (full / "figures/label_efficiency.pdf").read_bytes()
    assert b"/FontFile2" in data  # the TrueType program itself
    assert b"/Type3" not in data
    if shutil.which("pdftotext"):
        path = full / "figures/label_efficiency.pdf"
        text = subprocess.run(["pdftotext", path, "-"], capture_output=True, text=True).stdout
        assert "validation mIoU" in text


def test_same_csvs_same_bytes(full, tmp_path):
    with figure_style():
        save(plots.label_efficiency(read_results(full)), tmp_path / "label_efficiency")
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (full / "figures" / path.name).read_bytes(), path.name


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(
            {"arms": ("scratch",), "seeds": (0,), "label_counts": (16,)}, marks=pytest.mark.slow
        ),
        pytest.param(
            {"arms": ("cross",), "seeds": (0, 1), "label_counts": (4,)}, marks=pytest.mark.slow
        ),
        {
            "arms": ("scratch", "cross"),
            "absent": True,
            "skip": [("scratch", 4, 0), ("cross", 16, 0)],
            "seeds": (0,),
            "label_counts": (4, 16),
        },
    ],
    ids=["one run", "no scratch", "gaps and an absent class"],
)
def test_partial_results_still_give_every_figure_that_a_workflow_declares(tmp_path, settings):
    runs = paint_results(tmp_path, images=4, **settings)
    summary(runs, tmp_path / "fake")
    written = figures(tmp_path / "fake", tmp_path / "figures")
    assert {path.stem for path in written} == ALWAYS


def test_two_arms_that_have_run_give_what_compares_them(tmp_path):
    runs = paint_results(tmp_path / "two", ("cross", "imagenet"), (4,), (0,), images=4)
    summary(runs, tmp_path / "two/fake")
    written = figures(tmp_path / "two/fake", tmp_path / "two/figures", only=(*WITH_TWO_ARMS,))
    assert {path.stem for path in written} == WITH_TWO_ARMS


def test_what_cannot_be_drawn_is_left_out_and_named(tmp_path, caplog):
    runs = paint_results(tmp_path, ("scratch", "cross"), (4,), (0,), images=2)
    summary(runs, tmp_path / "fake")
    (tmp_path / "fake/dataset.json").unlink()
    names = ("qualitative", "largest_changes")
    assert figures(tmp_path / "fake", tmp_path / "figures", only=names) == []
    assert "no figure qualitative for fake: dataset.json or index.csv is not in" in caplog.text


def test_without_scratch_everything_is_compared_with_the_reference(tmp_path):
    runs = paint_results(tmp_path, ("cross", "imagenet", "within"), (4,), (0,), images=4)
    summary(runs, tmp_path / "fake")
    results = read_results(tmp_path / "fake")
    assert (results.reference, results.rival) == ("cross", "imagenet")
    titles = [axes.get_title() for axes in plots.confusion_difference(results, 4).axes]
    assert titles[:2] == ["imagenet − cross", "within − cross"]


LOOK = """
import sys
from pathlib import Path
from cseg.paper.figures import figures
figures(Path(sys.argv[1]), Path(sys.argv[2]), only=("label_efficiency",))
"""


def test_a_users_matplotlibrc_changes_nothing(full, tmp_path):
    rc = "text.usetex: True\nfont.size: 30\nfont.family: fantasy\naxes.facecolor: black\n"
    (tmp_path / "matplotlibrc").write_text(rc + "lines.linewidth: 9\nsavefig.bbox: tight\n")
    environment = {**os.environ, "MATPLOTLIBRC": str(tmp_path / "matplotlibrc")}
    command = [sys.executable, "-c", LOOK, str(full), str(tmp_path / "figures")]
    subprocess.run(command, check=True, env=environment)
    for path in (tmp_path / "figures").iterdir():
        assert path.read_bytes() == (full / "figures" / path.name).read_bytes(), path.name


def test_csvs_alone_keep_older_pictures(full, tmp_path, caplog):
    for path in full.glob("*.csv"):
        shutil.copy(path, tmp_path)
    (tmp_path / "index.csv").unlink()
    shutil.copytree(full / "figures", tmp_path / "figures")
    before = (tmp_path / "figures/qualitative.png").read_bytes()
    written = figures(tmp_path, tmp_path / "figures", only=("qualitative", "label_efficiency"))
    assert "qualitative" not in {path.stem for path in written}
    assert "label_efficiency" in {path.stem for path in written}
    assert (tmp_path / "figures/qualitative.png").read_bytes() == before
    assert re.search("no figure qualitative for fake", caplog.text)
