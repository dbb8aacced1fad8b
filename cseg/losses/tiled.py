"""Lean backend in plain PyTorch: chooses how each set of bags is computed.

Three routes, all exact: `masked` for small bags (batched) and for similarities of any size,
`row_blocks` and `triangle` for large bags. The last two take exponentials unshifted, which is
safe while |s| <= bound; similarities beyond what float32 resolves to 1e-5 go to float64.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from cseg.losses import masked, row_blocks, triangle
from cseg.losses.counts import positive_counts
from cseg.losses.scopes import (
    SINGLE_BOUND,
    CandidateBags,
    Needs,
    PixelBags,
    anchor_weights,
    longest,
)

SMALL_PAIRS = 264 * 264  # bags of fewer pairs are batched; above, tiles win (measured on a CPU)
DOUBLE_BOUND = 300.0  # the same range for float64


def candidate_grads(
    bags: CandidateBags, temperature: float, ignore_index: int, needs: Needs
) -> tuple[Tensor, Sequence[Tensor | None]]:
    """Compute the paper's loss of `bags`, a scalar, and its gradients by anchors and candidates."""
    anchors_GND, cands_GMD = bags.anchors_GND, bags.cands_GMD
    bound = longest(anchors_GND) * longest(cands_GMD) / temperature
    dtype = _working_dtype(anchors_GND.dtype, bound)
    labels, cand_labels = bags.anchor_labels_GN, bags.cand_labels_GM
    if labels.shape[1] * cand_labels.shape[1] < SMALL_PAIRS or bound > DOUBLE_BOUND:
        return masked.candidate_loss(bags, temperature, ignore_index, dtype, needs)
    valid = positive_counts(labels, cand_labels, ignore_index) > 0
    weights = anchor_weights(valid, bags.images_per_bag, bags.total_images, dtype)
    grads = [
        torch.zeros_like(f, dtype=dtype, memory_format=torch.contiguous_format) if need else None
        for f, need in zip((anchors_GND, cands_GMD), needs)
    ]
    loss = torch.zeros((), dtype=torch.float64, device=labels.device)
    for g in range(len(labels)):
        loss += row_blocks.candidate_loss(
            anchors_GND[g].to(dtype),
            labels[g],
            weights[g],
            cands_GMD[g].to(dtype),
            cand_labels[g],
            bags.shared,
            temperature,
            ignore_index,
            *(None if grad is None else grad[g] for grad in grads),
        )
    return loss, grads


def pixel_grads(
    bags: PixelBags, temperature: float, ignore_index: int, need: bool
) -> tuple[Tensor, Tensor | None]:
    """Compute the released loss of `bags`, a scalar, and its gradient (G,N,D) by all pixels."""
    bound = max(longest(side) for side in bags.sides) ** 2 / temperature
    dtype = _working_dtype(bags.sides[0].dtype, bound)
    labels = bags.labels_GN
    if labels.shape[1] ** 2 < SMALL_PAIRS or bound > DOUBLE_BOUND:
        return masked.pixel_loss(bags, temperature, ignore_index, dtype, need)
    whole: Tensor | None = None
    loss = torch.zeros((), dtype=torch.float64, device=labels.device)
    for g in range(len(labels)):
        part, grad = triangle.pixel_loss(
            [side[g].to(dtype) for side in bags.sides],
            labels[g],
            1 / bags.total_images,
            temperature,
            ignore_index,
            need,
            bound,
        )
        loss += part
        if grad is not None and len(labels) == 1:
            whole = grad[None]
        elif grad is not None:
            if whole is None:  # only now, when the first bag's tiles are gone
                whole = grad.new_empty(len(labels), *grad.shape)
            whole[g] = grad
    return loss, whole


def _working_dtype(given: torch.dtype, bound: float) -> torch.dtype:
    return torch.float64 if given == torch.float64 or bound > SINGLE_BOUND else torch.float32
