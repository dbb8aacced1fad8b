"""Confusion matrices of a network on images, shared out among the ranks.

Shapes: K classes, H and W height and width.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from cseg.compute.ranks import current_share, gather_to_leader, sum_over_ranks
from cseg.datasets.reading import read_image, read_label
from cseg.datasets.samples import DatasetInfo
from cseg.inference.metrics import confusion_matrix, mean_iou
from cseg.inference.predict import ProtocolSettings, predict
from cseg.model.network import Segmenter
from cseg.training.sampling import Pair


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
    found = {
        name: (matrix, keep(guess) if keep else b"")
        for name, matrix, guess in _own_share(network, pairs, info, protocol)
    }
    everything = {name: pair for part in gather_to_leader(found) for name, pair in part.items()}
    ordered = [pair.id for pair in pairs if pair.id in everything]
    return (
        {name: everything[name][0] for name in ordered},
        {name: everything[name][1] for name in ordered} if keep else {},
    )


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
