"""Kernels of the released form: value, with the positives by themselves, and gradient.

n_p is the log-sum-exp over an anchor's negatives. Pixels come sorted by label, so that the
positives of a block of rows are one run of others, and the value walks over these alone once it
knows n_p. The gradient takes both roles of a pixel, anchor and candidate, with one exponential per
pair: 2^(s - n) = 2^s 2^-n, which stays in range since |s| is at most 36. 6 D flops per pair of
pixels and 2 D per positive pair; split features take three times as many.
"""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from cseg.losses.scopes import PixelBags, anchor_weights
from cseg.losses.triton_blocks import (
    CHUNK,
    HEADROOM,
    LOG2E,
    add_weighted,
    gradient_dtype,
    keep_sums,
    launch_options,
    load_parts,
    rounded,
    similarities,
)
from cseg.losses.triton_classes import operands, runs_among, sorted_labels


@triton.jit
def _value(
    HIGH, LOW, KEY, SIDE, COUNT, N2, COST, SIGMA, N, scale2,
    D: tl.constexpr, BD: tl.constexpr, STEP: tl.constexpr, OWN_ROWS: tl.constexpr,
    TILE: tl.constexpr, SPLIT: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Log-sum-exp over negatives; sums of softplus (in base 2) and of sigmoid over positives."""
    g = tl.program_id(1).to(tl.int64)
    begin = tl.program_id(0) * OWN_ROWS
    local = tl.arange(0, OWN_ROWS)
    rows = begin + local
    live = rows < N
    own, own_low = HIGH + (g * N + begin) * D, LOW + (g * N + begin) * D
    a, a_low = local, local
    if STEP == BD:
        a, a_low = load_parts(own, own_low, local, live, 0, D, BD, SPLIT)
    key = tl.load(KEY + g * N + rows, mask=live, other=-1)
    side = tl.load(SIDE + g * N + rows, mask=live, other=0)
    count = tl.load(COUNT + g * N + rows, mask=live, other=0)
    tile = tl.arange(0, TILE)
    total = tl.zeros([OWN_ROWS], tl.float32)
    for start in range(0, N, TILE):
        inside = start + tile < N
        high, low = HIGH + (g * N + start) * D, LOW + (g * N + start) * D
        s, _b, _low = similarities(
            own, own_low, a, a_low, local, live, high, low, tile, inside,
            D, BD, STEP, OWN_ROWS, TILE, SPLIT, WIDE,
        )  # fmt: skip
        other_key = tl.load(KEY + g * N + start + tile, mask=inside, other=-1)
        other_side = tl.load(SIDE + g * N + start + tile, mask=inside, other=0)
        differs = (key[:, None] != other_key[None, :]) & (other_key >= 0)[None, :]
        negative = differs & (side[:, None] == other_side[None, :])
        total += tl.sum(tl.where(negative, tl.exp2(s * scale2), 0.0), 1)
    n2 = tl.where(total > 0, tl.log2(tl.maximum(total, 1e-37)), float("-inf"))

    cost = tl.zeros([OWN_ROWS], tl.float32)
    sigma = tl.zeros([OWN_ROWS], tl.float32)
    run_first = tl.min(tl.where(key >= 0, key, N), 0)
    run_last = tl.max(tl.where(key >= 0, key + count, 0), 0)
    for start in range(run_first, run_last, TILE):
        inside = start + tile < run_last
        high, low = HIGH + (g * N + start) * D, LOW + (g * N + start) * D
        s, _b, _low = similarities(
            own, own_low, a, a_low, local, live, high, low, tile, inside,
            D, BD, STEP, OWN_ROWS, TILE, SPLIT, WIDE,
        )  # fmt: skip
        other_key = tl.load(KEY + g * N + start + tile, mask=inside, other=-2)
        positive = key[:, None] == other_key[None, :]
        gap = n2[:, None] - s * scale2
        small = tl.exp2(-tl.abs(gap))
        soft = tl.maximum(gap, 0.0) + tl.log2(1.0 + small)
        cost += tl.sum(tl.where(positive, soft, 0.0), 1)
        sigma += tl.sum(tl.where(positive, tl.where(gap > 0, 1.0, small) / (1.0 + small), 0.0), 1)
    tl.store(N2 + g * N + rows, n2, mask=live)
    tl.store(COST + g * N + rows, cost, mask=live)
    tl.store(SIGMA + g * N + rows, sigma, mask=live)


@triton.jit
def _add_pairs(
    begin, end, acc, own, own_low, a, a_low, local, live, key, side, shrink, pull, push,
    HIGH, LOW, KEY, SIDE, N2, PULL, PUSH, g, N, first, scale2,
    D: tl.constexpr, BD: tl.constexpr, STEP: tl.constexpr, OUT_D: tl.constexpr,
    OWN_ROWS: tl.constexpr, TILE: tl.constexpr, SPLIT: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Add what the pixels from `begin` to `end` push and pull to the gradient of a block."""
    tile = tl.arange(0, TILE)
    for start in range(begin, end, TILE):
        inside = start + tile < N
        high, low = HIGH + (g * N + start) * D, LOW + (g * N + start) * D
        s, b, b_low = similarities(
            own, own_low, a, a_low, local, live, high, low, tile, inside,
            D, BD, STEP, OWN_ROWS, TILE, SPLIT, WIDE,
        )  # fmt: skip
        at = g * N + start + tile
        other_key = tl.load(KEY + at, mask=inside, other=-1)
        other_side = tl.load(SIDE + at, mask=inside, other=-1)
        other_shrink = tl.exp2(-tl.load(N2 + at, mask=inside, other=0.0))
        other_pull = tl.load(PULL + at, mask=inside, other=0.0)
        other_push = tl.load(PUSH + at, mask=inside, other=0.0) * other_shrink
        e = tl.exp2(s * scale2)
        pulled = pull[:, None] / (1.0 + e * shrink[:, None])
        pulled += other_pull[None, :] / (1.0 + e * other_shrink[None, :])
        pushed = e * (push[:, None] + other_push[None, :])
        same_side = side[:, None] == other_side[None, :]
        weight = tl.where(same_side, pushed, 0.0)
        weight = tl.where(key[:, None] == other_key[None, :], -pulled, weight)
        # Pairs with an ignored pixel may be out of float16's range: they are in nobody's n.
        weight = tl.where((key >= 0)[:, None] & (other_key >= 0)[None, :], weight, 0.0)
        acc = add_weighted(
            weight, b, b_low, high, low, tile, inside, first, acc,
            D, BD, STEP, OUT_D, SPLIT, WIDE,
        )  # fmt: skip
    return acc


@triton.jit
def _gradient(
    HIGH, LOW, KEY, SIDE, N2, PULL, PUSH, UNIT, ORDER, OUT, N, scale2,
    D: tl.constexpr, BD: tl.constexpr, STEP: tl.constexpr, OUT_D: tl.constexpr,
    OWN_ROWS: tl.constexpr, TILE: tl.constexpr, SPLIT: tl.constexpr, WIDE: tl.constexpr,
    CHUNK: tl.constexpr,
):  # fmt: skip
    """Gradient by the features, in units of UNIT, both roles of a pixel at once."""
    g = tl.program_id(1).to(tl.int64)
    begin = tl.program_id(0) * OWN_ROWS
    first = tl.program_id(2) * OUT_D
    local = tl.arange(0, OWN_ROWS)
    rows = begin + local
    live = rows < N
    own, own_low = HIGH + (g * N + begin) * D, LOW + (g * N + begin) * D
    a, a_low = local, local
    if STEP == BD:
        a, a_low = load_parts(own, own_low, local, live, 0, D, BD, SPLIT)
    key = tl.load(KEY + g * N + rows, mask=live, other=-1)
    side = tl.load(SIDE + g * N + rows, mask=live, other=0)
    # 2^-n, and weights of pulling and pushing, which are 0 without negatives.
    shrink = tl.exp2(-tl.load(N2 + g * N + rows, mask=live, other=0.0))
    pull = tl.load(PULL + g * N + rows, mask=live, other=0.0)
    push = tl.load(PUSH + g * N + rows, mask=live, other=0.0) * shrink
    if SPLIT:
        for start in range(0, N, CHUNK):
            acc = tl.zeros([OWN_ROWS, OUT_D], tl.float32)
            acc = _add_pairs(
                start, tl.minimum(start + CHUNK, N), acc,
                own, own_low, a, a_low, local, live, key, side, shrink, pull, push,
                HIGH, LOW, KEY, SIDE, N2, PULL, PUSH, g, N, first, scale2,
                D, BD, STEP, OUT_D, OWN_ROWS, TILE, SPLIT, WIDE,
            )  # fmt: skip
            pixels = tl.load(ORDER + g * N + rows, mask=live, other=0)
            unit = tl.where(tl.load(KEY + g * N + rows, mask=live, other=-1) >= 0, tl.load(UNIT), 0)
            keep = tl.where(local * 0 + start > 0, 1.0, 0.0)
            scaled, to = acc * unit[:, None], OUT + g * N * D
            keep_sums(scaled, to, pixels, live, keep, first, D, OWN_ROWS, OUT_D)
    else:
        acc = tl.zeros([OWN_ROWS, OUT_D], tl.float32)
        acc = _add_pairs(
            0, N, acc, own, own_low, a, a_low, local, live, key, side, shrink, pull, push,
            HIGH, LOW, KEY, SIDE, N2, PULL, PUSH, g, N, first, scale2,
            D, BD, STEP, OUT_D, OWN_ROWS, TILE, SPLIT, WIDE,
        )  # fmt: skip
        unit = tl.where(key >= 0, tl.load(UNIT), 0.0)
        pixels = tl.load(ORDER + g * N + rows, mask=live, other=0)
        channels = first + tl.arange(0, OUT_D)
        mask = live[:, None] & (channels < D)[None, :]
        to = OUT + (g * N + pixels[:, None]) * D + channels[None, :]
        tl.store(to, rounded(acc * unit[:, None], OUT.dtype.element_ty, WIDE), mask=mask)


def pixel_grads(
    bags: PixelBags, temperature: float, ignore_index: int, need: bool
) -> tuple[Tensor, Tensor | None]:
    """Compute the released loss of `bags`, float32, and its gradient by `bags.feats_GND`.

    Features are of length at most sqrt(36 * temperature). The gradient, None if not needed, is
    bfloat16 for bfloat16 features, float32 for all others. Nothing waits for the device.
    """
    labels, feats = bags.labels_GN.contiguous(), bags.feats_GND.contiguous()
    (groups, n), channels = labels.shape, feats.shape[2]
    options, factor = launch_options(feats, temperature)
    out_channels, mutual = options.pop("OUT_D"), options.pop("MUTUAL")
    by_label, order = sorted_labels(labels)
    runs = runs_among(by_label, by_label, ignore_index)
    count = runs.count_GN
    key = runs.head_GN.masked_fill_(count == 0, -1)
    side = (order >= bags.split).to(torch.int32)
    high, low = operands(feats, order, bool(options["SPLIT"]), factor)
    n2, cost, sigma = (torch.empty_like(labels, dtype=torch.float32) for _ in range(3))
    scale2 = LOG2E / temperature / factor**2
    rows = (triton.cdiv(n, options["OWN_ROWS"]), groups)
    _value[rows](high, low, key, side, count, n2, cost, sigma, n, scale2, **options)

    w = anchor_weights(count > 0, 1, bags.total_images, torch.float32) / count.clamp(min=1)
    loss = (w * cost).sum() / LOG2E
    if not need:
        return loss, None
    pushes = n2 > -math.inf
    pull = torch.where(pushes, w, 0)
    push = torch.where(pushes, w * sigma, 0)
    largest = torch.maximum(pull, push).max().clamp(min=torch.finfo(torch.float32).tiny)
    pull, push = ((part / largest) * 2.0**HEADROOM for part in (pull, push))
    n2.masked_fill_(~pushes, 0)
    unit = largest * (2.0**-HEADROOM / temperature / factor)
    grad = torch.empty_like(feats, dtype=gradient_dtype(feats))
    grid = (*rows, triton.cdiv(channels, out_channels))
    _gradient[grid](
        high, low, key, side, n2, pull, push, unit, order, grad, n, scale2,
        **{**options, "TILE": mutual}, OUT_D=out_channels, CHUNK=CHUNK,
    )  # fmt: skip
    return loss, grad
