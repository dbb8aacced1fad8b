"""Tables: golden numbers worked out by hand, four formats, gaps, and what each file promises."""

import html.parser
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_results import paint_extras, paint_results
from golden import golden_results
from scipy import stats

from cseg.errors import DataError
from cseg.paper.markup import Table, html_table, latex, markdown, sections, strong
from cseg.paper.results import read_results
from cseg.paper.statistics import holm
from cseg.paper.tables import tables
from cseg.stages.summary import summary
from cseg.storage.tables import TEXTS, rounded

REPO = Path(__file__).parents[1]
PUBLISHED = REPO / "workflow/resources/published.csv"
ALWAYS = {"recommendation", "main", "per_class", "cost"}


@pytest.fixture(scope="module")
def golden(tmp_path_factory):
    folder = golden_results(tmp_path_factory.mktemp("golden") / "hand")
    tables(folder, folder / "tables", published=PUBLISHED)
    return folder / "tables"


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    root = tmp_path_factory.mktemp("full")
    arms = ("scratch", "within", "cross", "imagenet", "cross_pseudo")
    runs = paint_results(root, arms, skip=[("within", 16, 1), ("imagenet", 64, 0)])
    summary(runs, root / "fake")
    paint_extras(root / "fake")
    tables(root / "fake", root / "fake/tables", published=PUBLISHED)
    return root / "fake" / "tables"


def cell(frame, **key):
    for column, value in key.items():
        frame = frame[frame[column] == value]
    assert len(frame) == 1
    return frame.iloc[0]


def test_main_table_by_hand(golden):
    main = pd.read_csv(golden / "main.csv")
    assert len(main) == 6
    scratch, cross = cell(main, arm="scratch", n=4), cell(main, arm="cross", n=4)
    assert (scratch["runs"], scratch["miou_mean"], scratch["miou_std"]) == (3, 0.22, 0.02)
    assert (cross["miou_mean"], cross["miou_std"]) == (0.33, 0.03)
    assert (cross["reference"], cross["difference"]) == ("scratch", pytest.approx(0.11))
    # of the family of four only three can be tested: imagenet has one run at 4. The smallest p is
    # held against 0.05 / 3
    t = 11 * 3**0.5
    assert cross["p"] == pytest.approx(3 * (1 - t / (2 + t**2) ** 0.5), rel=1e-4)
    half = 0.01 * stats.t.ppf(1 - 0.05 / 3 / 2, 2) / 3**0.5
    assert cross["low"] == pytest.approx(0.11 - half, rel=1e-4)
    assert cross["high"] == pytest.approx(0.11 + half, rel=1e-4)
    none = cell(main, arm="cross", n=16)
    assert none["difference"] == pytest.approx(0, abs=1e-12)
    assert none["p"] == pytest.approx(1)
    # the best with all 16 labels has 42
    assert scratch["share_of_all_labels"] == pytest.approx(22 / 42, rel=1e-5)


def test_recommendation_table_by_hand(golden):
    rows = pd.read_csv(golden / "recommendation.csv")
    few = rows[rows["n"] == 4]
    assert list(few["arm"]) == ["imagenet"] * 2 and list(few["other"]) == ["cross", "scratch"]
    assert few["difference"].tolist() == pytest.approx([0.20, 0.30])  # seed 0 is all they share
    text = (golden / "recommendation.md").read_text()
    assert re.search(
        r"\| 4 +\| imagenet \| +50.0 \| cross +\| +\+20.0 \| imagenet, cross and scratch \|", text
    )


def test_one_run_has_no_deviation_and_no_test_without_image_counts(golden):
    alone = cell(pd.read_csv(golden / "main.csv"), arm="imagenet", n=4)
    assert alone["runs"] == 1
    assert np.isnan(alone["miou_std"])
    assert alone["difference"] == pytest.approx(0.30)  # 50 - 20: seed 0 is all they share
    assert np.isnan(alone["p"])


def printed(path):
    """The lines of a Markdown table without the padding of its cells."""
    return re.sub(r" *\| *", "|", path.read_text())


