"""Means, paired comparisons, the spread of seeds and label saving, on plain arrays.

One rule for every statement of significance: differences are paired by seed, all comparisons of a
table are corrected together (`holm`), and a difference is significant if its corrected p lies below
`ALPHA`. Shapes: N validation images, C classes, B bootstrap resamples, S seeds. mIoU values are
fractions 0..1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

PAIRED_T = "paired t-test over seeds"
BOOTSTRAP = "paired bootstrap over validation images"
ALPHA = 0.05
MIN_SEEDS = 3  # seeds from which on they are tested; a t-test over 2 has one degree of freedom
MIN_IMAGES = 10  # images from which on they are resampled; fewer find a difference where none is


@dataclass(frozen=True)
class Difference:
    """Paired mIoU differences of two cells, before any test."""

    # one difference per seed in common, or per subset if several seeds share subsets
    values_S: np.ndarray
    # their mean under resampled validation images; empty without per-image counts
    resampled_B: np.ndarray

    @property
    def mean(self) -> float:
        """Mean difference; NaN if no seed is in common."""
        return float(self.values_S.mean()) if len(self.values_S) else np.nan

    @property
    def test(self) -> str:
        """Name of the test that these differences allow: over seeds, over images, or ""."""
        if len(self.values_S) >= MIN_SEEDS:
            return PAIRED_T
        return BOOTSTRAP if len(self.values_S) and len(self.resampled_B) else ""

    def p(self) -> float:
        """Two-sided p value of a mean difference of 0, not corrected; NaN without a test."""
        if self.test == PAIRED_T:
            if np.ptp(self.values_S) == 0:  # equal differences leave no doubt about their mean
                return 1.0 if self.values_S[0] == 0 else 0.0
            return float(stats.ttest_1samp(self.values_S, 0.0).pvalue)
        if self.test == BOOTSTRAP:
            below, above = np.sum(self.resampled_B <= 0), np.sum(self.resampled_B >= 0)
            return min(1.0, 2 * (min(below, above) + 1) / (len(self.resampled_B) + 1))
        return np.nan

    def interval(self, level: float) -> tuple[float, float]:
        """Interval of confidence 1 - level; it leaves out 0 exactly if p() < level."""
        if self.test == PAIRED_T:
            if np.ptp(self.values_S) == 0:
                return self.mean, self.mean
            found = stats.ttest_1samp(self.values_S, 0.0).confidence_interval(1 - level)
            return float(found.low), float(found.high)
        if self.test == BOOTSTRAP:
            ordered_B = np.sort(self.resampled_B)
            place = max(1, int(np.ceil(level / 2 * (len(ordered_B) + 1))) - 1)
            return float(ordered_B[place - 1]), float(ordered_B[-place])
        return np.nan, np.nan


@dataclass(frozen=True)
class Comparison:
    """A mean difference with its test, corrected for the comparisons made along with it."""

    difference: float  # mean of first minus second, a fraction of 1
    spread: float  # sample standard deviation of the paired differences (NaN below 2 seeds)
    low: float  # lower end of the interval of the difference (NaN without a test)
    high: float  # upper end
    p: float  # two-sided p value, corrected (NaN without a test)
    level: float  # significance level that the interval has after the correction, at most `ALPHA`
    test: str  # `PAIRED_T`, `BOOTSTRAP` or "" if neither can be made
    seeds: int  # number of seeds in common, or of subsets if several seeds share subsets

    @property
    def significant(self) -> bool:
        """Whether p lies below `ALPHA`; False without a test."""
        return bool(self.p < ALPHA)

    @property
    def above(self) -> bool:
        """Whether the first is significantly above the second."""
        return self.significant and self.difference > 0


def holm(differences: Sequence[Difference]) -> list[Comparison]:
    """Test all differences of one table together.

    Of m tested differences the one with the k-th smallest p is held against ALPHA / (m - k + 1),
    until one fails (Holm 1979, Scand. J. Stat. 6, 65-70). Its interval has that level, and those
    after the first failure the level of the first failure, so that an interval leaves out 0
    exactly if its difference is significant.
    """
    raw = np.array([each.p() for each in differences], float)
    tested = np.argsort(raw, kind="stable")[: np.isfinite(raw).sum()]  # NaN comes last
    divisors = np.arange(len(tested), 0, -1)
    corrected, levels = np.full(len(raw), np.nan), np.full(len(raw), ALPHA)
    corrected[tested] = np.maximum.accumulate(np.minimum(1.0, raw[tested] * divisors))
    failed = np.sum(corrected[tested] >= ALPHA)
    levels[tested] = ALPHA / np.maximum(divisors, failed)
    return [
        Comparison(
            difference=each.mean,
            spread=mean_std(each.values_S)[1],
            low=(ends := each.interval(level))[0],
            high=ends[1],
            p=float(p),
            level=float(level),
            test=each.test,
            seeds=len(each.values_S),
        )
        for each, p, level in zip(differences, corrected, levels)
    ]


def seeds_needed(each: Comparison, most: int) -> int | None:
    """Seeds at which a t-test would decide a difference, if it and its spread stay as they are.

    None if more than `most` would be needed, or the spread is unknown.
    """
    seeds = np.arange(MIN_SEEDS, most + 1)
    half = stats.t.ppf(1 - each.level / 2, seeds - 1) * each.spread / np.sqrt(seeds)
    enough = seeds[half < abs(each.difference)]
    return int(enough[0]) if len(enough) else None


def split_spread(cells: Sequence[Sequence[Sequence[float]]]) -> tuple[float, float]:
    """Split the spread of mIoU into that of the labelled subset and that of the initial weights.

    Variance components of a one-way layout with random effects, by the method of moments, pooled
    over the cells in which both vary: with two subsets, of which one has two runs. The second part
    holds everything that differs on one subset: initial weights and the order of training.
    `cells` hold, for each cell (arm, n), for each of its subsets, the mIoU of its runs.

    Returns:
        Standard deviations of subset and initial weights, fractions; NaN if both vary in no cell.
    """
    within = between = degrees_within = degrees_between = weight = 0.0
    for cell in cells:
        if not 1 < len(cell) < sum(map(len, cell)):
            continue
        groups = [np.asarray(runs, float) for runs in cell]
        sizes, total = np.array([len(runs) for runs in groups]), np.concatenate(groups)
        within += sum(((runs - runs.mean()) ** 2).sum() for runs in groups)
        between += sum(len(runs) * (runs.mean() - total.mean()) ** 2 for runs in groups)
        degrees_within += len(total) - len(groups)
        degrees_between += len(groups) - 1
        weight += len(total) - (sizes**2).sum() / len(total)
    if not weight:
        return np.nan, np.nan
    variance = within / degrees_within
    subset = max(0.0, (between - degrees_between * variance) / weight)
    return float(np.sqrt(subset)), float(np.sqrt(variance))


def mean_std(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Mean and sample standard deviation (n - 1) of the finite values.

    The deviation of one value, and both numbers of no value, are NaN.
    """
    kept = np.asarray(values, dtype=float)
    kept = kept[np.isfinite(kept)]
    mean = float(kept.mean()) if len(kept) else np.nan
    return mean, float(kept.std(ddof=1)) if len(kept) > 1 else np.nan


