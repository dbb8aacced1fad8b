"""Confusion matrices of a network on images, and the segmentation metrics of such a matrix.

Shapes: K classes; a confusion matrix has truth in rows and prediction in columns.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import torch

from cseg.compute.ranks import current_share, gather_to_leader, sum_over_ranks
from cseg.datasets.reading import read_image, read_label
from cseg.datasets.samples import DatasetInfo
from cseg.inference.predict import ProtocolSettings, predict
from cseg.model.network import Segmenter
from cseg.training.sampling import Pair

T = TypeVar("T")


def matrices_by_image(
    network: Segmenter,
    pairs: Sequence[Pair],
    info: DatasetInfo,
    protocol: ProtocolSettings,
    keep: Callable[[np.ndarray], bytes] | None = None,
) -> tuple[dict[str, np.ndarray], dict[str, bytes]]:
    """Confusion matrices (K, K), int64, by image id, and what `keep` makes of the predictions.

    Rank r predicts images r, r + ranks, ...; the leading one gets them all, in the order of
    `pairs`, and the others nothing. The network is in evaluation mode.
    """
    matrices: dict[str, np.ndarray] = {}
    kept: dict[str, bytes] = {}
    for name, matrix, guess in _own_share(network, pairs, info, protocol):
        matrices[name] = matrix
        if keep:
            kept[name] = keep(guess)
    return _gathered(matrices, pairs), _gathered(kept, pairs)


def _gathered(own: dict[str, T], pairs: Sequence[Pair]) -> dict[str, T]:
    everyones = {name: value for part in gather_to_leader(own) for name, value in part.items()}
    return {pair.id: everyones[pair.id] for pair in pairs if pair.id in everyones}


def validation_miou(
    network: Segmenter, pairs: Sequence[Pair], info: DatasetInfo, protocol: ProtocolSettings
) -> float:
    """The mIoU on all `pairs`, alike on every rank; arguments as in `matrices_by_image`."""
    total = np.zeros((info.num_classes,) * 2, np.int64)
    for _, matrix, _ in _own_share(network, pairs, info, protocol):
        total += matrix
    return mean_iou(sum_over_ranks(torch.from_numpy(total)).numpy())


def _own_share(
    network: Segmenter, pairs: Sequence[Pair], info: DatasetInfo, protocol: ProtocolSettings
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Id, confusion matrix and predicted classes of every image that this rank predicts."""
    share = current_share()
    for pair in pairs[share.rank :: share.ranks]:
        assert pair.label is not None  # only unlabelled images have none; they are not evaluated
        truth = read_label(pair.label, info, pair.label_sha256)
        image = torch.from_numpy(read_image(pair.image, info, pair.image_sha256)).permute(2, 0, 1)
        guess = predict(network, image, truth.shape, protocol).numpy()
        yield pair.id, confusion_matrix(truth, guess, info.num_classes), guess


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
