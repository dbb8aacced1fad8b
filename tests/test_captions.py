"""Captions, wording, findings and the summary page say what the data say."""

import re

import pandas as pd
import pytest
from browser import BROWSER, NO_BROWSER, open_page
from fake_results import paint_results
from golden import golden_results

from cseg.errors import DataError
from cseg.paper import captions, wording
from cseg.paper.figures import figures
from cseg.paper.findings import findings
from cseg.paper.page import summary_page
from cseg.paper.render import paper
from cseg.paper.results import read_results
from cseg.paper.statistics import BOOTSTRAP, PAIRED_T, Comparison
from cseg.paper.tables import tables
from cseg.stages.summary import summary


def comparison(test, runs):
    return Comparison(0.1, 0.0, 0.2, 0.01, test, runs)


def test_only_tests_that_were_made_are_named():
    both = captions.tests_note([comparison(PAIRED_T, 3), comparison(BOOTSTRAP, 1)])
    assert PAIRED_T in both
    assert BOOTSTRAP in both
    assert "not corrected" in both
    only = captions.tests_note([comparison(PAIRED_T, 3), comparison("", 1)])
    assert BOOTSTRAP not in only
    assert "one degree of freedom" not in only
    assert "one degree of freedom" in captions.tests_note([comparison(PAIRED_T, 2)])
    assert captions.tests_note([comparison("", 1)]) == "No test of significance could be made."


def test_runs_note_counts_the_gaps(tmp_path):
    note = captions.runs_note(read_results(golden_results(tmp_path)))
    assert "16 of 18 combinations" in note
    whole = paint_results(tmp_path, ("scratch",), (4,), (0,), images=1)
    summary(whole, tmp_path / "fake")
    assert captions.runs_note(read_results(tmp_path / "fake")) == "1 seed per cell."


def test_terms_name_citation_and_licence(tmp_path):
    summary(paint_results(tmp_path, ("scratch",), (4,), (0,), images=1), tmp_path / "fake")
    results = read_results(tmp_path / "fake")
    assert captions.terms_note(results) == (
        "Data: A. Painter, Fake Scenes, 2026. Licence: CC0 & more_than 100%."
    )


def test_numbers_are_written_one_way():
    assert wording.points(0.6125) == "61.3" or wording.points(0.6125) == "61.2"
    assert wording.points_std(0.5, 0.0123) == "50.0 ± 1.2"
    assert wording.points_std(0.5, float("nan")) == "50.0"
    assert wording.points(float("nan")) == "–"
    assert [wording.signed(v) for v in (0.031, -0.004, 0.0002, -0.0002)] == [
        "+3.1", "−0.4", "0.0", "0.0",
    ]  # fmt: skip
    assert wording.p_value(0.0004) == "p < 0.001"
    assert wording.p_value(0.0123) == "p = 0.012"
    assert wording.listing(["a", "b", "c"]) == "a, b and c"
    assert [wording.seconds(v) for v in (0.123456, 12.345, 1234.5)] == ["0.123", "12.3", "1234"]


def verdicts(folder):
    found = findings(read_results(folder), "scratch", "imagenet")
    return {each.expectation: each for each in found}


def test_findings_of_the_hand_made_results(tmp_path):
    found = verdicts(golden_results(tmp_path))
    # 11 points with p = 0.0027 at n = 4; 0 points at n = 16
    few = found["contrastive pretraining beats scratch at n = 4"]
    assert few.verdict == "held"
    assert "+11.0 points (p = 0.003, paired t-test over seeds)" in few.evidence
    assert found["contrastive pretraining beats scratch at n = 16"].verdict == "did not hold"
    assert found["the gain is larger where labels are fewer"].verdict == "held"
    # 30 against 50 with one seed in common and no test: worse, but not shown to be
    few = found["it matches or outperforms imagenet pretraining at n = 4"]
    assert few.verdict == "open"
    assert "−20.0 points (no test)" in few.evidence
    assert found["it matches or outperforms imagenet pretraining at n = 16"].verdict == "held"
    claim = next(each for key, each in found.items() if key.startswith("more than 20 points"))
    assert claim.verdict == "did not hold"
    saves = found["fewer labels suffice for the mIoU of scratch at n = 16"]
    assert saves.verdict == "did not hold"  # cross needs all sixteen as well


def test_findings_turn_with_the_data(tmp_path):
    folder = golden_results(tmp_path)
    rows = pd.read_csv(folder / "summary.csv")
    rows.loc[(rows["arm"] == "cross") & (rows["n"] == 4), "miou"] += 0.5
    rows.to_csv(folder / "summary.csv", index=False)
    found = verdicts(folder)
    claim = next(each for key, each in found.items() if key.startswith("more than 20 points"))
    assert claim.verdict == "held"
    assert "+61.0 points (cross, n = 4)" in claim.evidence
    saves = found["fewer labels suffice for the mIoU of scratch at n = 16"]
    assert saves.verdict == "held"
    assert "at most 4 labels" in saves.evidence


