"""Statistics against values worked out by hand, scipy's own routines and brute force."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cseg.paper import statistics
from cseg.paper.statistics import (
    ALPHA,
    BOOTSTRAP,
    PAIRED_T,
    Difference,
    holm,
    seeds_needed,
    split_spread,
)


def test_mean_and_sample_deviation_by_hand():
    # 2, 4, 9: mean 5, squares 9 + 1 + 16 = 26, over n - 1 = 2: 13
    assert statistics.mean_std([2, 4, 9]) == (5.0, pytest.approx(13**0.5))
    assert statistics.mean_std([2, np.nan, 4]) == (3.0, pytest.approx(2**0.5))


def test_one_value_has_no_deviation_and_none_has_no_mean():
    mean, std = statistics.mean_std([0.5])
    assert mean == 0.5
    assert np.isnan(std)
    assert np.isnan(statistics.mean_std([])).all()
    assert np.isnan(statistics.mean_std([np.nan])).all()


def test_miou_counts_only_classes_that_the_truth_holds():
    # class 0: 3 / (4 + 3 - 3), class 1: 1 / (1 + 2 - 1), class 2: predicted, never true
    value = statistics.miou(np.array([3, 1, 0]), np.array([4, 1, 0]), np.array([3, 2, 5]))
    assert value == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert np.isnan(statistics.miou(np.zeros(3), np.zeros(3), np.ones(3)))


def difference(*values, resampled=()):
    return Difference(np.array(values, float), np.array(resampled, float))


def alone(*values, resampled=()):
    return holm([difference(*values, resampled=resampled)])[0]


def test_paired_t_of_three_seeds_by_hand():
    # differences 1, 2, 3: mean 2, s = 1, t = 2 / (1 / sqrt 3) = 2 sqrt 3, two degrees of freedom;
    # for those the distribution function is known: p = 1 - t / sqrt(2 + t^2)
    got = alone(1, 2, 3)
    t = 2 * 3**0.5
    assert (got.test, got.seeds, got.spread) == (PAIRED_T, 3, 1.0)
    assert got.difference == pytest.approx(2.0)
    assert got.p == pytest.approx(1 - t / (2 + t**2) ** 0.5)
    half = stats.t.ppf(0.975, 2) / 3**0.5
    assert (got.low, got.high) == (pytest.approx(2 - half), pytest.approx(2 + half))


@settings(deadline=None)
@given(st.lists(st.tuples(*[st.floats(0, 1)] * 2), min_size=3, max_size=6))
def test_paired_t_agrees_with_scipy(pairs):
    a, b = np.array(pairs).T
    if np.ptp(a - b) < 1e-6:
        return
    assert alone(*(a - b)).p == pytest.approx(stats.ttest_rel(a, b).pvalue, rel=1e-9)


def test_equal_differences_are_certain_and_no_difference_is_none():
    same = alone(0, 0, 0)
    assert (same.difference, same.p, same.significant) == (0.0, 1.0, False)
    shifted = alone(0.25, 0.25, 0.25)
    assert (shifted.difference, shifted.p, shifted.significant) == (0.25, 0.0, True)


def test_two_seeds_are_never_tested_over_seeds():
    # one degree of freedom finds only very regular differences, such as these
    got = alone(0.100, 0.101)
    assert (got.test, got.significant) == ("", False)
    assert got.difference == pytest.approx(0.1005)
    assert np.isnan([got.p, got.low, got.high]).all()
    over_images = alone(0.100, 0.101, resampled=np.linspace(0.05, 0.15, 999))
    assert (over_images.test, over_images.significant) == (BOOTSTRAP, True)


def test_no_seed_in_common_is_no_difference():
    got = alone()
    assert (got.seeds, got.test, got.significant) == (0, "", False)
    assert np.isnan(got.difference)


def test_bootstrap_p_and_interval_by_hand():
    # of 999 resamples 9 are at or below 0: p = 2 (9 + 1) / 1000; the 25th from either end
    resampled = np.arange(-8.0, 991.0)
    got = alone(0.5, resampled=resampled)
    assert got.p == pytest.approx(0.02)
    assert (got.low, got.high) == (resampled[23], resampled[-24])
    assert alone(0.5, resampled=np.ones(999)).p == pytest.approx(0.002)  # the finest answer


def test_holm_by_hand():
    # p = 0.01, 0.02, 0.03 with 3 comparisons: 0.03, 0.04, and 0.03 raised to 0.04
    resamples = 9999

    def with_p(p):
        below = round(p * (resamples + 1) / 2) - 1
        return difference(0.1, resampled=np.r_[np.full(below, -1.0), np.ones(resamples - below)])

    got = holm([with_p(0.03), with_p(0.01), with_p(0.02)])
    assert [each.p for each in got] == pytest.approx([0.04, 0.03, 0.04])
    assert [each.level for each in got] == pytest.approx([0.05, 0.05 / 3, 0.025])
    # the second fails 0.04 > 0.025, so that the third is not significant either
    got = holm([with_p(0.01), with_p(0.04), with_p(0.045)])
    assert [each.p for each in got] == pytest.approx([0.03, 0.08, 0.08])
    assert [each.significant for each in got] == [True, False, False]
    assert [each.level for each in got] == pytest.approx([0.05 / 3, 0.025, 0.025])


def closed_testing(p):
    """Holm's p values by the closure of Bonferroni's test: the largest of all sets that hold i."""
    indices = range(len(p))
    sets = [s for size in indices for s in itertools.combinations(indices, size + 1)]
    return [max(min(1.0, len(s) * min(p[j] for j in s)) for s in sets if i in s) for i in indices]


@settings(deadline=None)  # no matter how busy the machine is
@given(
    st.lists(
        st.lists(st.integers(-50, 150), min_size=3, max_size=3, unique=True), min_size=1, max_size=5
    )
)
def test_holm_equals_closed_testing_and_intervals_agree_with_it(values):
    made = [difference(*(v / 100 for v in seeds)) for seeds in values]
    got = holm(made)
    expected = closed_testing([stats.ttest_1samp(each.values_S, 0).pvalue for each in made])
    assert [each.p for each in got] == pytest.approx(expected)
    for each in got:
        assert each.significant == (each.low > 0 or each.high < 0)
        assert each.level <= ALPHA


def test_comparisons_without_a_test_are_no_part_of_the_family():
    tested, without = difference(1, 2, 4), difference(1.0)
    assert holm([without, tested])[1].p == holm([tested])[0].p
    assert np.isnan(holm([without, tested])[0].p)


def test_seeds_needed_is_the_least_number_that_decides():
    each = alone(0.00, 0.04, 0.05)  # mean 0.03, s = 0.0265: p = 0.19
    assert not each.significant
    seeds = seeds_needed(each, 20)
    for count, decided in ((seeds - 1, False), (seeds, True)):
        t = each.difference / (each.spread / count**0.5)
        assert (2 * stats.t.sf(t, count - 1) < 0.05) == decided
    assert seeds_needed(alone(-0.2, 0.1, 0.11), 20) is None


def test_spread_is_split_as_in_a_variance_table_by_hand():
    # two subsets with two runs each: (1, 3) and (5, 7). Within: 4 squares of 1, 2 degrees: 2.
    # Between: 2 (2 - 4)^2 + 2 (6 - 4)^2 = 16, one degree; (16 - 2) / 2 = 7 of the subset.
    subset, weights = split_spread([[[1, 3], [5, 7]]])
    assert (subset, weights) == (pytest.approx(7**0.5), pytest.approx(2**0.5))
    # subsets that differ less than their own runs do: no spread of the subset
    assert split_spread([[[1, 3], [1, 3]]])[0] == 0
    # one run for each subset, or one subset, cannot tell them apart
    assert np.isnan(split_spread([[[1], [3]]])).all()
    assert np.isnan(split_spread([[[1, 3]]])).all()
    # a cell in which only one of them varies says nothing about the other's
    assert split_spread([[[1, 3], [5, 7]], [[0, 90]], [[0], [90]], []]) == (subset, weights)
    assert np.isnan(split_spread([[[0, 90]], [[0], [90]]])).all()


@given(st.integers(2, 4), st.integers(2, 4), st.data())
def test_split_spread_is_that_of_all_pairs_of_runs(subsets, runs, data):
    """Half the mean squared difference of two runs is their variance: in a subset, and across."""
    mious = st.lists(st.floats(0, 1), min_size=runs, max_size=runs)
    cells = data.draw(st.lists(st.lists(mious, min_size=subsets, max_size=subsets), min_size=1))
    within, across = [], []
    for cell in cells:
        named = [(s, miou) for s, values in enumerate(cell) for miou in values]
        for (s, one), (other, two) in itertools.combinations(named, 2):
            (within if s == other else across).append((one - two) ** 2 / 2)
    variance = sum(within) / len(within)
    subset = max(0.0, sum(across) / len(across) - variance)
    assert np.square(split_spread(cells)) == pytest.approx([subset, variance], abs=1e-9)


def test_split_spread_finds_what_was_planted():
    generator = np.random.default_rng(0)
    cells = [
        [generator.normal(0.5 + generator.normal(0, 0.04), 0.02, 1 + k % 3) for k in range(30)]
        for _ in range(20)
    ]
    subset, weights = split_spread(cells)
    assert subset == pytest.approx(0.04, rel=0.1)
    assert weights == pytest.approx(0.02, rel=0.1)


def test_few_seeds_are_compared_by_resampling_images():
    images = 40
    truth = np.tile([10, 10], (images, 1))
    generator = np.random.default_rng(0)
    weights = statistics.resample_weights(images, 500)

    def boot(hit):
        hits = np.stack([hit, hit], axis=1)
        predicted = hits + (10 - hits)[:, ::-1]
        return statistics.miou(*(weights @ np.stack([hits, truth, predicted])))

    base = generator.integers(2, 8, images)
    better = alone(0.1, resampled=boot(base + 2) - boot(base))
    assert better.p == pytest.approx(2 / 501)  # never zero: one in B + 1 is the finest answer
    assert 0 < better.low < better.high
    noise = alone(0.0, resampled=boot(base) - boot(generator.permutation(base)))
    assert noise.p > 0.05
    assert noise.low < 0 < noise.high


def test_bootstrap_of_the_unchanged_set_is_the_miou_itself():
    hits, truth, predicted = [[3, 1], [0, 2]], [[4, 1], [2, 3]], [[3, 2], [1, 4]]
    counts = np.array([hits, truth, predicted])
    got = statistics.miou(*(np.array([[1.0, 1.0], [2, 0]]) @ counts))
    # by hand: class 0: 3 / (6 + 4 - 3), class 1: 3 / (4 + 6 - 3); the first image twice: 3/4, 1/2
    assert got == pytest.approx([3 / 7, (3 / 4 + 1 / 2) / 2])


def test_every_resample_draws_as_many_images_as_there_are():
    weights = statistics.resample_weights(17, 100)
    assert weights.shape == (100, 17)
    assert (weights.sum(axis=1) == 17).all()
    assert (weights == statistics.resample_weights(17, 100)).all()


def needed(label_counts, mious, target):
    return statistics.labels_needed(label_counts, np.array([mious]), np.array([target]))[0]


def test_labels_needed_by_hand():
    # from 4 (0.2) to 16 (0.6): 0.4 is half way in log2, that is 8
    assert needed([4, 16, 64], [0.2, 0.6, 0.8], 0.4) == pytest.approx(8)
    assert needed([4, 16, 64], [0.2, 0.6, 0.8], 0.7) == pytest.approx(32)
    assert needed([4, 16, 64], [0.2, 0.6, 0.8], 0.6) == pytest.approx(16)
    assert needed([4, 16, 64], [0.2, 0.6, 0.8], 0.81) == np.inf
    assert needed([4, 16, 64], [0.2, 0.6, 0.8], 0.1) == 4


def test_labels_needed_takes_the_first_crossing_of_a_curve_that_dips():
    assert needed([4, 16, 64, 256], [0.2, 0.6, 0.1, 0.9], 0.5) == pytest.approx(4 * 4**0.75)


def test_labels_needed_at_one_label_count_and_none():
    assert needed([16], [0.5], 0.4) == 16
    assert needed([16], [0.5], 0.6) == np.inf
    assert np.isnan(statistics.labels_needed([], np.zeros((1, 0)), np.array([0.5])))[0]
    assert np.isnan(needed([4, 16], [0.1, 0.5], np.nan))


@settings(deadline=None)  # no matter how busy the machine is
@given(
    st.lists(st.floats(0, 1), min_size=2, max_size=5),
    st.floats(0, 1),
)
def test_labels_needed_agrees_with_a_fine_scan(mious, target):
    label_counts = [2 ** (2 * k + 1) for k in range(len(mious))]
    got = needed(label_counts, mious, target)
    grid = np.linspace(np.log2(label_counts[0]), np.log2(label_counts[-1]), 4001)
    reached = np.interp(grid, np.log2(label_counts), mious) >= target
    if reached.any():
        # the scan sees a crossing at most one step late, or not at all where a peak is narrower
        assert np.log2(got) <= grid[reached.argmax()] + 1e-9
    if np.isfinite(got):
        assert np.interp(np.log2(got), np.log2(label_counts), mious) >= target - 1e-9


def test_interval_holds_infinity_as_an_end_and_ignores_nan():
    values = np.array([10.0] * 50 + [np.inf] * 50 + [np.nan] * 10)
    assert statistics.interval(values) == (10.0, np.inf)
    assert np.isnan(statistics.interval(np.array([np.nan]))).all()
    # of 0..999 the 25th from either end, by order statistics
    assert statistics.interval(np.arange(1000.0)) == (24.0, 975.0)


def test_resampled_seeds_average_what_is_drawn_and_spread_it():
    draws = np.array([[0.0, 0.4, 0.9], [0.1, 0.2, 0.3]])  # all three, then the first thrice
    got = statistics.resample_seeds(np.array([0.2, 0.3, 0.7]), draws)
    # t(2) is 4.303, z 1.960, and a bootstrap's variance is 2/3 of the unbiased one
    assert got == pytest.approx([0.4, 0.4 - 0.2 * 4.30265 / 1.95996 * 1.5**0.5], abs=1e-5)


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_an_interval_of_resampled_seeds_leaves_out_the_truth_one_time_in_twenty(seeds):
    generator = np.random.default_rng(seeds)
    draws = generator.random((2000, seeds))
    missed = 0
    for values in generator.normal(0.5, 0.02, (500, seeds)):
        low, high = statistics.interval(statistics.resample_seeds(values, draws))
        missed += not low <= 0.5 <= high
    assert 0.02 < missed / 500 < 0.08  # without widening, 0.26 at three seeds
