"""Tables: golden numbers worked out by hand, four formats, gaps, and what each file promises."""

import html.parser
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_results import paint_extras, paint_results
from golden import golden_results
from scipy import stats

from cseg.errors import DataError
from cseg.paper.markup import Section, Table, html_table, latex, latex_text, markdown
from cseg.paper.tables import CORE, tables
from cseg.stages.summary import summary

REPO = Path(__file__).parents[1]
PUBLISHED = REPO / "workflow/resources/published.csv"


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
    assert cross["diff_scratch"] == pytest.approx(0.11)
    t = 11 * 3**0.5
    assert cross["diff_scratch_p"] == pytest.approx(1 - t / (2 + t**2) ** 0.5, rel=1e-4)
    half = 0.01 * stats.t.ppf(0.975, 2) / 3**0.5
    assert cross["diff_scratch_low"] == pytest.approx(0.11 - half, rel=1e-4)
    assert cross["diff_scratch_high"] == pytest.approx(0.11 + half, rel=1e-4)
    none = cell(main, arm="cross", n=16)
    assert none["diff_scratch"] == pytest.approx(0, abs=1e-12)
    assert none["diff_scratch_p"] == pytest.approx(1)


def test_one_run_has_no_deviation_and_no_test_without_image_counts(golden):
    alone = cell(pd.read_csv(golden / "main.csv"), arm="imagenet", n=4)
    assert alone["runs"] == 1
    assert np.isnan(alone["miou_std"])
    assert alone["diff_scratch"] == pytest.approx(0.30)  # 50 - 20: seed 0 is all they share
    assert np.isnan(alone["diff_scratch_p"])


def test_printed_main_table(golden):
    text = (golden / "main.md").read_text()
    assert "| scratch | 22.0 ± 2.0 | 42.0 ± 2.0 |" in text
    assert "| cross | 33.0 ± 3.0 | 42.0 ± 1.0 |" in text
    assert "| imagenet | 50.0 (1 run) | 42.0 ± 2.0 |" in text
    assert r"| cross | +11.0\* | 0.0 |" in text
    assert r"| scratch | −30.0 | 0.0 |" in text
    assert "16 of 18 combinations" in text
    assert "n = 16 is the whole training set" in text
    assert "**" not in text  # nothing is significantly best: one run, then equal means


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
    text = (folder / "tables/label_saving.md").read_text()
    assert re.search(r"\| cross \| ≤ 4 \[≤ 4, ≤ 4\] \| 8 \[\d+, \d+\] \|", text)
    assert re.search(r"\| imagenet \| not reached \| not reached \|", text)


def test_per_class_by_hand(golden):
    rows = pd.read_csv(golden / "per_class.csv")
    sky = cell(rows, arm="cross", n=4, class_name="sky")
    assert (sky["iou_mean"], sky["iou_std"]) == (pytest.approx(0.43), pytest.approx(0.03))
    assert sky["diff_reference"] == pytest.approx(0.11)
    cat = cell(rows, arm="cross", n=4, class_name="cat")
    assert cat["runs"] == 0
    assert np.isnan(cat["iou_mean"])
    text = (golden / "per_class.md").read_text()
    assert "| cat | – | – | – |" in text
    assert "| sky | 32.0 ± 2.0 | 43.0 ± 3.0 | 60.0 |" in text


def test_cost_by_hand(golden):
    # seeds cost 1, 2 and 3 hours, at two label counts: 12 device-hours, mean 2 h
    row = cell(pd.read_csv(golden / "cost.csv"), arm="scratch", stage="finetune")
    assert row["runs"] == 6
    assert row["seconds_mean"] == 7200
    assert row["device_hours"] == pytest.approx(12)
    assert row["images_per_second"] == 20
    assert row["peak_memory_mib"] == 102


def test_the_abstracts_claim_is_tested(golden):
    row = pd.read_csv(golden / "published.csv").iloc[0]
    # 30 points of imagenet do not count: the claim is about pretraining without more data
    assert (row["arm"], row["n"]) == ("cross", 4)
    assert (row["ours"], row["verdict"]) == (pytest.approx(0.11), "not reached")


def test_published_values_stand_beside_ours(tmp_path):
    folder = golden_results(tmp_path / "hand")
    known = tmp_path / "published.csv"
    known.write_text(
        "dataset,arm,n,measure,value,source\n"
        "hand,cross,4,miou,35,a paper\n"
        "hand,cross,16,miou,60,a paper\n"
        "hand,batch,16,miou,60,a paper\n"
        "other,cross,4,miou,90,a paper\n"
        "any,,,largest_gain_above,10.5,an abstract\n"
    )
    tables(folder, folder / "tables", published=known)
    main = pd.read_csv(folder / "tables/main.csv")
    near, far = cell(main, arm="cross", n=4), cell(main, arm="cross", n=16)
    assert (near["published"], near["published_diff"]) == (0.35, pytest.approx(-0.02))
    assert near["published_within_std"] == "yes"  # 2 points off, spread 3
    assert far["published_within_std"] == "no"
    rows = pd.read_csv(folder / "tables/published.csv")
    assert list(rows["verdict"]) == ["within spread", "outside spread", "not run", "reached"]
    assert "35.0 (−2.0, within spread: yes)" in (folder / "tables/main.md").read_text()


