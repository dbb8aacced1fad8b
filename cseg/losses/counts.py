"""Which classes a bag of pixels holds, and how to cut them into blocks."""

import math

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


def class_groups(counts: list[int], limit: int) -> tuple[Tensor, list[int]]:
    """Group the classes: large ones alone, small ones together while they hold <= limit pixels.

    Keeps the number of groups O(classes larger than limit / 2 + pixels / limit), however many
    classes of a single pixel there are.

    Returns:
        The group of each class, on the CPU, and the number of classes in each group: pairs of a
        group of several need a mask.
    """
    groups: list[list[int]] = []
    filled = limit + 1
    for number in sorted(range(len(counts)), key=counts.__getitem__):
        if filled + counts[number] > limit:
            groups.append([])
            filled = 0
        groups[-1].append(number)
        filled += counts[number]
    group_of = torch.empty(len(counts), dtype=torch.int64, device="cpu")
    for number, members in enumerate(groups):
        group_of[members] = number
    return group_of, [len(members) for members in groups]


def spans(total: int, size: int) -> list[tuple[int, int]]:
    """Cut range(total) into about equal pieces of at most `size`, as (start, stop).

    All but the last are multiples of ALIGNED: products with odd numbers of columns are slower.
    """
    if total == 0:
        return []
    pieces = math.ceil(total / size)
    step = min(math.ceil(total / pieces / ALIGNED) * ALIGNED, size)
    return [(start, min(start + step, total)) for start in range(0, total, step)]
