"""The page answers which start, how sure and what next first, and stands alone."""

import html
import re

import pandas as pd
import pytest
from browser import BROWSER, NO_BROWSER, open_page
from fake_results import paint_results
from golden import golden_results

from cseg.errors import DataError
from cseg.paper.best import best
from cseg.paper.cautions import cautions
from cseg.paper.figures import figures
from cseg.paper.page import summary_page
from cseg.paper.recommend import advice, certainty, more_labels, recommend, which
from cseg.paper.render import paper
from cseg.paper.results import read_results
from cseg.paper.tables import tables
from cseg.stages.summary import summary


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("page")
    runs = paint_results(root, ("cross", "imagenet"), (4, 16), (0, 1, 2), images=20)
    for run in runs:
        (run / "finetune.pt").write_bytes(b"weights")
    summary(runs, root / "fake")
    best(runs, root / "fake/dataset.json", root / "fake/best")
    tables(root / "fake", root / "fake/tables")
    figures(root / "fake", root / "fake/figures", only=("label_efficiency", "qualitative"))
    summary_page(root / "fake", root / "fake/summary.html", figures_dir=root / "fake/figures")
    return root / "fake"


@pytest.fixture(scope="module")
def text(folder):
    return (folder / "summary.html").read_text()


def plain(text):
    return html.unescape(re.sub(r"<[^>]+>", "", text))


def page_of(rows, folder):
    """Write `rows` as summary.csv into `folder`, and render the page of that folder."""
    rows.to_csv(folder / "summary.csv", index=False)
    return summary_page(folder, folder / "page.html", figures_dir=folder).read_text()


def test_the_first_three_lines_answer_which_how_sure_and_what_next(folder, text):
    body = plain(text.split("<h1>")[1])
    title, _, *lines = body.splitlines()
    assert title == "fake: which start to take"
    few, many = recommend(read_results(folder))
    assert lines[0] == "Which start? Take imagenet with 4 and 16 labels."
    assert lines[1].startswith("How sure? With 4: decided (")
    assert f"{100 * few.rivals[0][1].difference:.1f} points above cross, 95 % interval" in lines[1]
    assert "With 16: not decided (" in lines[1]
    first = "What next? Mind the warning below first: arms of unequal cost."
    assert lines[2].startswith(f"{first} With 16: {advice(many)[:1].lower() + advice(many)[1:]}")
    assert lines[2].endswith(more_labels(few))
    for each in (few, many):
        said = (which(each), f"{certainty(each)}.", advice(each), more_labels(each))
        assert f"With {each.n} labels: {' '.join(filter(None, said))}" in body


def test_warnings_are_on_the_page(folder, text):
    warnings = cautions(read_results(folder))
    assert [each.split(" at ")[0].split(":")[0] for each in warnings] == [
        "Arms of unequal cost",
    ]
    for warning in warnings:
        assert f"<li>{html.escape(warning)}</li>" in text


def test_the_network_to_use_is_linked_with_its_command(folder, text):
    assert '<a href="best/n4.pt">best/n4.pt</a>' in text
    assert f"cseg predict IMAGES --checkpoint {folder}/best/n16.pt --out masks" in plain(text)
    assert "the best of 3 seeds on the validation images" in text


def test_a_card_of_another_arm_is_not_linked(folder, tmp_path):
    rows = pd.read_csv(folder / "summary.csv")
    rows.loc[rows["arm"] == "cross", "miou"] += 0.5  # cross is best now, the cards are imagenet's
    (tmp_path / "best").symlink_to(folder / "best")
    assert "n4.pt" not in page_of(rows, tmp_path)