def test_printed_main_table(golden):
    text = printed(golden / "main.md")
    assert "|mIoU (%)|scratch|22.0 ± 2.0|42.0 ± 2.0|" in text
    assert "||cross|33.0 ± 3.0|42.0 ± 1.0|" in text
    assert "||imagenet|50.0 (1 run)|42.0 ± 2.0|" in text
    # 11 ± 4.42, since t(2) at 1 - 0.05 / 6 is 7.649 and s is 1
    assert "|above scratch (points)|cross|**+11.0 [6.6, 15.4]**|0.0 [" in text
    assert "||imagenet|+30.0|0.0 [0.0, 0.0]|" in text
    assert "16 of 18 runs have ended" in text
    assert "n = 16 is the whole training set" in text
    assert text.count("**") == 2  # nothing is significantly best: one run, then equal means


def test_label_saving_by_hand(golden):
    # cross goes from 33 at 4 to 42 at 16. scratch's 22 lies below its curve, its 42 at 16 on it.
    rows = pd.read_csv(golden / "label_saving.csv")
    low = cell(rows, arm="cross", reference_n=4)
    assert (low["status"], low["labels_needed"], low["factor"]) == ("at smallest n", 4, 1)
    full = cell(rows, arm="cross", reference_n=16)
    assert full["status"] == "reached"
    assert full["labels_needed"] == pytest.approx(16)
    assert full["factor"] == pytest.approx(1)
    assert full["labels_high"] == np.inf  # some draws of seeds never reach it
    # imagenet has one run at 4 labels, and there are no per-image counts
    assert list(rows["interval_over"].fillna("")) == ["seeds"] * 2 + [""] * 2


def test_label_saving_between_label_counts(tmp_path):
    folder = golden_results(tmp_path / "hand")
    rows = pd.read_csv(folder / "summary.csv")
    rows.loc[(rows["arm"] == "cross") & (rows["n"] == 16), "miou"] = 0.51
    rows.loc[(rows["arm"] == "imagenet") & (rows["n"] == 16), "miou"] = 0.10
    rows = rows[~((rows["arm"] == "imagenet") & (rows["n"] == 4))]
    rows.to_csv(folder / "summary.csv", index=False)
    tables(folder, folder / "tables")
    got = pd.read_csv(folder / "tables/label_saving.csv")
    row = cell(got, arm="cross", reference_n=16)
    # 42 is half way from 33 to 51: half way from 4 to 16 in log2 is 8 labels, a factor of 2
    assert (row["labels_needed"], row["factor"]) == (pytest.approx(8), pytest.approx(2))
    assert row["labels_low"] < 8 < row["labels_high"]
    assert cell(got, arm="imagenet", reference_n=16)["status"] == "not reached"
    text = printed(folder / "tables/label_saving.md")
    assert re.search(r"\|cross\|≤ 4 \[≤ 4, ≤ 4\]\|8 \[\d+, \d+\]\|", text)
    assert "|imagenet|not reached|not reached|" in text


def test_a_factor_at_the_smallest_label_count_is_a_lower_bound_whatever_its_digits(tmp_path):
    folder = golden_results(tmp_path / "hand")
    rows = pd.read_csv(folder / "summary.csv")
    rows["n"] = rows["n"].map({4: 13, 16: 15})  # 15 / (15 / 13) is a little more than 13
    rows.to_csv(folder / "summary.csv", index=False)
    tables(folder, folder / "tables")
    assert re.search(r"\|imagenet\|.*\|≥ × 1\.2", printed(folder / "tables/label_saving.md"))


def test_per_class_by_hand(golden):
    rows = pd.read_csv(golden / "per_class.csv")
    sky = cell(rows, arm="cross", n=4, class_name="sky")
    assert (sky["iou_mean"], sky["iou_std"]) == (pytest.approx(0.43), pytest.approx(0.03))
    assert sky["diff_reference"] == pytest.approx(0.11)
    cat = cell(rows, arm="cross", n=4, class_name="cat")
    assert cat["runs"] == 0
    assert np.isnan(cat["iou_mean"])
    text = printed(golden / "per_class.md")
    assert "|cat|–|–|–|" in text
    assert "|sky|32.0 ± 2.0|43.0 ± 3.0|60.0|" in text


