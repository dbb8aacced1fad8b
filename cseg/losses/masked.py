"""Bags of pixels row block by row block, with masks and logarithms: any size, any magnitude.

A block of anchors sees all candidates, so its loss and its share of all gradients come from one
visit: 6·N·M·D flops and O(N + M) memory. Small bags go together as one batched product.
"""

import torch
from torch import Tensor

from cseg.losses.counts import positive_counts
from cseg.losses.scopes import CandidateBags, Needs, PixelBags, anchor_weights

BLOCK_ELEMENTS = 1 << 19  # pairs held at a time: a few such arrays stay in the cache


def candidate_loss(
    bags: CandidateBags, temperature: float, ignore_index: int, dtype: torch.dtype, needs: Needs
) -> tuple[Tensor, list[Tensor | None]]:
    """Compute the paper's loss and its gradients by anchors and candidates, in `dtype`."""
    anchors, cands = bags.anchors_GND.to(dtype), bags.cands_GMD.to(dtype)
    labels, cand_labels = bags.anchor_labels_GN, bags.cand_labels_GM
    real_cand = cand_labels != ignore_index
    counts = positive_counts(labels, cand_labels, ignore_index)
    weights = anchor_weights(counts > 0, bags.images_per_bag, bags.total_images, dtype)
    share = weights / counts.clamp(min=1)
    grad_a = torch.empty_like(anchors, memory_format=torch.contiguous_format) if needs[0] else None
    grad_c = torch.zeros_like(cands, memory_format=torch.contiguous_format) if needs[1] else None
    loss = torch.zeros((), dtype=torch.float64, device=anchors.device)
    for g, rows in _blocks(len(labels), labels.shape[1], cand_labels.shape[1]):
        x = anchors[g, rows] / temperature
        sim = x @ cands[g].mT
        positive = (labels[g, rows, None] == cand_labels[g, None, :]) & real_cand[g, None, :]
        pull = positive.to(dtype).mul_(share[g, rows, None])
        loss -= torch.dot(pull.flatten(), sim.flatten())
        sim[:, :, : bags.shared].masked_fill_(~real_cand[g, None, : bags.shared], -torch.inf)
        if bags.shared < sim.shape[2]:
            sim[:, :, bags.shared :].masked_fill_(~positive[:, :, bags.shared :], -torch.inf)
        # Divided by their sum, not by exp(logsumexp): rounding a logarithm costs digits.
        top = sim.amax(2, keepdim=True).clamp_(min=torch.finfo(dtype).min)
        push = sim.sub_(top).exp_()
        total = push.sum(2, keepdim=True).clamp_(min=1e-30)  # 0 where there is no candidate
        weight = weights[g, rows, None]
        loss += torch.dot(
            (total.log() + top).masked_fill_(weight == 0, 0).flatten(), weight.flatten()
        )
        if not any(needs):
            continue
        push *= weight / total
        grad_sim = push.sub_(pull)
        if grad_a is not None:
            grad_a[g, rows] = (grad_sim @ cands[g]).div_(temperature)
        if grad_c is not None:
            grad_c[g].baddbmm_(grad_sim.mT, x)
    return loss, [grad_a, grad_c]


def pixel_loss(
    bags: PixelBags, temperature: float, ignore_index: int, dtype: torch.dtype, need: bool
) -> tuple[Tensor, Tensor | None]:
    """Compute the released loss and its gradient by the features, in `dtype`."""
    feats, labels = bags.feats_GND.to(dtype), bags.labels_GN
    real = labels != ignore_index
    counts = positive_counts(labels, labels, ignore_index)
    share = anchor_weights(counts > 0, 1, bags.total_images, dtype) / counts.clamp(min=1)
    side = torch.arange(labels.shape[1], device=labels.device) >= bags.split
    one_side = bags.split == labels.shape[1]
    grad = torch.zeros_like(feats, memory_format=torch.contiguous_format) if need else None
    loss = torch.zeros((), dtype=torch.float64, device=feats.device)
    lowest = torch.finfo(dtype).min / 4  # stands for log 0, and subtracts without NaN
    for g, rows in _blocks(len(labels), labels.shape[1], labels.shape[1]):
        x = feats[g, rows] / temperature
        sim = x @ feats[g].mT
        same = labels[g, rows, None] == labels[g, None, :]
        pair = real[g, rows, None] & real[g, None, :]
        positive = pair & same
        negative = pair & ~same if one_side else pair & ~same & (side[rows, None] == side)
        log_negatives = sim.masked_fill(~negative, -torch.inf).logsumexp(2, keepdim=True)
        gap = sim.sub_(log_negatives.clamp_(min=lowest))
        weight = positive.to(dtype).mul_(share[g, rows, None])
        loss -= torch.dot(torch.nn.functional.logsigmoid(gap).flatten(), weight.flatten())
        if grad is None:
            continue
        pull = torch.sigmoid(-gap).mul_(weight)
        push = gap.exp_().masked_fill_(~negative, 0).mul_(pull.sum(2, keepdim=True))
        grad_sim = push.sub_(pull)
        grad[g, rows] += (grad_sim @ feats[g]).div_(temperature)
        grad[g].baddbmm_(grad_sim.mT, x)
    return loss, grad


def _blocks(bags: int, rows: int, cols: int) -> list[tuple[slice, slice]]:
    """(bags, rows) slices of at most about BLOCK_ELEMENTS pairs."""
    group = max(1, BLOCK_ELEMENTS // (rows * cols))
    step = rows if group > 1 else max(1, min(rows, BLOCK_ELEMENTS // cols))
    return [
        (slice(g, g + group), slice(r, r + step))
        for g in range(0, bags, group)
        for r in range(0, rows, step)
    ]
