"""Metrics against counting by hand and against torchmetrics."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cseg.inference.metrics import (
    accuracy_per_class,
    confusion_matrix,
    iou_per_class,
    mean_iou,
    pixel_accuracy,
)


@settings(max_examples=50, deadline=None)
@given(classes=st.integers(1, 6), seed=st.integers(0, 10_000), ignored=st.floats(0, 1))
def test_confusion_counts_every_pixel_once(classes, seed, ignored):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, (5, 7)).astype(np.uint8)
    truth[rng.random((5, 7)) < ignored] = 255
    guess = rng.integers(0, classes, (5, 7)).astype(np.uint8)
    matrix = confusion_matrix(truth, guess, classes)
    for t in range(classes):
        for p in range(classes):
            assert matrix[t, p] == ((truth == t) & (guess == p)).sum()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_miou_is_torchmetrics_macro_jaccard(seed):
    from torchmetrics.classification import MulticlassJaccardIndex

    rng = np.random.default_rng(seed)
    truth, guess = rng.integers(0, 4, (2, 3, 8, 8))
    truth.flat[:4] = range(4)  # torchmetrics averages over all classes: let all be there
    truth[rng.random(truth.shape) < 0.1] = 255
    truth.flat[:4] = range(4)
    metric = MulticlassJaccardIndex(4, average="macro", ignore_index=255)
    expected = metric(torch.from_numpy(guess), torch.from_numpy(truth)).item()
    assert mean_iou(confusion_matrix(truth, guess, 4)) == pytest.approx(expected, abs=1e-6)


def test_absent_classes_are_left_out_of_the_mean():
    matrix = np.array([[3, 1, 0], [0, 0, 0], [2, 0, 4]])
    assert np.isnan(iou_per_class(matrix)[1])
    assert mean_iou(matrix) == pytest.approx((3 / 6 + 4 / 6) / 2)
    assert accuracy_per_class(matrix)[0] == pytest.approx(3 / 4)
    assert pixel_accuracy(matrix) == pytest.approx(7 / 10)


def test_a_class_of_one_pixel_counts():
    for matrix, ious, accuracies in (
        ([[1, 0], [0, 3]], [1, 1], [1, 1]),
        ([[0, 1], [1, 2]], [0, 0.5], [0, 2 / 3]),
    ):
        np.testing.assert_allclose(iou_per_class(np.array(matrix)), ious)
        np.testing.assert_allclose(accuracy_per_class(np.array(matrix)), accuracies)


def test_nothing_but_ignored_pixels_gives_nan():
    assert np.isnan(mean_iou(np.zeros((3, 3), np.int64)))
    assert np.isnan(pixel_accuracy(np.zeros((3, 3), np.int64)))
