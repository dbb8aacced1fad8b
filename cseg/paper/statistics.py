"""Means, tests of significance and label saving, on plain arrays.

Shapes: N validation images, C classes, B bootstrap resamples. mIoU values are fractions 0..1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

PAIRED_T = "paired t-test over seeds"
BOOTSTRAP = "paired bootstrap over validation images"
ALPHA = 0.05


@dataclass(frozen=True)
class ImageCounts:
    """Pixel counts of one run, per validation image and class: int64 arrays of shape (N, C)."""

    ids: tuple[str, ...]
    intersection_NC: np.ndarray
    truth_NC: np.ndarray
    predicted_NC: np.ndarray


@dataclass(frozen=True)
class Comparison:
    """Mean difference of two arms over the seeds both have.

    Attributes:
        difference: mean of first minus second, a fraction of 1.
        low: lower end of the 95 % interval of the difference (NaN where there is no test).
        high: upper end.
        p: two-sided p value (NaN where there is no test).
        test: `PAIRED_T`, `BOOTSTRAP` or "" where neither can be made.
        runs: number of seeds in common.
    """

    difference: float
    low: float
    high: float
    p: float
    test: str
    runs: int

    @property
    def significant(self) -> bool:
        """Whether p lies below `ALPHA`; False where there is no test."""
        return bool(self.p < ALPHA)


def mean_std(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Mean and sample standard deviation (n - 1) of the finite values.

    The deviation of one value, and both numbers of no value, are NaN.
    """
    kept = np.asarray(values, dtype=float)
    kept = kept[np.isfinite(kept)]
    mean = float(kept.mean()) if len(kept) else np.nan
    return mean, float(kept.std(ddof=1)) if len(kept) > 1 else np.nan


def miou(intersection_C: np.ndarray, truth_C: np.ndarray, predicted_C: np.ndarray) -> np.ndarray:
    """Mean over the classes present in the truth of intersection / union.

    Args:
        intersection_C: pixels of class c that are predicted as c; shape (..., C).
        truth_C: pixels whose truth is c; shape (..., C).
        predicted_C: pixels predicted as c, ignored ones not counted; shape (..., C).

    Returns:
        Shape (...): mIoU; NaN where the truth holds no class at all.
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


def bootstrap_miou(counts: ImageCounts, weights_BN: np.ndarray) -> np.ndarray:
    """MIoU of each resample of the validation images; shape (B,)."""
    return miou(
        weights_BN @ counts.intersection_NC,
        weights_BN @ counts.truth_NC,
        weights_BN @ counts.predicted_NC,
    )


def compare(
    first: Mapping[int, float],
    second: Mapping[int, float],
    first_boot: Mapping[int, np.ndarray],
    second_boot: Mapping[int, np.ndarray],
) -> Comparison:
    """Compare two arms at one label count, paired by seed.

    With two or more seeds in common: the paired t-test over seeds. With one: the bootstrap over
    validation images, which tells whether the images could have come out otherwise, but not
    whether another training run would.

    Args:
        first: mIoU by seed.
        second: mIoU by seed.
        first_boot: bootstrapped mIoU (B,) by seed, from the same weights for both arms; may lack
            seeds.
        second_boot: the same for the second arm.

    Returns:
        The comparison; difference NaN where no seed is in common.
    """
    seeds = sorted(s for s in first if s in second and np.isfinite(first[s] + second[s]))
    if not seeds:
        return Comparison(np.nan, np.nan, np.nan, np.nan, "", 0)
    # rounded far below what an mIoU can tell, so that equal values differ by zero
    differences = np.round([first[s] - second[s] for s in seeds], 12)
    difference = float(differences.mean())
    if len(seeds) > 1:
        return Comparison(difference, *_paired_t(differences), PAIRED_T, len(seeds))
    seed = seeds[0]
    if seed not in first_boot or seed not in second_boot:
        return Comparison(difference, np.nan, np.nan, np.nan, "", 1)
    boot_B = first_boot[seed] - second_boot[seed]
    low, high = np.nanquantile(boot_B, [0.025, 0.975])
    below, above = np.sum(boot_B <= 0), np.sum(boot_B >= 0)
    p = min(1.0, 2 * (min(below, above) + 1) / (len(boot_B) + 1))
    return Comparison(difference, float(low), float(high), float(p), BOOTSTRAP, 1)


def _paired_t(differences: np.ndarray) -> tuple[float, float, float]:
    """Lower end, upper end, p; equal differences leave no doubt about their mean."""
    mean = float(differences.mean())
    if np.ptp(differences) == 0:
        return mean, mean, 1.0 if mean == 0 else 0.0
    result = stats.ttest_1samp(differences, 0.0)
    interval = result.confidence_interval(0.95)
    return float(interval.low), float(interval.high), float(result.pvalue)


def labels_needed(
    label_counts_K: Sequence[float], miou_BK: np.ndarray, target_B: np.ndarray
) -> np.ndarray:
    """Least number of labels at which a curve reaches a target, for B curves at once.

    A curve is linear in log2(n) between its K points.

    Args:
        label_counts_K: ascending label counts.
        miou_BK: mIoU at each of them, finite.
        target_B: mIoU to reach.

    Returns:
        Shape (B,): number of labels, not rounded; the smallest label count where a curve starts
        at or above its target; inf where it never reaches it; NaN where there is no point.
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


def resample_seeds(
    boot_by_seed: Mapping[int, np.ndarray], points: Mapping[int, float], draws_BS: np.ndarray
) -> np.ndarray:
    """Mean mIoU of a cell (arm, n) under resampled seeds and images; shape (B,).

    Args:
        boot_by_seed: bootstrapped mIoU (B,) by seed; a seed that lacks it keeps its point value.
        points: mIoU by seed.
        draws_BS: uniform numbers in [0, 1), shared by all cells so that they stay paired; the
            first S = number of seeds columns choose seeds with replacement.
    """
    resamples = len(draws_BS)
    seeds = sorted(points)
    values_SB = np.stack([boot_by_seed.get(s, np.full(resamples, points[s])) for s in seeds])
    picks_BS = (draws_BS[:, : len(seeds)] * len(seeds)).astype(int)
    return values_SB[picks_BS, np.arange(resamples)[:, None]].mean(axis=1)
