"""The loss written as its equations, with every pair of pixels in memory: the oracle.

Plain autograd in the dtype of the bags, O(N·M) memory; made to be read and to be checked against.
Derivatives of any order, forward mode and the transforms of torch.func work through it.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from cseg.losses.scopes import (
    CandidateBags,
    PixelBags,
    View,
    anchor_weights,
    candidate_bags,
    pixel_bags,
)
from cseg.losses.unit import normalized, wide


def view_loss(
    views: Sequence[View],
    temperature: Tensor,
    partner: Tensor | None,
    scope: str,
    denominator: str,
    ignore_index: int,
    normalize: bool,
) -> Tensor:
    """Compute the loss of one or two views, which autograd differentiates by features and tau."""
    views = [_usable(*view, ignore_index, normalize) for view in views]
    tau = temperature.reshape(())
    with torch.autocast(views[0][0].device.type, enabled=False):
        if denominator == "all":
            bags = candidate_bags(views, scope, partner, ignore_index)
            return candidate_loss(bags, tau, ignore_index)
        groups = pixel_bags(views, scope, partner)
        return torch.stack([pixel_loss(group, tau, ignore_index) for group in groups]).sum()


def _usable(feats_BPD: Tensor, labels_BP: Tensor, ignore_index: int, normalize: bool) -> View:
    ignored = labels_BP == ignore_index
    if normalize:
        return normalized(feats_BPD, ignored, 2), labels_BP
    return feats_BPD.masked_fill(ignored[:, :, None], 0), labels_BP


def candidate_loss(bags: CandidateBags, temperature: Tensor, ignore_index: int) -> Tensor:
    """Compute the paper's loss (eq. of the within- and cross-image losses), a scalar.

    -1/N Σ_p 1/N_pos(p) Σ_{q: y_q = y_p} log( e_pq / Σ_k e_pk ), e = exp(x·y / temperature).
    """
    dtype = wide(bags.anchors_GND.dtype)
    sim = bags.anchors_GND.to(dtype) @ bags.cands_GMD.to(dtype).mT / temperature
    labels, cand_labels = bags.anchor_labels_GN[:, :, None], bags.cand_labels_GM[:, None, :]
    real = (labels != ignore_index) & (cand_labels != ignore_index)
    positive = real & (labels == cand_labels)
    shared = torch.arange(sim.shape[2], device=sim.device) < bags.shared
    enters = positive | (real & shared)

    count = positive.sum(2)
    weights = anchor_weights(count > 0, bags.images_per_bag, bags.total_images, sim.dtype)
    mean_positive = (sim * positive).sum(2) / count.clamp(min=1)
    per_anchor = _masked_logsumexp(sim, enters) - mean_positive
    return torch.where(weights > 0, per_anchor * weights, 0).sum()


def pixel_loss(bags: PixelBags, temperature: Tensor, ignore_index: int) -> Tensor:
    """Compute the released loss, a scalar.

    1/N Σ_p 1/N_pos(p) Σ_{q: y_q = y_p} -log( e_pq / (e_pq + Σ_{k: y_k ≠ y_p, same side} e_pk) ).
    """
    feats = bags.feats_GND.to(wide(bags.feats_GND.dtype))
    sim = feats @ feats.mT / temperature
    real = bags.labels_GN != ignore_index
    real = real[:, :, None] & real[:, None, :]
    same = bags.labels_GN[:, :, None] == bags.labels_GN[:, None, :]
    first = torch.arange(sim.shape[1], device=sim.device) < bags.split
    same_side = first[:, None] == first[None, :]
    positive, negative = real & same, real & ~same & same_side

    count = positive.sum(2)
    weights = anchor_weights(count > 0, 1, bags.total_images, sim.dtype)
    log_negatives = _masked_logsumexp(sim, negative)
    pair = -F.logsigmoid(sim - log_negatives[:, :, None])  # softplus(n - s) without its cut-off
    per_anchor = torch.where(positive, pair, 0).sum(2) / count.clamp(min=1)
    return (per_anchor * weights).sum()


def _masked_logsumexp(sim: Tensor, mask: Tensor) -> Tensor:
    """Logsumexp over the last axis where mask holds; hugely negative but finite where nowhere."""
    return sim.masked_fill(~mask, torch.finfo(sim.dtype).min / 4).logsumexp(2)
