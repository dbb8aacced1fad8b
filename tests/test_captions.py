"""Captions and wording say what the data say."""

from dataclasses import replace

from fake_results import paint_results
from golden import golden_results

from cseg.paper import wording
from cseg.paper.results import read_results
from cseg.paper.statistics import BOOTSTRAP, PAIRED_T, Comparison
from cseg.stages.summary import summary


def comparison(test, seeds):
    return Comparison(0.1, 0.02, 0.0, 0.2, 0.01, 0.05, test, seeds)


def test_only_tests_that_were_made_are_named():
    both = wording.tests_note([comparison(PAIRED_T, 3), comparison(BOOTSTRAP, 1)])
    assert PAIRED_T in both
    assert f"If two arms share fewer than 3 seeds: {BOOTSTRAP}" in both
    assert "after correction for 2 comparisons (Holm)" in both
    only = wording.tests_note([comparison(PAIRED_T, 3), comparison("", 1)])
    assert BOOTSTRAP not in only
    assert "Holm" not in only  # nothing to correct for
    assert "No test of significance could be made" in wording.tests_note([comparison("", 1)])


def test_runs_note_counts_the_gaps(tmp_path):
    note = wording.runs_note(read_results(golden_results(tmp_path)))
    assert "16 of 18 runs have ended" in note
    whole = paint_results(tmp_path, ("scratch",), (4,), (0,), images=1)
    summary(whole, tmp_path / "fake")
    assert wording.runs_note(read_results(tmp_path / "fake")) == "1 seed per cell."


def test_terms_name_citation_and_licence(tmp_path):
    summary(paint_results(tmp_path, ("scratch",), (4,), (0,), images=1), tmp_path / "fake")
    results = read_results(tmp_path / "fake")
    assert wording.terms_note(results) == (
        "Data: A. Painter, Fake Scenes, 2026. Licence: CC0 & more_than 100%."
    )


def test_numbers_are_written_one_way():
    assert wording.points(0.6125) == "61.3" or wording.points(0.6125) == "61.2"
    assert wording.with_std(0.5, 0.0123) == "50.0 ± 1.2"
    assert wording.with_std(0.5, float("nan")) == "50.0"
    assert wording.points(float("nan")) == "–"
    assert [wording.signed(v) for v in (0.031, -0.004, 0.0002, -0.0002)] == [
        "+3.1", "−0.4", "0.0", "0.0",
    ]  # fmt: skip
    each = Comparison(0.044, 0.01, -0.003, 0.069, 0.06, 0.05, PAIRED_T, 3)
    assert wording.interval(each) == "95 % interval −0.3 to 6.9"
    assert wording.bracketed(each) == "+4.4 [−0.3, 6.9]"
    assert wording.bracketed(replace(each, test="")) == "+4.4"
    assert wording.short_id("aachen_000000_000019_leftImg8bit") == "aachen_0…tImg8bit"
    assert wording.listing(["a", "b", "c"]) == "a, b and c"
    assert [wording.seconds(v) for v in (0.123456, 12.345, 1234.5)] == ["0.123", "12.3", "1234"]
