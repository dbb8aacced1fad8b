"""Which start to take, how sure that is, what more labels buy: on results worked out by hand."""

import numpy as np
import pandas as pd
import pytest
from fake_results import paint_results
from golden import golden_results

from cseg.errors import DataError
from cseg.paper.recommend import advice, certainty, more_labels, recommend, which
from cseg.paper.results import read_results
from cseg.paper.table_means import class_tables
from cseg.stages.summary import summary
from cseg.storage.files import write_json


def results_of(folder, rows):
    """Results with these mIoUs: (arm, n) -> one value per seed."""
    folder.mkdir()
    table = [
        {"dataset": "hand", "arm": arm, "n": n, "seed": seed, "miou": miou, "n_train": 64}
        for (arm, n), mious in rows.items()
        for seed, miou in enumerate(mious)
    ]
    pd.DataFrame(table).to_csv(folder / "summary.csv", index=False)
    return read_results(folder)


def test_a_clear_lead_is_decided_and_said_with_its_interval(tmp_path):
    # differences 0.04, 0.05, 0.06: mean 5, s = 1, half width 4.303 / sqrt 3 = 2.48 points
    rows = {("cross", 16): (0.30, 0.31, 0.32), ("imagenet", 16): (0.34, 0.36, 0.38)}
    (got,) = recommend(results_of(tmp_path / "r", rows))
    assert which(got) == (
        "imagenet, 36.0 ± 2.0 mIoU; 5.0 above the next (cross), 95 % interval 2.5 to 7.5; 3 seeds."
    )
    assert (certainty(got), advice(got)) == ("Decided", "")
    assert more_labels(got) == ""
    assert got.tied == ()


def test_an_open_lead_names_the_arms_and_the_seeds_that_would_decide_it(tmp_path):
    # differences to cross 0, 4, 5: mean 3, s = 2.65: t(5) 2.571 x 2.65 / sqrt 6 = 2.78 < 3, while
    # t(4) 2.776 x 2.65 / sqrt 5 = 3.28 > 3: six seeds
    rows = {
        ("scratch", 16): (0.10, 0.10, 0.10),
        ("cross", 16): (0.34, 0.32, 0.33),
        ("imagenet", 16): (0.34, 0.36, 0.38),
    }
    (got,) = recommend(results_of(tmp_path / "r", rows))
    assert [arm for arm, _ in got.rivals] == ["cross", "scratch"]
    assert got.tied == ("cross",)  # scratch is far behind, and corrected for two comparisons
    assert certainty(got) == "Not decided between imagenet and cross"
    assert advice(got) == "6 seeds would decide it if differences and spread stay."


def marked(folder, rows, marks):
    """The results of `results_of`, with the subset of each seed named by `marks`."""
    results_of(folder, rows)
    table = pd.read_csv(folder / "summary.csv")
    table["subset_fingerprint"] = table["seed"].map(dict(enumerate(marks)))
    table.to_csv(folder / "summary.csv", index=False)
    return read_results(folder)


def test_subsets_are_asked_for_if_seeds_share_them(tmp_path):
    # differences 0, 4, 5 by subset as above, with one of the subsets trained twice
    rows = {("cross", 16): (0.34, 0.32, 0.32, 0.33), ("imagenet", 16): (0.34, 0.36, 0.36, 0.38)}
    (got,) = recommend(marked(tmp_path / "three", rows, "xyyz"))
    assert [by.seeds for _, by in got.rivals] == [3]
    assert advice(got) == (
        "6 seeds with different subsets would decide it if differences and spread stay."
    )
    (got,) = recommend(marked(tmp_path / "two", rows, "xyyy"))
    assert advice(got).startswith("Run at least 3 seeds with different subsets: 2 cannot tell")


def test_an_arm_that_lacks_runs_does_not_make_seeds_subsets(tmp_path):
    rows = {("cross", 16): (0.30, 0.31), ("imagenet", 16): (0.34, 0.35, 0.36)}
    (got,) = recommend(marked(tmp_path / "r", rows, "xyz"))
    assert advice(got).startswith("Run at least 3 seeds: 2 cannot tell")