def test_it_stands_alone_with_curve_predictions_table_and_provenance(folder, text):
    assert re.findall(r"<h2>(.*?)</h2>", text) == [
        "By number of labels", "Before you trust the numbers", "Pictures", "All arms",
        "Setup and provenance",
    ]  # fmt: skip
    assert re.findall(r'(?:src|href)="([^,"]+)', text) == [
        "best/n4.pt", "best/n16.pt", *["data:image/png;base64"] * 2
    ]  # fmt: skip
    main = (folder / "tables/main.md").read_text()
    cross = re.search(r"\| cross +\| +([^|]+?) \|", main).group(1)
    assert cross in plain(text)
    assert "12e5" in text  # the revision, not a number
    assert "CC0 &amp; more_than 100%" in text


def test_the_spread_is_split_only_where_seeds_share_subsets(folder, tmp_path):
    # painted subsets carry their seed's name: nothing is shared
    assert "Spread of the seeds" not in (folder / "summary.html").read_text()
    rows = pd.read_csv(folder / "summary.csv", dtype={"subset_fingerprint": str})
    rows["subset_fingerprint"] = rows["seed"].map({0: "x", 1: "x", 2: "y"})
    page = page_of(rows, tmp_path)
    assert re.search(r"Spread of the seeds.*: \d+\.\d points from which images are labelled", page)


@pytest.mark.parametrize(
    ("steps", "said"), [([1200, 1200], "1,200 steps"), ([1200, 7200], "1,200 to 7,200 steps")]
)
def test_the_setup_says_equal_steps_once(folder, tmp_path, steps, said):
    rows = pd.read_csv(folder / "summary.csv")
    rows["total_steps"] = rows["arm"].map(dict(zip(("cross", "imagenet"), steps)))
    page = page_of(rows, tmp_path)
    assert f". {said}, both stages together." in page and page.count(" steps, both") == 1


PROBE = """<script>addEventListener("load", () => {
  const shown = [...document.images].map(i => `${i.naturalWidth > 0 && i.width > 100}`);
  const rows = [...document.querySelectorAll("table")].map(t => t.offsetHeight > 40);
  const first = document.querySelector(".answer").getBoundingClientRect().bottom < 600;
  document.body.innerHTML = `<p id="probe">images ${shown} tables ${rows} answer ${first}</p>`;
})</script>"""


@pytest.mark.skipif(BROWSER is None, reason=NO_BROWSER)
def test_a_browser_shows_answer_pictures_and_tables(text, tmp_path):
    page = tmp_path / "page.html"
    page.write_text(text.replace("</head>", PROBE + "</head>"))
    shown = open_page(page, tmp_path / "profile", "--dump-dom")
    assert "images true,true tables true,true answer true" in shown


def test_the_page_renders_without_pictures_seeds_or_dataset_json(tmp_path):
    folder = golden_results(tmp_path)
    rows = pd.read_csv(folder / "summary.csv")
    rows[(rows["arm"] == "cross") & (rows["n"] == 4) & (rows["seed"] == 0)].to_csv(
        folder / "summary.csv", index=False
    )
    page = summary_page(folder, tmp_path / "page.html", figures_dir=tmp_path / "none").read_text()
    assert "30.0" in page
    assert "<img" not in page
    assert "Not drawn: label efficiency and qualitative" in page
    assert "With 4: nothing to compare with." in page


def test_every_experiment_below_a_folder_is_rendered(tmp_path):
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
    for run in runs[2:]:
        (run / "finetune.pt").write_bytes(b"weights")
    paper(tmp_path, collect_runs=True)
    rows = pd.read_csv(folder / "summary.csv")
    assert list(rows["arm"]) == ["scratch"] * 4 + ["cross"] * 2
    assert str(runs[0]) in caplog.text and str(runs[1]) in caplog.text
    text = (folder / "tables/main.md").read_text()
    assert re.search(r"\| cross +\| +– \| +[*\d]", text)
    assert "6 of 8 runs have ended" in text and "6 of 8" in (folder / "summary.html").read_text()
    assert (folder / "figures/label_efficiency.pdf").is_file()
    assert (folder / "best/n16.pt").is_file()


def test_nothing_to_render_is_one_sentence(tmp_path):
    with pytest.raises(DataError, match=r"no summary\.csv in .* run the workflow first.*--collect"):
        paper(tmp_path)