def test_cost_by_hand(golden):
    # seeds cost 1, 2 and 3 hours, at two label counts: 12 device-hours, mean 2 h
    row = cell(pd.read_csv(golden / "cost.csv"), arm="scratch", stage="finetune")
    assert row["runs"] == 6
    assert row["seconds_mean"] == 7200
    assert row["device_hours"] == pytest.approx(12)
    assert row["images_per_second"] == 20
    assert row["peak_memory_mib"] == 102


def test_the_abstracts_claims_are_tested(golden, full):
    rows = pd.read_csv(golden / "published.csv").set_index("measure")
    gain = rows.loc["largest_gain_above"]
    # 30 points of imagenet do not count: the claim is about pretraining without more data
    assert (gain["arm"], gain["n"]) == ("cross", 4)
    assert (gain["ours"], gain["verdict"]) == (pytest.approx(0.11), "not reached")
    # cross 33 against 50, then 42 against 42: one of two label counts
    assert rows.loc["matches_imagenet", "ours"] == 0.5
    assert rows.loc["matches_imagenet", "verdict"] == "reached"
    assert rows.loc["separates_classes", "verdict"] == "not run"
    # painted features: ratio 1.5 of scratch, 3.75 of the others
    rows = pd.read_csv(full / "published.csv").set_index("measure")
    assert rows.loc["separates_classes", ["ours", "verdict"]].tolist() == [1, "reached"]


HEADER = "dataset,measure,method,n,value,arm,encoder,train_size,setting,source\n"


def test_published_values_stand_next_to_ours_only_in_the_same_setting(tmp_path):
    folder = golden_results(tmp_path / "hand")
    rows = pd.read_csv(folder / "summary.csv").assign(encoder="resnet50")
    rows.to_csv(folder / "summary.csv", index=False)
    known = tmp_path / "published.csv"
    known.write_text(
        HEADER + "hand,miou,near,4,35,cross,resnet50,16,,a paper\n"
        "hand,miou,far,16,60,cross,resnet50,16,,a paper\n"
        "hand,miou,unrun,16,60,batch,resnet50,16,,a paper\n"
        "hand,miou,larger net,4,60,cross,resnet101,16,,a paper\n"
        "hand,miou,more images,4,60,cross,resnet50,1464,,a paper\n"
        "hand,miou,no arm,4,60,,resnet50,16,,a paper\n"
        "other,miou,elsewhere,4,90,cross,resnet50,16,,a paper\n"
        "any,largest_gain_above,a claim,,10.5,,,,,an abstract\n"
    )
    tables(folder, folder / "tables", published=known)
    rows = pd.read_csv(folder / "tables/published.csv")
    assert rows["verdict"].tolist() == [
        "within spread",  # 2 points off, spread 3
        "outside spread",
        "not run",
        "other setting: our encoder is resnet50",
        "other setting: our training set has 16 images",
        "no arm of ours is trained like it",
        "reached",
    ]
    assert rows["ours"].notna().tolist() == [True, True, False, False, False, False, True]
    assert "|near|4|35.0|33.0 (cross)|within spread|" in printed(folder / "tables/published.md")


def test_the_published_rows_are_those_of_their_sources():
    rows = pd.read_csv(PUBLISHED)
    values = {
        (row.dataset, row.method.split(" (")[0], row.encoder, row.n): row.value
        for row in rows[rows["measure"] == "miou"].itertuples()
    }
    assert len(values) == len(rows) - 3  # three claims of the abstract
    assert values["voc2012", "supervised only", "resnet101", 92] == 45.1
    assert values["voc2012", "UniMatch", "resnet101", 1464] == 81.2
    assert values["voc2012", "UniMatch V2", "dinov2_base", 92] == 86.3
    assert values["cityscapes", "UniMatch, ResNet-50", "resnet50", 186] == 75.0
    assert values["cityscapes", "UniMatch V2", "dinov2_base", 1488] == 85.1
    assert rows.loc[rows["method"].str.startswith("UniMatch"), "arm"].isna().all()