def test_a_difference_too_small_for_seeds_is_called_so(tmp_path):
    rows = {("a", 16): (0.30, 0.34, 0.38), ("b", 16): (0.38, 0.34, 0.301)}
    (got,) = recommend(results_of(tmp_path / "r", rows))
    assert "Even 12 seeds would hardly decide it" in advice(got)
    assert "take the cheapest of these arms, or label more images" in advice(got)


def test_one_arm_has_nothing_to_be_compared_with(tmp_path):
    (got,) = recommend(results_of(tmp_path / "r", {("cross", 16): (0.3, 0.4)}))
    assert which(got).endswith("no other arm has run with 16 labels; 2 seeds.")
    assert (certainty(got), advice(got)) == ("Nothing to compare with", "Run a second arm.")


def test_more_labels_are_priced_with_the_recommended_arm(tmp_path):
    # gains 0.20, 0.21, 0.22 from 16 to 64, two doublings; mean 21, half width 2.48
    rows = {
        ("cross", 16): (0.30, 0.31, 0.32), ("cross", 64): (0.50, 0.52, 0.54),
        ("scratch", 16): (0.20, 0.21, 0.22), ("scratch", 64): (0.30, 0.32, 0.36),
    }  # fmt: skip
    few, many = recommend(results_of(tmp_path / "r", rows))
    assert more_labels(few) == (
        "64 labels instead of 16 buy +21.0 points of mIoU with cross, 95 % interval 18.5 to 23.5; "
        "+10.5 for each doubling."
    )
    # all 64 labels have run: 31 of 52
    assert (few.share, many.share) == (pytest.approx(31 / 52), 1)
    assert "31.0 ± 1.0 mIoU (60 % of the best score with all labels)" in which(few)
    assert "all labels" not in which(many)


def test_two_seeds_ask_for_a_third(tmp_path):
    rows = {("cross", 16): (0.30, 0.31), ("imagenet", 16): (0.34, 0.35)}
    (got,) = recommend(results_of(tmp_path / "r", rows))
    assert certainty(got) == "Not decided between imagenet and cross"
    assert advice(got) == "Run at least 3 seeds: 2 cannot tell how another training would end."


def test_few_seeds_are_held_against_the_images_and_say_what_that_leaves_open(tmp_path):
    summary(paint_results(tmp_path, ("scratch", "imagenet"), (4,), (0, 1)), tmp_path / "fake")
    (got,) = recommend(read_results(tmp_path / "fake"))
    assert (got.arm, got.tied) == ("imagenet", ())
    assert certainty(got) == "Ahead on the images, not shown for other seeds"
    assert advice(got).startswith("Run at least 3 seeds")


def test_of_many_tied_arms_four_are_named(tmp_path):
    rows = {(f"arm{k}", 16): (0.3 + k / 1000, 0.4 - k / 1000, 0.35) for k in range(6)}
    (got,) = recommend(results_of(tmp_path / "r", rows))
    assert certainty(got).endswith(" and 2 more")


def test_gaps_leave_an_arm_out_of_a_label_count(tmp_path):
    rows = {("cross", 16): (0.3, 0.4, 0.5), ("imagenet", 64): (0.3, 0.4, 0.5)}
    few, many = recommend(results_of(tmp_path / "r", rows))
    assert (few.arm, few.rivals, few.next_n) == ("cross", (), None)
    assert (many.arm, many.rivals) == ("imagenet", ())


def test_the_reference_is_what_the_experiment_says_else_scratch_else_the_first_arm(tmp_path):
    folder = golden_results(tmp_path / "hand")
    assert read_results(folder).reference == "scratch"
    write_json(folder / "experiment.json", {"name": "hand", "reference_arm": "imagenet"})
    assert read_results(folder).reference == "imagenet"
    write_json(folder / "experiment.json", {"name": "hand", "reference_arm": "absent"})
    assert read_results(folder).reference == "scratch"
    rows = pd.read_csv(folder / "summary.csv")
    rows[rows["arm"] != "scratch"].to_csv(folder / "summary.csv", index=False)
    assert read_results(folder).reference == "cross"
    assert read_results(folder).rival == "imagenet"
    rows["arm"] = rows["arm"].replace("scratch", "scratch_distorted")
    rows.sort_values("arm").to_csv(folder / "summary.csv", index=False)  # cross comes first
    assert read_results(folder).reference == "scratch_distorted"