def test_distortion_alone_is_held_against_the_method(tmp_path):
    folder = golden_results(tmp_path)
    rows = pd.read_csv(folder / "summary.csv")
    distorted = rows[rows["arm"] == "scratch"].assign(arm="scratch_distorted")
    distorted.loc[distorted["n"] == 4, "miou"] += 0.15
    pd.concat([rows, distorted]).to_csv(folder / "summary.csv", index=False)
    each = verdicts(folder)["the gain is more than colour distortion alone"]
    assert each.verdict == "did not hold"
    assert "n = 4: distortion alone +15.0, cross beyond it −4.0 points" in each.evidence


def test_the_page_stands_alone_and_holds_headline_verdicts_and_provenance(tmp_path):
    runs = paint_results(tmp_path, ("scratch", "cross"), (4, 16), (0, 1), images=4)
    summary(runs, tmp_path / "fake")
    tables(tmp_path / "fake", tmp_path / "fake/tables")
    figures(tmp_path / "fake", tmp_path / "fake/figures", only=("label_efficiency",))
    curve = tmp_path / "fake/figures/label_efficiency.png"
    page = summary_page(tmp_path / "fake", tmp_path / "fake/summary.html", curve_png=curve)
    text = page.read_text()
    assert list(re.findall(r"<h2>(.*?)</h2>", text)) == [
        "Setup", "Headline", "What held and what did not", "Provenance",
    ]  # fmt: skip
    assert re.findall(r'(?:src|href)="(.{0,22})', text) == ["data:image/png;base64,"]
    main = (tmp_path / "fake/tables/main.md").read_text()
    scratch = re.search(r"\| scratch \| ([^|]+) \|", main).group(1)
    assert f"<td>{scratch}</td>" in text
    assert "12e5" in text  # the revision, not a number
    assert "CC0 &amp; more_than 100%" in text


PROBE = """<script>addEventListener("load", () => {
  const shown = [...document.images].map(i => `${i.naturalWidth > 0 && i.width > 100}`);
  const rows = [...document.querySelectorAll("table")].map(t => t.offsetHeight > 40);
  document.body.innerHTML = `<p id="probe">images ${shown} tables ${rows}</p>`;
})</script>"""


@pytest.mark.skipif(BROWSER is None, reason=NO_BROWSER)
def test_a_browser_shows_the_curve_and_the_tables(tmp_path):
    folder = tmp_path / "fake"
    summary(paint_results(tmp_path, ("scratch", "cross"), (4, 16), (0, 1), images=2), folder)
    figures(folder, tmp_path, only=("label_efficiency",))
    page = summary_page(folder, tmp_path / "page.html", curve_png=tmp_path / "label_efficiency.png")
    page.write_text(page.read_text().replace("</head>", PROBE + "</head>"))
    shown = open_page(page, tmp_path / "profile", "--dump-dom")
    assert "images true tables true,true,true" in shown


def test_the_page_renders_without_curve_seeds_or_dataset_json(tmp_path):
    folder = golden_results(tmp_path)
    rows = pd.read_csv(folder / "summary.csv")
    rows[(rows["arm"] == "cross") & (rows["n"] == 4) & (rows["seed"] == 0)].to_csv(
        folder / "summary.csv", index=False
    )
    page = summary_page(folder, tmp_path / "page.html").read_text()
    assert "30.0" in page
    assert "<img" not in page


def test_every_dataset_below_a_folder_is_rendered(tmp_path):
    folder = golden_results(tmp_path / "results/hand")
    golden_results(tmp_path / "results/smoke/hand")
    written = paper(tmp_path / "results")
    assert {path.name for path in written} >= {"main.tex", "label_efficiency.pdf", "summary.html"}
    assert (tmp_path / "results/smoke/hand/summary.html").is_file()
    assert "<img" in (folder / "summary.html").read_text()


def test_runs_that_finished_are_gathered_and_the_others_are_gaps(tmp_path, caplog):
    runs = paint_results(tmp_path, ("cross", "scratch"), (4, 16), (0, 1), images=3)
    folder = tmp_path / "fake"
    for run in runs[:2]:  # both seeds of cross at n = 4
        (run / "metrics.csv").unlink()
    paper(tmp_path, collect_runs=True)
    rows = pd.read_csv(folder / "summary.csv")
    assert list(rows["arm"]) == ["scratch"] * 4 + ["cross"] * 2
    assert str(runs[0]) in caplog.text and str(runs[1]) in caplog.text
    text = (folder / "tables/main.md").read_text()
    assert re.search(r"\| cross \| – \| [*\d]", text)
    assert "6 of 8 combinations" in text and "6 of 8" in (folder / "summary.html").read_text()
    assert (folder / "figures/label_efficiency.pdf").is_file()


def test_nothing_to_render_is_one_sentence(tmp_path):
    with pytest.raises(DataError, match=r"no summary\.csv in .* run the workflow first.*--collect"):
        paper(tmp_path)