def test_a_published_value_without_a_source_is_refused(tmp_path):
    folder = golden_results(tmp_path / "hand")
    known = tmp_path / "published.csv"
    known.write_text(HEADER + "hand,miou,a,4,35,cross,,,,\n")
    with pytest.raises(DataError, match="line 2 has no source"):
        tables(folder, folder / "tables", published=known)
    known.write_text(HEADER + "hand,dice,a,4,35,cross,,,,a paper\n")
    with pytest.raises(DataError, match="unknown measure 'dice'"):
        tables(folder, folder / "tables", published=known)
    assert not (folder / "tables").exists()


def test_bold_means_significant_after_correction(full):
    main, text = pd.read_csv(full / "main.csv"), (full / "main.md").read_text()
    results = read_results(full.parent)
    cells = [(arm, n) for arm in results.arms for n in results.label_counts if arm != "scratch"]
    made = holm([results.difference(cell, ("scratch", cell[1])) for cell in cells])
    significant = sum(each.significant for each in made)
    assert (main["p"] < 0.05).sum() == significant > 0
    untied = {n for n, rows in pd.read_csv(full / "recommendation.csv").groupby("n")
              if (rows["p"] < 0.05).all()}  # fmt: skip
    assert text.split("|")[0].count("**") == 0
    assert text.count("**") == 2 * (significant + len(untied))


def test_every_table_in_four_formats(full):
    names = ALWAYS | {
        "label_saving", "semi_supervised", "ablations", "separability", "published",
    }  # fmt: skip
    assert {path.name for path in full.iterdir()} == {
        f"{name}.{kind}" for name in names for kind in ("csv", "md", "tex", "html")
    }


def test_pseudo_labels_are_set_next_to_their_partner(full):
    rows = pd.read_csv(full / "semi_supervised.csv")
    with_them, without = cell(rows, arm="cross_pseudo", n=4), cell(rows, arm="cross", n=4)
    main = pd.read_csv(full / "main.csv")
    assert with_them["miou_mean"] == cell(main, arm="cross_pseudo", n=4)["miou_mean"]
    difference = with_them["miou_mean"] - without["miou_mean"]
    assert with_them["difference"] == pytest.approx(difference, abs=1e-5)
    assert np.isnan(without["difference"])
    text = printed(full / "semi_supervised.md")
    assert "|mIoU of the pseudo labels|50.0|50.0|50.0|" in text
    assert "|pixels that have one (%)|80.0|80.0|80.0|" in text


def test_ablations_differ_from_the_first_setting(full):
    rows = pd.read_csv(full / "ablations.csv")
    assert rows[rows["setting"] == "within image"]["difference"].isna().all()
    main = pd.read_csv(full / "main.csv")
    difference = (
        cell(main, arm="cross", n=4)["miou_mean"] - cell(main, arm="within", n=4)["miou_mean"]
    )
    got = cell(rows, setting="across images", n=4)["difference"]
    assert got == pytest.approx(difference, abs=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {"arms": ("scratch",), "seeds": (0,), "label_counts": (16,)},
        {"arms": ("cross",), "seeds": (0, 1)},
        {"arms": ("within", "cross"), "label_counts": (4,)},
        {"seeds": (3,)},
        {"absent": True, "label_counts": (4, 64), "seeds": (0, 1)},
        {"skip": [("scratch", n, s) for n in (4, 16, 64) for s in (0, 1, 2) if (n, s) != (16, 1)]},
        {"images": 1, "seeds": (0,), "label_counts": (4,)},
    ],
    ids=["one run", "no scratch", "no scratch, one n", "one seed", "absent class",
         "scratch once", "one image"],
)  # fmt: skip
def test_partial_results_still_give_every_core_table(tmp_path, settings):
    runs = paint_results(tmp_path, **settings)
    summary(runs, tmp_path / "fake")
    written = tables(tmp_path / "fake", tmp_path / "tables", published=PUBLISHED)
    compared = {"label_saving"} if len(settings.get("arms", "two")) > 1 else set()
    assert {p.stem for p in written} == {*ALWAYS, "published", *compared}
    for path in written:
        text = path.read_text()
        assert text
        assert "nan" not in re.sub(r"nan[a-z]", "", text)