def test_seeds_that_share_a_subset_are_averaged_before_they_are_tested(tmp_path):
    folder = tmp_path / "r"
    results_of(folder, {("a", 16): (0.1, 0.2, 0.3, 0.5), ("b", 16): (0.1, 0.1, 0.1, 0.1)})
    rows = pd.read_csv(folder / "summary.csv")
    rows["subset_fingerprint"] = rows["seed"].map({0: "x", 1: "x", 2: "y", 3: "z"})
    rows.to_csv(folder / "summary.csv", index=False)
    got = read_results(folder).difference(("a", 16), ("b", 16))
    assert got.values_S == pytest.approx([0.05, 0.2, 0.4])
    # all seeds on one published list: the initial weights are what varies
    rows.assign(subset_fingerprint="x").to_csv(folder / "summary.csv", index=False)
    got = read_results(folder).difference(("a", 16), ("b", 16))
    assert got.values_S == pytest.approx([0.0, 0.1, 0.2, 0.4])
    # with all labels every seed has the same images, whatever their fingerprint
    rows.assign(n_train=16).to_csv(folder / "summary.csv", index=False)
    assert len(read_results(folder).by_subset(16, [0, 1, 2, 3])) == 1


def test_arms_are_ranked_by_the_seeds_they_share(tmp_path):
    # cross has three easy seeds more: its mean is higher, and it is worse in each shared seed
    rows = {
        ("scratch", 8): (0.40, 0.41, 0.42),
        ("cross", 8): (0.370, 0.379, 0.391, 0.60, 0.61, 0.62),
    }
    results = results_of(tmp_path / "r", rows)
    (got,) = recommend(results)
    assert results.ranked(8) == ["scratch", "cross"]
    assert (got.arm, certainty(got)) == ("scratch", "Decided")
    assert got.rivals[0][1].difference == pytest.approx(0.03)


def test_arms_without_a_seed_in_common_are_ranked_by_their_means_and_nothing_is_decided(tmp_path):
    folder = tmp_path / "r"
    results_of(folder, {("cross", 8): (0.4, 0.4, 0.4), ("scratch", 8): (0.3, 0.3, 0.3)})
    rows = pd.read_csv(folder / "summary.csv")
    rows.loc[rows["arm"] == "scratch", "seed"] += 3
    rows.to_csv(folder / "summary.csv", index=False)
    (got,) = recommend(read_results(folder))
    assert (got.arm, got.tied) == ("cross", ("scratch",))


def test_an_arm_that_is_beaten_is_never_called_decided(tmp_path):
    # three arms that beat each other in a circle, each pair on the seeds that both have
    folder = tmp_path / "r"
    mious = {
        "a": {0: 0.5, 1: 0.51, 2: 0.52, 6: 0.4, 7: 0.41, 8: 0.42},
        "b": {0: 0.4, 1: 0.41, 2: 0.42, 3: 0.5, 4: 0.51, 5: 0.52},
        "c": {3: 0.4, 4: 0.41, 5: 0.42, 6: 0.5, 7: 0.51, 8: 0.52},
    }
    folder.mkdir()
    pd.DataFrame([
        {"dataset": "hand", "arm": arm, "n": 8, "seed": seed, "miou": miou}
        for arm, seeds in mious.items() for seed, miou in seeds.items()
    ]).to_csv(folder / "summary.csv", index=False)  # fmt: skip
    (got,) = recommend(read_results(folder))
    (beating, behind), (_, ahead) = sorted(got.rivals, key=lambda each: each[1].difference)
    assert ahead.above and behind.significant and not behind.above
    assert got.tied == (beating,) and not got.decided


def test_leads_of_all_label_counts_are_corrected_together(tmp_path):
    # three label counts, one comparison each: p of 3, 5, 6.5 points is 0.041, and thrice that open
    base = {8: 0.4, 16: 0.5, 64: 0.6}
    leads = {8: (0.03, 0.05, 0.065), 16: (0.028, 0.05, 0.062), 64: (0.025, 0.035, 0.05)}
    rows = {("scratch", n): (value,) * 3 for n, value in base.items()}
    rows |= {("cross", n): tuple(base[n] + lead for lead in leads[n]) for n in base}
    for got in recommend(results_of(tmp_path / "all", rows)):
        assert got.arm == "cross" and got.rivals[0][1].p > 0.1
        assert certainty(got) == "Not decided between cross and scratch"
    (got,) = recommend(results_of(
        tmp_path / "one", {cell: mious for cell, mious in rows.items() if cell[1] == 8}
    ))  # fmt: skip
    assert got.rivals[0][1].p == pytest.approx(0.0413, abs=1e-3) and certainty(got) == "Decided"


