"""Segmentation metrics from one confusion matrix over a whole set of images.

Shapes: K classes; a confusion matrix has truth in rows and prediction in columns.
"""

import numpy as np


def confusion_matrix(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Count pixels by true and predicted class: int64 (K, K) of K = `classes`.

    Both are integer arrays of one shape. Where truth is no class (255), the pixel is left out.
    """
    valid = truth < classes
    pairs = truth[valid].astype(np.int64) * classes + predicted[valid]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def iou_per_class(confusion_KK: np.ndarray) -> np.ndarray:
    """Intersection over union of each class, float64 (K,); NaN where truth has no such pixel."""
    hit = np.diag(confusion_KK).astype(np.float64)
    truth, predicted = confusion_KK.sum(axis=1), confusion_KK.sum(axis=0)
    union = truth + predicted - hit
    return np.divide(hit, union, out=np.full(len(hit), np.nan), where=truth > 0)


def accuracy_per_class(confusion_KK: np.ndarray) -> np.ndarray:
    """Share of each class's pixels that are found, float64 (K,); NaN for absent classes."""
    hit, truth = np.diag(confusion_KK).astype(np.float64), confusion_KK.sum(axis=1)
    return np.divide(hit, truth, out=np.full(len(hit), np.nan), where=truth > 0)


def mean_iou(confusion_KK: np.ndarray) -> float:
    """Mean IoU over the classes present in the truth; NaN where none is."""
    present = iou_per_class(confusion_KK)
    present = present[~np.isnan(present)]
    return float(present.mean()) if len(present) else float("nan")


def pixel_accuracy(confusion_KK: np.ndarray) -> float:
    """Share of counted pixels that are right; NaN where none is counted."""
    total = confusion_KK.sum()
    return float(np.diag(confusion_KK).sum() / total) if total else float("nan")