def test_a_published_value_without_a_source_is_refused(tmp_path):
    folder = golden_results(tmp_path / "hand")
    known = tmp_path / "published.csv"
    known.write_text("dataset,arm,n,measure,value,source\nhand,cross,4,miou,35,\n")
    with pytest.raises(DataError, match="line 2 has no source"):
        tables(folder, folder / "tables", published=known)
    known.write_text("dataset,arm,n,measure,value,source\nhand,cross,4,dice,35,a paper\n")
    with pytest.raises(DataError, match="unknown measure 'dice'"):
        tables(folder, folder / "tables", published=known)
    assert not (folder / "tables").exists()


def test_a_winner_is_bold_only_where_the_test_says_so(full):
    main = pd.read_csv(full / "main.csv")
    text = (full / "main.md").read_text()
    winners = main[main["best"] == "best"]
    assert len(winners) == 3
    for row in winners.itertuples():
        bold = f"**{100 * row.miou_mean:.1f}" in text
        assert bold == (row.best_p < 0.05)
    stars = sum(line.count(r"\*") for line in text.splitlines() if line.startswith("|"))
    assert stars == sum((main[f"diff_{ref}_p"] < 0.05).sum() for ref in ("scratch", "imagenet"))


def test_every_table_in_four_formats(full):
    names = {*CORE, "semi_supervised", "ablations", "separability", "published"}
    assert {path.name for path in full.iterdir()} == {
        f"{name}.{kind}" for name in names for kind in ("csv", "md", "tex", "html")
    }


def test_pseudo_labels_are_set_beside_their_partner(full):
    row = cell(pd.read_csv(full / "semi_supervised.csv"), n=4)
    main = pd.read_csv(full / "main.csv")
    assert row["miou_with"] == cell(main, arm="cross_pseudo", n=4)["miou_mean"]
    assert row["miou_without"] == cell(main, arm="cross", n=4)["miou_mean"]
    assert (row["pseudo_miou"], row["pseudo_kept"]) == (0.5, 0.8)


def test_ablations_differ_from_the_first_setting(full):
    rows = pd.read_csv(full / "ablations.csv")
    assert rows[rows["setting"] == "within image"]["diff_first"].isna().all()
    main = pd.read_csv(full / "main.csv")
    difference = (
        cell(main, arm="cross", n=4)["miou_mean"] - cell(main, arm="within", n=4)["miou_mean"]
    )
    got = cell(rows, setting="across images", n=4)["diff_first"]
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
    assert {p.stem for p in written} == {*CORE, "published"}
    for path in written:
        text = path.read_text()
        assert text
        assert "nan" not in re.sub(r"nan[a-z]", "", text)


def test_one_seed_is_tested_over_images_and_the_caption_says_so(tmp_path):
    summary(paint_results(tmp_path, seeds=(3,)), tmp_path / "fake")
    tables(tmp_path / "fake", tmp_path / "tables")
    main = pd.read_csv(tmp_path / "tables/main.csv")
    assert set(main["diff_scratch_test"].dropna()) == {"paired bootstrap over validation images"}
    text = (tmp_path / "tables/main.md").read_text()
    assert "paired bootstrap over validation images (2000 resamples)" in text
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
    cells = [c.strip(" *") for line in lines if "---" not in line for c in line.split("|")[1:-1]]
    plain = [c.replace("\\*", "").strip("\\") for c in cells if c]
    assert [c.rstrip("*") for c in parser.cells] == plain
    assert parser.loads == []


def test_signs_are_escaped_in_every_format():
    section = Section("a_b", (("50% & more", "p < 0.05 | x"),), frozenset({(0, 0)}))
    table = Table("t", "caption_1 #2", ("arm", "±"), (section,))
    assert latex_text("50% & a_b ± #") == r"50\% \& a\_b $\pm$ \#"
    assert r"\textbf{50\% \& more} & p $<$ 0.05 | x \\" in latex([table])
    assert r"| **50% & more** | p < 0.05 \| x |" in markdown([table])
    assert "<b>50% &amp; more</b>" in html_table(table)
    assert "p &lt; 0.05 | x" in html_table(table)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles_with_booktabs(full, tmp_path):
    inputs = "\n".join(rf"\input{{{p}}}\clearpage" for p in sorted(full.glob("*.tex")))
    document = (
        "\\documentclass{article}\n\\usepackage[margin=2cm]{geometry}\n\\usepackage{booktabs}\n"
        f"\\begin{{document}}\n{inputs}\n\\end{{document}}\n"
    )
    (tmp_path / "paper.tex").write_text(document)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stdout[-3000:]
    assert (tmp_path / "paper.pdf").stat().st_size > 10_000
    wide = re.findall(r"Overfull \\hbox \(([\d.]+)pt too wide\)", run.stdout)
    assert [float(width) for width in wide if float(width) > 1] == []


def test_the_paper_floor_needs_no_torch():
    code = (
        "import sys, cseg.stages.summary, cseg.paper.render\n"
        "sys.exit(any(name.split('.')[0] in ('torch', 'torchvision') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


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