def test_resampled_images_are_averaged_within_a_draw_as_the_differences_are(tmp_path):
    runs = paint_results(tmp_path, ("scratch", "cross"), (8,), (0, 1, 2, 3))
    summary(runs, tmp_path / "fake")
    (tmp_path / "fake/checksums.json").unlink()
    path = tmp_path / "fake/summary.csv"
    rows = pd.read_csv(path)
    rows["subset_fingerprint"] = rows["seed"].map(dict(enumerate("xxxy")))
    rows.to_csv(path, index=False)
    results = read_results(tmp_path / "fake")
    got = results.difference(("cross", 8), ("scratch", 8))
    assert len(got.values_S) == 2
    boots = [results.bootstraps["cross", 8][s] - results.bootstraps["scratch", 8][s]
             for s in range(4)]  # fmt: skip
    assert got.resampled_B == pytest.approx(sum(boots[:3]) / 6 + boots[3] / 2)


def test_too_few_images_are_not_resampled(tmp_path):
    for images, tested in ((9, ""), (10, "paired bootstrap over validation images")):
        root = tmp_path / str(images)
        summary(paint_results(root, ("scratch", "cross"), (8,), (0, 1), images=images),
                root / "fake")  # fmt: skip
        (got,) = recommend(read_results(root / "fake"))
        assert got.rivals[0][1].test == tested
        assert got.decided == bool(tested)


def test_images_without_a_true_pixel_are_no_images(tmp_path):
    summary(paint_results(tmp_path, ("scratch", "cross"), (8,), (0, 1)), tmp_path / "fake")
    (tmp_path / "fake/checksums.json").unlink()
    path = tmp_path / "fake/per_image.csv"
    rows = pd.read_csv(path, dtype={"id": str})
    empty = rows["id"].isin(["000000", "000001", "000002"])  # 9 of 12 are left
    rows.loc[empty, [name for name in rows if "_" in name]] = 0
    rows.to_csv(path, index=False)
    assert read_results(tmp_path / "fake").bootstraps == {}


@pytest.mark.parametrize("mark", ["index_fingerprint", "subset_fingerprint"])
def test_runs_that_had_different_images_are_refused(tmp_path, mark):
    folder = tmp_path / "r"
    results_of(folder, {("scratch", 8): (0.40, 0.41), ("cross", 8): (0.50, 0.51)})
    rows = pd.read_csv(folder / "summary.csv")
    rows[mark] = rows["arm"].map({"scratch": "aa", "cross": "bb"})
    rows.to_csv(folder / "summary.csv", index=False)
    with pytest.raises(DataError, match=f"{mark} differs .*(scratch aa, cross bb|cross bb, scra)"):
        read_results(folder)
    rows.assign(**{mark: "aa"}).to_csv(folder / "summary.csv", index=False)
    assert read_results(folder).arms == ("scratch", "cross")


@pytest.mark.parametrize("names", [["None", "nan", "NA", "null"], ["0", "1", "2", "10"],
                                   ["true", "false", "True", "1e3"]])  # fmt: skip
def test_a_class_may_have_any_name(tmp_path, names):
    folder = tmp_path / "r"
    results_of(folder, {("scratch", 8): (0.40,)})
    pd.DataFrame({
        "dataset": "hand", "arm": "scratch", "n": 8, "seed": 0, "class_id": range(4),
        "class_name": names, "iou": [0.1, 0.2, 0.3, np.nan], "pixels": [9, 9, 9, 0],
    }).to_csv(folder / "per_class.csv", index=False)  # fmt: skip
    results = read_results(folder)
    assert list(results.tables["per_class"]["class_name"]) == names
    _, (table,) = class_tables(results)
    assert table.rows == tuple(zip(names, ["10.0", "20.0", "30.0", "–"], strict=True))


def test_an_arm_may_have_any_name(tmp_path):
    rows = {("nan", 8): (0.40, 0.41), ("true", 8): (0.50, 0.51), ("e1", 8): (0.3, 0.3)}
    assert results_of(tmp_path / "r", rows).arms == ("nan", "true", "e1")
