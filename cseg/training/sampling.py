"""Batches as a function of (seed, step): what a killed and a resumed run both see.

Every random number is drawn from a generator keyed by what it is for, never from a running
stream, so that batches do not depend on worker counts, earlier steps or restarts.
Shapes: B batch, H and W height and width of the crop.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cseg.compute.ranks import ALONE, Share
from cseg.datasets.reading import read_class_ids, read_image, read_label
from cseg.datasets.samples import DatasetInfo
from cseg.errors import DataError
from cseg.images.transforms import random_crop, resize_label, resize_short_side
from cseg.settings.network import ImageSettings
from cseg.training.prepared_cache import Place, read_pair

ORDER, GEOMETRY = 1, 2  # first words of the keys, one for each purpose


@dataclass(frozen=True)
class Pair:
    """One labelled image: its id, its files, and where it lies decoded, if it does.

    The label file of a pseudo label holds class ids; that of the dataset, the dataset's values;
    only an image that nobody has labelled has none. Of a hidden label nothing reaches training.
    Files that are not those of the checksums are refused.
    """

    id: str
    image: Path
    label: Path | None
    place: Place | None = None
    pseudo: bool = False
    hidden: bool = False
    image_sha256: str | None = None
    label_sha256: str | None = None


def load_pair(pair: Pair, info: DatasetInfo, short_side: int | None) -> tuple[Tensor, Tensor]:
    """Read an image, uint8 (3, H, W), and its labels, uint8 (H, W), resized to `short_side`.

    A pair that lies in the prepared cache is read from there: it was resized when it was written.
    If the label is hidden the class is 0 everywhere, so that a crop's padding alone is ignored.
    """
    if pair.place is not None:
        pixels, classes = read_pair(pair.place)
        classes = np.zeros_like(classes) if pair.hidden else classes
        return torch.from_numpy(pixels).permute(2, 0, 1), torch.from_numpy(classes)
    image = torch.from_numpy(read_image(pair.image, info, pair.image_sha256)).permute(2, 0, 1)
    image = resize_short_side(image, short_side)
    if pair.hidden:
        return image, torch.zeros(image.shape[-2:], dtype=torch.uint8)
    if pair.label is None:
        raise DataError(f"image {pair.image} has no label; take it off the list to train on")
    if pair.pseudo:
        label = read_class_ids(pair.label, pair.label_sha256)
    else:
        label = read_label(pair.label, info, pair.label_sha256)
    return image, resize_label(torch.from_numpy(label), (image.shape[-2], image.shape[-1]))


def draw_order(seed: int, count: int, first: int, size: int) -> list[int]:
    """Items number `first` to `first + size` of an endless pass over `count` items.

    Each pass is a fresh permutation keyed by (seed, pass).
    """
    return [
        int(_permutation(seed, count, k // count)[k % count]) for k in range(first, first + size)
    ]


@lru_cache(maxsize=4)
def _permutation(seed: int, count: int, turn: int) -> np.ndarray:
    return np.random.default_rng([ORDER, seed, turn]).permutation(count)


@dataclass(eq=False)
class StepBatches:
    """The batch of each training step: images and labels, then those of `unlabelled`, if given.

    Under several ranks an item is this rank's share of the batch. The labels of unlabelled images
    are ignored where these are padded, and 0 elsewhere.
    """

    pairs: Sequence[Pair]
    info: DatasetInfo
    settings: ImageSettings
    batch: int
    seed: int
    steps: int
    cache_mib: int
    share: Share = ALONE
    unlabelled: "StepBatches | None" = None
    cache: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.images_per_step = self.batch // self.share.ranks
        if self.unlabelled is not None:
            self.images_per_step += self.unlabelled.images_per_step
        self.room = self.cache_mib * 2**20

    def ids(self, step: int) -> list[str]:
        """Ids of the images of a step, of all ranks: the labelled ones first."""
        order = draw_order(self.seed, len(self.pairs), step * self.batch, self.batch)
        more = [] if self.unlabelled is None else self.unlabelled.ids(step)
        return [self.pairs[i].id for i in order] + more

    def __getitem__(self, step: int) -> tuple[Tensor, ...]:
        """Images uint8 (B, 3, H, W) and labels uint8 (B, H, W), once or twice."""
        order = draw_order(self.seed, len(self.pairs), step * self.batch, self.batch)
        crops = []
        for slot, item in self.share.part(list(enumerate(order))):
            rng = np.random.default_rng([GEOMETRY, self.seed, step, slot])
            crops.append(random_crop(*self._load(item), self.settings, rng))
        images, labels = zip(*crops, strict=True)
        more = () if self.unlabelled is None else self.unlabelled[step]
        return torch.stack(images), torch.stack(labels), *more

    def _load(self, item: int) -> tuple[Tensor, Tensor]:
        if item not in self.cache:
            pair = load_pair(self.pairs[item], self.info, self.settings.short_side)
            size = sum(tensor.numel() for tensor in pair)
            if size > self.room:
                return pair
            self.room -= size
            self.cache[item] = pair
        return self.cache[item]
