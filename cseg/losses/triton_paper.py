"""The paper's form: one pass for value and anchors' gradient, one for the candidates' gradient.

Both start the same kernel, with anchors and candidates in exchanged roles: 8 D flops per pair of
pixels, and 24 D in split features. Pairs of other images that share no class are left out.
"""

import math
from dataclasses import dataclass

import torch
import triton
from torch import Tensor

from cseg.losses.scopes import CandidateBags, Needs, anchor_weights
from cseg.losses.triton_blocks import CHUNK, HEADROOM, LOG2E, gradient_dtype, launch_options
from cseg.losses.triton_classes import (
    LARGE,
    Runs,
    class_sums,
    operands,
    runs_among,
    sorted_labels,
)
from cseg.losses.triton_walk import walk


@dataclass(frozen=True)
class _Side:
    """Anchors or candidates, as the kernel reads them."""

    feats_GND: Tensor  # features as given, contiguous
    order_GN: Tensor  # the pixels sorted by label, int32
    runs: Runs  # where each pixel's class lies among the sorted pixels
    row_GN: Tensor | None  # the pixel in each operand's row, int32; None if rows keep their order
    high_GND: Tensor  # high part of the operand
    low_GND: Tensor  # low part of the operand

    def in_rows(self, values_GN: Tensor) -> Tensor:
        """Values of pixels in the order of the operands' rows."""
        return values_GN if self.row_GN is None else values_GN.gather(1, self.row_GN.long())


@dataclass(frozen=True)
class _Slice:
    """Others from `free` on, sorted by label, of which a row meets its own class."""

    free: int  # number of others, the first ones, that meet every row
    runs: Runs  # where each own pixel's class lies among the others from `free` on
    key_GK: Tensor  # number of smaller labels among these, for each; equal keys are equal labels


def _launch(
    own: _Side,
    other: _Side,
    among: Runs,
    weight_GM: Tensor,
    bias_GM: Tensor,
    scale_GN: Tensor,
    pull_GN: Tensor,
    part: _Slice | None,
    span: tuple[int, int],
    out_GND: Tensor,
    sums: tuple[Tensor, Tensor] | None,
    options: dict[str, int],
    scale2: float,
) -> None:
    """Start `walk` for the own rows in `span`; `sums` take log-sum-exp and pulled similarity."""
    (groups, n, channels), m = own.feats_GND.shape, other.feats_GND.shape[1]
    table = class_sums(other.feats_GND, weight_GM, other.order_GN, other.runs)
    unused = among.head_GN
    sliced = (own.row_GN, part.runs.head_GN, part.runs.count_GN, part.key_GK) if part else ()
    grid = (
        triton.cdiv(span[1] - span[0], options["OWN_ROWS"]),
        groups,
        triton.cdiv(channels, options["OUT_D"]),
    )
    walk[grid](
        own.high_GND, own.low_GND, other.high_GND, other.low_GND,
        bias_GM, scale_GN, *(sums or (scale_GN, scale_GN)), out_GND,
        own.feats_GND, other.feats_GND, weight_GM, other.order_GN, table,
        among.head_GN, among.count_GN, pull_GN, *(sliced or (unused,) * 4),
        n, m, *span, part.free if part else m, table.shape[1], scale2,
        **options, SUM=sums is not None, SLICED=part is not None, CHUNK=CHUNK, HEADROOM=HEADROOM,
        LARGE=LARGE,
    )  # fmt: skip


def candidate_grads(
    bags: CandidateBags, temperature: float, ignore_index: int, needs: Needs
) -> tuple[Tensor, list[Tensor | None]]:
    """Compute the paper's loss of `bags`, float32, and its gradients by anchors and candidates.

    Features are of length at most sqrt(36 * temperature). Gradients, None if not needed, are
    bfloat16 for bfloat16 features, float32 for all others. Nothing waits for the device.
    """
    labels, cand_labels = bags.anchor_labels_GN.contiguous(), bags.cand_labels_GM.contiguous()
    (groups, n), m, shared = labels.shape, cand_labels.shape[1], bags.shared
    channels = bags.anchors_GND.shape[2]
    options, factor = launch_options(bags.anchors_GND, temperature)
    del options["MUTUAL"]
    scale2 = LOG2E / temperature / factor**2
    own_sorted, order = sorted_labels(labels)
    cand_sorted, cand_order = sorted_labels(cand_labels)
    own_runs = runs_among(labels, own_sorted, ignore_index)
    cand_runs = runs_among(cand_labels, cand_sorted, ignore_index)
    rows = cand_rows = extras = back = None
    if shared < m:
        extra_sorted, extra_order = sorted_labels(cand_labels[:, shared:])
        key = runs_among(extra_sorted, extra_sorted, ignore_index).head_GN
        extras = _Slice(shared, runs_among(labels, extra_sorted, ignore_index), key)
        straight = torch.arange(shared, dtype=torch.int32, device=labels.device)
        rows, cand_rows = order, torch.cat([straight.expand(groups, -1), extra_order + shared], 1)
    x, y = (
        _Side(f, by_label, runs, row, *operands(f, row, bool(options["SPLIT"]), factor))
        for f, by_label, runs, row in (
            (bags.anchors_GND.contiguous(), order, own_runs, rows),
            (bags.cands_GMD.contiguous(), cand_order, cand_runs, cand_rows),
        )
    )

    among = runs_among(labels, cand_sorted, ignore_index)
    count = among.count_GN
    w = anchor_weights(count > 0, bags.images_per_bag, bags.total_images, torch.float32)
    push = w / temperature
    ones = push.new_ones(groups, m)
    bias = (1 - ones).masked_fill_(y.in_rows(cand_labels) == ignore_index, -math.inf)
    lse2 = torch.empty_like(w)
    pulled = w.new_empty(triton.cdiv(channels, options["OUT_D"]), groups, n)
    grad = torch.empty_like(x.feats_GND, dtype=gradient_dtype(x.feats_GND))
    _launch(
        x, y, among, ones, bias, push / factor, push / count.clamp(min=1), extras, (0, n), grad,
        (lse2, pulled), options, scale2,
    )  # fmt: skip
    mean = pulled.sum(0) / count.clamp(min=1) / temperature
    loss = torch.where(w > 0, w * (lse2 / LOG2E - mean), 0).sum()
    if not needs[1]:
        return loss, [grad if needs[0] else None, None]

    among = runs_among(cand_labels, own_sorted, ignore_index)
    largest = push.max().clamp(min=torch.finfo(torch.float32).tiny)
    bias = x.in_rows(torch.log2(push / largest) - lse2 + HEADROOM)
    scale = (largest * 2.0**-HEADROOM / factor).expand(groups, m).contiguous()
    scale = scale.masked_fill(cand_labels == ignore_index, 0)
    pull = 1.0 / cand_runs.count_GN.clamp(min=1)
    cand_grad = torch.empty_like(y.feats_GND, dtype=gradient_dtype(y.feats_GND))
    if extras is not None:
        back = _Slice(0, among, x.in_rows(own_runs.head_GN))
    for part, span in ((None, (0, shared)), (back, (shared, m))):
        if span[0] < span[1]:
            _launch(
                y, x, among, push, bias, scale, pull, part, span, cand_grad, None, options, scale2
            )
    return loss, [grad if needs[0] else None, cand_grad]
