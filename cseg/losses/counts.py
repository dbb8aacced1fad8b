"""Which classes a bag of pixels holds, and how to cut them into blocks."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

ALIGNED = 16  # pixels of a tile: float32 numbers in a cache line


def positive_counts(labels_GN: Tensor, cand_labels_GM: Tensor, ignore_index: int) -> Tensor:
    """Count the candidates of each anchor's label (G,N), 0 for an ignored anchor."""
    bags, anchors = labels_GN.shape
    classes, ids = torch.unique(torch.cat([labels_GN, cand_labels_GM], 1), return_inverse=True)
    offset = torch.arange(bags, device=ids.device)[:, None] * len(classes)
    keys = ids + offset
    real = cand_labels_GM != ignore_index
    histogram = torch.bincount(keys[:, anchors:][real], minlength=bags * len(classes))
    return histogram[keys[:, :anchors]]


@dataclass(frozen=True)
class Group:
    """Pixels handled together: those of one class, or of several small classes.

    Attributes:
        classes: class numbers in the group; more than one means pairs need a mask.
    """

    classes: tuple[int, ...]

    @property
    def mixed(self) -> bool:
        """Whether two pixels of the group may differ in class."""
        return len(self.classes) > 1


def class_groups(counts: list[int], limit: int) -> list[Group]:
    """Group the classes: large ones alone, small ones together while they hold <= limit pixels.

    Keeps the number of groups O(classes larger than limit / 2 + pixels / limit), however many
    classes of a single pixel there are.
    """
    groups: list[list[int]] = []
    filled = limit + 1
    for number in sorted(range(len(counts)), key=counts.__getitem__):
        if filled + counts[number] > limit:
            groups.append([])
            filled = 0
        groups[-1].append(number)
        filled += counts[number]
    return [Group(tuple(members)) for members in groups]


def spans(total: int, size: int) -> list[tuple[int, int]]:
    """Cut range(total) into about equal pieces of at most `size`, as (start, stop).

    All but the last are multiples of ALIGNED: products with odd numbers of columns are slower.
    """
    if total == 0:
        return []
    pieces = math.ceil(total / size)
    step = min(math.ceil(total / pieces / ALIGNED) * ALIGNED, size)
    return [(start, min(start + step, total)) for start in range(0, total, step)]