def miou(intersection_C: np.ndarray, truth_C: np.ndarray, predicted_C: np.ndarray) -> np.ndarray:
    """Mean over the classes present in the truth of intersection / union, shape (...).

    The arguments, (..., C), count by class the pixels that are right, true and predicted, without
    ignored ones. NaN where the truth holds no class at all.
    """
    union_C = truth_C + predicted_C - intersection_C
    present_C = truth_C > 0
    iou_C = np.where(present_C, intersection_C / np.maximum(union_C, 1), 0.0)
    classes = present_C.sum(axis=-1)
    return np.where(classes > 0, iou_C.sum(axis=-1) / np.maximum(classes, 1), np.nan)


def resample_weights(images: int, resamples: int, seed: int = 0) -> np.ndarray:
    """How often each image is drawn in each bootstrap resample; shape (B, N), rows sum to N."""
    generator = np.random.default_rng(seed)
    shares = np.full(images, 1 / images)
    return generator.multinomial(images, shares, size=resamples).astype(float)


def labels_needed(
    label_counts_K: Sequence[float], miou_BK: np.ndarray, target_B: np.ndarray
) -> np.ndarray:
    """Least number of labels at which a curve of mIoU reaches a target, for B curves at once.

    A curve is linear in log2(n) between its K points, finite, at ascending label counts. The number
    is not rounded; it is the smallest label count where a curve starts at or above its target, inf
    where it never reaches it, and NaN where there is no point.
    """
    needed_B = np.full(len(target_B), np.inf if len(label_counts_K) else np.nan)
    # from the last segment to the first: the earliest crossing is written last
    for k in range(len(label_counts_K) - 1, 0, -1):
        low_B, high_B = miou_BK[:, k - 1], miou_BK[:, k]
        crosses_B = (low_B < target_B) & (target_B <= high_B)
        rise_B = np.where(crosses_B, high_B - low_B, 1.0)
        start, end = np.log2(label_counts_K[k - 1]), np.log2(label_counts_K[k])
        log_n_B = start + (target_B - low_B) / rise_B * (end - start)
        needed_B = np.where(crosses_B, 2 ** np.where(crosses_B, log_n_B, 0.0), needed_B)
    if len(label_counts_K):
        needed_B = np.where(miou_BK[:, 0] >= target_B, float(label_counts_K[0]), needed_B)
    return np.where(np.isnan(target_B), np.nan, needed_B)


def interval(values_B: np.ndarray) -> tuple[float, float]:
    """95 % percentile interval of resampled values that may be inf; NaN where there is none."""
    kept = np.sort(values_B[~np.isnan(values_B)])
    if not len(kept):
        return np.nan, np.nan
    # order statistics, not interpolation: halfway to infinity is no number
    return (
        float(np.quantile(kept, 0.025, method="lower")),
        float(np.quantile(kept, 0.975, method="higher")),
    )


def resample_seeds(values_S: np.ndarray, draws_BS: np.ndarray) -> np.ndarray:
    """Mean of one value per seed under resampled seeds, shape (B,).

    `draws_BS` are uniform numbers in [0, 1), shared by all cells so that they stay paired; the
    first columns, one for each seed, choose seeds with replacement. A bootstrap of few values is
    too narrow, so the means are spread about that of all seeds until their normal interval would be
    the t interval of so many seeds (Hesterberg 2015, Am. Stat. 69, 371-386).
    """
    seeds = len(values_S)
    picks_BS = (draws_BS[:, :seeds] * seeds).astype(int)
    means_B, mean = values_S[picks_BS].mean(axis=1), values_S.mean()
    half = 1 - ALPHA / 2
    wider = stats.t.ppf(half, seeds - 1) / stats.norm.ppf(half) * np.sqrt(seeds / (seeds - 1))
    return mean + wider * (means_B - mean)