@pytest.mark.parametrize("seeds", [(3,), (3, 4)])
def test_few_seeds_are_tested_over_images_and_the_caption_says_so(tmp_path, seeds):
    summary(paint_results(tmp_path, seeds=seeds), tmp_path / "fake")
    tables(tmp_path / "fake", tmp_path / "tables")
    main = pd.read_csv(tmp_path / "tables/main.csv")
    assert set(main["test"].dropna()) == {"paired bootstrap over validation images"}
    text = (tmp_path / "tables/main.md").read_text()
    assert "paired bootstrap over validation images (10000 resamples)" in text
    assert "t-test" not in text


def test_same_csvs_same_bytes(full, tmp_path):
    tables(full.parent, tmp_path, published=PUBLISHED)
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (full / path.name).read_bytes()


def test_missing_or_foreign_summary_is_one_sentence(tmp_path):
    with pytest.raises(DataError, match=r"summary\.csv is missing or has no rows"):
        tables(tmp_path, tmp_path / "tables")
    (tmp_path / "summary.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="lacks dataset, arm, n, seed, miou"):
        tables(tmp_path, tmp_path / "tables")


class Cells(html.parser.HTMLParser):
    """Collects the text of all cells and every address a page would load."""

    def __init__(self):
        super().__init__()
        self.cells, self.loads, self._inside = [], [], False

    def handle_starttag(self, tag, attrs):
        if tag in ("td", "th"):
            self.cells.append("")
            self._inside = True
        self.loads += [value for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._inside = False

    def handle_data(self, data):
        if self._inside:
            self.cells[-1] += data


def test_html_holds_the_same_cells_as_markdown_and_loads_nothing(full):
    parser = Cells()
    parser.feed((full / "main.html").read_text())
    lines = [line for line in (full / "main.md").read_text().splitlines() if line[:2] == "| "]
    cells = [c.strip(" *") for line in lines for c in line.split("|")[1:-1]]
    assert [c.strip() for c in parser.cells] == cells
    assert parser.loads == []


def test_signs_are_escaped_in_every_format():
    rows = ((strong("50% & more"), "p < 0.05 | x*"),)
    table = Table("t", "caption_1 #2 ± a", ("arm", "±"), rows)
    text = latex([table])
    assert r"\caption{caption\_1 \#2 $\pm$ a}" in text
    assert r"\textbf{50\% \& more} & p \ensuremath{<} 0.05 | x* \\" in text
    assert r"| **50% & more** | p < 0.05 \| x\* |" in markdown([table])
    assert "<b>50% &amp; more</b>" in html_table(table)
    assert "p &lt; 0.05 | x*" in html_table(table)


def test_names_that_are_markup_stay_names():
    caption, rows = "A caption.\nSecond\n  line & licence.", (("<b>x</b> < 2",),)
    table = Table("my data-n5%", caption, ("",), rows)
    assert r"\caption{A caption. Second line \& licence.}" in latex([table])
    assert r"\label{tab:my-data-n5-}" in latex([table])
    assert r"| \<b>x\</b> < 2" in markdown([table])


@pytest.mark.parametrize(("value", "text"), [
    (0.000012345, "0.000012"), (0.5, "0.5"), (12.7, "13"), (99.6, "100"), (124.6, "125"),
    (1e7, "10000000"), (0, "0"), (float("inf"), "inf"),
])  # fmt: skip
def test_a_number_is_rounded_but_never_written_as_a_power_of_ten(value, text):
    assert rounded(value, 2) == text


def test_factors_and_hours_above_a_hundred_are_whole_numbers(tmp_path):
    mious = {("scratch", 4): 0.20, ("scratch", 512): 0.50, ("cross", 4): 0.49, ("cross", 512): 0.7}
    key = {"dataset": "fake", "n_train": 512}
    rows = [{**key, "arm": arm, "n": n, "seed": seed, "miou": miou + 0.001 * seed}
            for (arm, n), miou in mious.items() for seed in range(3)]  # fmt: skip
    pd.DataFrame(rows).to_csv(tmp_path / "summary.csv", index=False)
    cost = {"stage": "finetune", "seconds": 150_000, "images_per_second": 1, "peak_memory_mib": 1,
            "device": "cpu"}  # fmt: skip
    pd.DataFrame([{**row, **cost} for row in rows]).to_csv(tmp_path / "cost.csv", index=False)
    tables(tmp_path, tmp_path / "tables")
    texts = [(tmp_path / f"tables/{name}.md").read_text() for name in ("label_saving", "cost")]
    assert "e+0" not in "".join(texts)
    assert "| × 102 [" in re.sub(r" +", " ", texts[0])  # 512 labels against 4 x 2 ^ (7 / 21)
    assert re.search(r"\b250\b", texts[1])  # six runs of 150,000 seconds


def test_parts_are_titled_in_their_first_row():
    rows = sections(("one", [("a", "1"), ("b", "2")]), ("two", [("a", "3")]))
    assert rows == (("one", "a", "1"), ("", "b", "2"), ("two", "a", "3"))
    table = latex([Table("l", "caption", ("", "arm", "x"), rows)])
    inside = table[table.index(r"\midrule") : table.index(r"\bottomrule")].split("\n")
    assert [line.split("&")[0].strip() for line in inside] == [
        r"\midrule", "one", "", r"\addlinespace", "two", "",
    ]  # fmt: skip


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles_with_booktabs(full, tmp_path):
    inputs = "\n".join(rf"\input{{{p}}}\clearpage" for p in sorted(full.glob("*.tex")))
    document = (
        "\\documentclass{article}\n\\usepackage[margin=2cm]{geometry}\n"
        "\\usepackage{array,booktabs}\n"
        f"\\begin{{document}}\n{inputs}\n\\end{{document}}\n"
    )
    (tmp_path / "paper.tex").write_text(document)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stdout[-3000:]
    assert (tmp_path / "paper.pdf").stat().st_size > 10_000
    wide = re.findall(r"Overfull \\hbox \(([\d.]+)pt too wide\)", run.stdout)
    assert [float(width) for width in wide if float(width) > 1] == []


def documented(readme, heading):
    """Columns in the first table below a heading of results/README.md."""
    part = readme.split(f"### `{heading}`\n")[1].split("\n#")[0]
    return re.findall(r"^\| `([^`]+)` \|", part, flags=re.MULTILINE)


def matches(column, pattern):
    regex = re.escape(pattern).replace(r"\{class\}", r"\d+").replace(r"\{ref\}", r"[a-z]+")
    return re.fullmatch(regex, column) is not None


def test_every_column_is_documented_and_every_documented_column_exists(full):
    readme = (REPO / "results/README.md").read_text()
    collected = ["summary", "per_class", "per_image", "confusion", "curves", "cost", "pseudo",
                 "features", "separability", "ablations"]  # fmt: skip
    files = {f"{name}.csv": full.parent / f"{name}.csv" for name in collected}
    files |= {f"tables/{path.name}": path for path in full.glob("*.csv")}
    for heading, path in files.items():
        columns = list(pd.read_csv(path, nrows=0).columns)
        patterns = documented(readme, heading)
        for column in columns:
            assert any(matches(column, p) for p in patterns), f"{heading}: {column}"
        if heading != "summary.csv":  # painted runs do not carry all provenance
            for pattern in patterns:
                assert any(matches(c, pattern) for c in columns), f"{heading}: {pattern}"


def test_every_column_that_is_not_of_numbers_is_read_as_text(full):
    found = set()
    for path in full.parent.glob("*.csv"):
        rows = pd.read_csv(path)
        found |= {name for name in rows if not pd.api.types.is_numeric_dtype(rows[name])}
    assert found - TEXTS - {"image", "label", "image_sha256", "label_sha256", "split"} == set()
    assert {"arm", "class_name", "setting", "method", "stage"} <= found
