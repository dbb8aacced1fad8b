"""Fused CUDA backend: similarities live in registers only, and no sum uses atomics.

Every kernel owns a block of rows and walks over all columns, so results have one fixed order of
addition. bfloat16 features go to the tensor cores as they are, with float32 accumulation; float32
features take IEEE products; float16 is widened, since gradients of pairs underflow in it. s2, n2
and lse2 are similarities and logarithms in base 2. Runs on a CPU under TRITON_INTERPRET=1.
"""

# mypy: disallow-untyped-defs=False
# Pointers and blocks of a kernel have no Python types.

import math
from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from cseg.losses.scopes import CandidateBags, Needs, PixelBags, anchor_weights

LOG2E = math.log2(math.e)


@triton.jit
def _load_rows(base, rows, count, D: tl.constexpr, BD: tl.constexpr):
    cols = tl.arange(0, BD)
    mask = (rows[:, None] < count) & (cols[None, :] < D)
    return tl.load(base + rows[:, None].to(tl.int64) * D + cols[None, :], mask=mask, other=0.0)


@triton.jit
def _store_rows(base, rows, count, values, D: tl.constexpr, BD: tl.constexpr):
    cols = tl.arange(0, BD)
    mask = (rows[:, None] < count) & (cols[None, :] < D)
    tl.store(base + rows[:, None].to(tl.int64) * D + cols[None, :], values, mask=mask)


@triton.jit
def _pair_masks(la, lb, rows, cols, N, M, ignore, shared):
    """Positive pairs, and pairs that enter the denominator, of the paper's form."""
    real = (rows < N)[:, None] & (la != ignore)[:, None] & ((cols < M) & (lb != ignore))[None, :]
    positive = real & (la[:, None] == lb[None, :])
    return positive, positive | (real & (cols < shared)[None, :])


@triton.jit
def _candidates_value(
    X, LA, Y, LB, LSE, MEAN, COUNT, N, M, shared, ignore, scale,
    D: tl.constexpr, BD: tl.constexpr, BLOCK: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Log-sum-exp over candidates, mean similarity and number of positives, per anchor."""
    g = tl.program_id(1).to(tl.int64)
    rows = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = _load_rows(X + g * N * D, rows, N, D, BD)
    la = tl.load(LA + g * N + rows, mask=rows < N, other=0)
    top = tl.full([BLOCK], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK], tl.float32)
    pulled = tl.zeros([BLOCK], tl.float32)
    count = tl.zeros([BLOCK], tl.float32)
    for start in range(0, M, BLOCK):
        cols = start + tl.arange(0, BLOCK)
        y = _load_rows(Y + g * M * D, cols, M, D, BD)
        lb = tl.load(LB + g * M + cols, mask=cols < M, other=0)
        positive, enters = _pair_masks(la, lb, rows, cols, N, M, ignore, shared)
        s2 = tl.dot(x, tl.trans(y), input_precision=PRECISION) * scale
        new_top = tl.maximum(top, tl.max(tl.where(enters, s2, float("-inf")), 1))
        base = tl.where(new_top == float("-inf"), 0.0, new_top)
        total = total * tl.exp2(top - base) + tl.sum(
            tl.where(enters, tl.exp2(s2 - base[:, None]), 0.0), 1
        )
        top = new_top
        pulled += tl.sum(tl.where(positive, s2, 0.0), 1)
        count += tl.sum(positive.to(tl.float32), 1)
    # An anchor without candidates gets +inf: its exponentials are 0 in the gradient.
    lse = tl.where(total > 0, top + tl.log2(tl.maximum(total, 1e-37)), float("inf"))
    tl.store(LSE + g * N + rows, lse, mask=rows < N)
    tl.store(MEAN + g * N + rows, pulled / tl.maximum(count, 1.0), mask=rows < N)
    tl.store(COUNT + g * N + rows, count, mask=rows < N)


@triton.jit
def _candidates_grad(
    X, LA, Y, LB, LSE, COUNT, W, OUT, N, M, shared, ignore, scale,
    D: tl.constexpr, BD: tl.constexpr, BLOCK: tl.constexpr, PRECISION: tl.constexpr,
    BY_ANCHOR: tl.constexpr,
):  # fmt: skip
    """Gradient by anchors (a block of them over all candidates) or by candidates (vice versa)."""
    g = tl.program_id(1).to(tl.int64)
    own = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    if BY_ANCHOR:
        mine = _load_rows(X + g * N * D, own, N, D, BD)
        steps = M
    else:
        mine = _load_rows(Y + g * M * D, own, M, D, BD)
        steps = N
    acc = tl.zeros([BLOCK, BD], tl.float32)
    for start in range(0, steps, BLOCK):
        others = start + tl.arange(0, BLOCK)
        if BY_ANCHOR:
            theirs = _load_rows(Y + g * M * D, others, M, D, BD)
            rows, cols, x, y = own, others, mine, theirs
        else:
            theirs = _load_rows(X + g * N * D, others, N, D, BD)
            rows, cols, x, y = others, own, theirs, mine
        la = tl.load(LA + g * N + rows, mask=rows < N, other=0)
        lb = tl.load(LB + g * M + cols, mask=cols < M, other=0)
        lse = tl.load(LSE + g * N + rows, mask=rows < N, other=float("inf"))
        w = tl.load(W + g * N + rows, mask=rows < N, other=0.0)
        count = tl.load(COUNT + g * N + rows, mask=rows < N, other=1.0)
        positive, enters = _pair_masks(la, lb, rows, cols, N, M, ignore, shared)
        s2 = tl.dot(x, tl.trans(y), input_precision=PRECISION) * scale
        grad = tl.where(enters, tl.exp2(s2 - lse[:, None]), 0.0)
        grad -= tl.where(positive, 1.0 / tl.maximum(count, 1.0)[:, None], 0.0)
        grad = grad * w[:, None]
        if BY_ANCHOR:
            acc += tl.dot(grad.to(theirs.dtype), theirs, input_precision=PRECISION)
        else:
            acc += tl.dot(tl.trans(grad).to(theirs.dtype), theirs, input_precision=PRECISION)
    if BY_ANCHOR:
        _store_rows(OUT + g * N * D, own, N, acc, D, BD)
    else:
        _store_rows(OUT + g * M * D, own, M, acc, D, BD)


@triton.jit
def _pixels_value(
    F, L, SIDE, N2, COUNT, N, ignore, scale,
    D: tl.constexpr, BD: tl.constexpr, BLOCK: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Log-sum-exp over negatives, and number of positives, per pixel of the released form."""
    g = tl.program_id(1).to(tl.int64)
    rows = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = _load_rows(F + g * N * D, rows, N, D, BD)
    la = tl.load(L + g * N + rows, mask=rows < N, other=ignore)
    side = tl.load(SIDE + g * N + rows, mask=rows < N, other=0)
    top = tl.full([BLOCK], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK], tl.float32)
    count = tl.zeros([BLOCK], tl.float32)
    for start in range(0, N, BLOCK):
        cols = start + tl.arange(0, BLOCK)
        y = _load_rows(F + g * N * D, cols, N, D, BD)
        lb = tl.load(L + g * N + cols, mask=cols < N, other=ignore)
        other_side = tl.load(SIDE + g * N + cols, mask=cols < N, other=0)
        real = (la != ignore)[:, None] & (lb != ignore)[None, :]
        same = la[:, None] == lb[None, :]
        negative = real & (same == 0) & (side[:, None] == other_side[None, :])
        s2 = tl.dot(x, tl.trans(y), input_precision=PRECISION) * scale
        new_top = tl.maximum(top, tl.max(tl.where(negative, s2, float("-inf")), 1))
        base = tl.where(new_top == float("-inf"), 0.0, new_top)
        total = total * tl.exp2(top - base) + tl.sum(
            tl.where(negative, tl.exp2(s2 - base[:, None]), 0.0), 1
        )
        top = new_top
        count += tl.sum((real & same).to(tl.float32), 1)
    n2 = tl.where(total > 0, top + tl.log2(tl.maximum(total, 1e-37)), float("-inf"))
    tl.store(N2 + g * N + rows, n2, mask=rows < N)
    tl.store(COUNT + g * N + rows, count, mask=rows < N)


@triton.jit
def _pixels_positives(
    F, L, N2, COST, T, N, ignore, scale,
    D: tl.constexpr, BD: tl.constexpr, BLOCK: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Sum of softplus (in base 2) and of sigmoid over positives; blocks without any are skipped."""
    g = tl.program_id(1).to(tl.int64)
    rows = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = _load_rows(F + g * N * D, rows, N, D, BD)
    la = tl.load(L + g * N + rows, mask=rows < N, other=ignore)
    n2 = tl.load(N2 + g * N + rows, mask=rows < N, other=float("-inf"))
    cost = tl.zeros([BLOCK], tl.float32)
    t = tl.zeros([BLOCK], tl.float32)
    for start in range(0, N, BLOCK):
        cols = start + tl.arange(0, BLOCK)
        lb = tl.load(L + g * N + cols, mask=cols < N, other=ignore)
        positive = (la != ignore)[:, None] & (la[:, None] == lb[None, :])
        if tl.max(tl.max(positive.to(tl.int32), 1), 0) > 0:
            y = _load_rows(F + g * N * D, cols, N, D, BD)
            gap = n2[:, None] - tl.dot(x, tl.trans(y), input_precision=PRECISION) * scale
            small = tl.exp2(-tl.abs(gap))
            soft = tl.maximum(gap, 0.0) + tl.log2(1.0 + small)
            cost += tl.sum(tl.where(positive, soft, 0.0), 1)
            sigma = tl.where(gap > 0, 1.0, small) / (1.0 + small)
            t += tl.sum(tl.where(positive, sigma, 0.0), 1)
    tl.store(COST + g * N + rows, cost, mask=rows < N)
    tl.store(T + g * N + rows, t, mask=rows < N)


@triton.jit
def _pixels_grad(
    F, L, SIDE, N2, W, WT, OUT, N, ignore, scale,
    D: tl.constexpr, BD: tl.constexpr, BLOCK: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Gradient by the features, both roles of a pixel (anchor and candidate) at once."""
    g = tl.program_id(1).to(tl.int64)
    rows = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = _load_rows(F + g * N * D, rows, N, D, BD)
    la = tl.load(L + g * N + rows, mask=rows < N, other=ignore)
    side = tl.load(SIDE + g * N + rows, mask=rows < N, other=0)
    n_a = tl.load(N2 + g * N + rows, mask=rows < N, other=float("-inf"))[:, None]
    w_a = tl.load(W + g * N + rows, mask=rows < N, other=0.0)[:, None]
    wt_a = tl.load(WT + g * N + rows, mask=rows < N, other=0.0)[:, None]
    acc = tl.zeros([BLOCK, BD], tl.float32)
    for start in range(0, N, BLOCK):
        cols = start + tl.arange(0, BLOCK)
        y = _load_rows(F + g * N * D, cols, N, D, BD)
        lb = tl.load(L + g * N + cols, mask=cols < N, other=ignore)
        other_side = tl.load(SIDE + g * N + cols, mask=cols < N, other=0)
        n_b = tl.load(N2 + g * N + cols, mask=cols < N, other=float("-inf"))[None, :]
        w_b = tl.load(W + g * N + cols, mask=cols < N, other=0.0)[None, :]
        wt_b = tl.load(WT + g * N + cols, mask=cols < N, other=0.0)[None, :]
        real = (la != ignore)[:, None] & (lb != ignore)[None, :]
        same = la[:, None] == lb[None, :]
        negative = real & (same == 0) & (side[:, None] == other_side[None, :])
        s2 = tl.dot(x, tl.trans(y), input_precision=PRECISION) * scale
        push_a, push_b = tl.exp2(s2 - n_a), tl.exp2(s2 - n_b)  # inf on pairs that are masked below
        pull = w_a / (1.0 + push_a) + w_b / (1.0 + push_b)
        grad = tl.where(negative, wt_a * push_a + wt_b * push_b, 0.0)
        grad -= tl.where(real & same, pull, 0.0)
        acc += tl.dot(grad.to(y.dtype), y, input_precision=PRECISION)
    _store_rows(OUT + g * N * D, rows, N, acc, D, BD)


def candidate_grads(
    bags: CandidateBags, temperature: float, ignore_index: int, needs: Needs
) -> tuple[Tensor, Sequence[Tensor | None]]:
    """Compute the paper's loss of `bags`, a scalar, and its gradients by anchors and candidates."""
    la, lb = bags.anchor_labels_GN.contiguous(), bags.cand_labels_GM.contiguous()
    (groups, n), m = la.shape, lb.shape[1]
    x, y = _ready(bags.anchors_GND), _ready(bags.cands_GMD)
    options = _launch_options(x)
    lse, mean, count = (la.new_empty(groups, n, dtype=torch.float32) for _ in range(3))
    sizes = (n, m, bags.shared, ignore_index, LOG2E / temperature)
    rows = (triton.cdiv(n, options["BLOCK"]), groups)
    _candidates_value[rows](x, la, y, lb, lse, mean, count, *sizes, **options)
    w = anchor_weights(count > 0, bags.images_per_bag, bags.total_images, torch.float32)
    loss = torch.where(w > 0, w * (lse - mean), 0).sum() / LOG2E
    w /= temperature
    grads = [
        torch.empty_like(f, dtype=torch.float32) if need else None for f, need in zip((x, y), needs)
    ]
    cols = (triton.cdiv(m, options["BLOCK"]), groups)
    for grad, grid, by_anchor in zip(grads, (rows, cols), (True, False)):
        if grad is not None:
            arguments = (x, la, y, lb, lse, count, w, grad, *sizes)
            _candidates_grad[grid](*arguments, **options, BY_ANCHOR=by_anchor)
    return loss, grads


def pixel_grads(
    bags: PixelBags, temperature: float, ignore_index: int, need: bool
) -> tuple[Tensor, Tensor | None]:
    """Compute the released loss of `bags`, a scalar, and its gradient (G,N,D) by all pixels."""
    # In the order of labels, most blocks hold no positives and are skipped when these are visited.
    labels, order = bags.labels_GN.sort(dim=1, stable=True)
    side = (order >= bags.split).to(torch.int32)
    groups, n = labels.shape
    feats_GND = bags.feats_GND
    index = order[:, :, None].expand(feats_GND.shape)
    f = _ready(feats_GND.gather(1, index))
    options = _launch_options(f)
    n2, count, cost, t = (f.new_empty(groups, n, dtype=torch.float32) for _ in range(4))
    sizes = (n, ignore_index, LOG2E / temperature)
    grid = (triton.cdiv(n, options["BLOCK"]), groups)
    _pixels_value[grid](f, labels, side, n2, count, *sizes, **options)
    _pixels_positives[grid](f, labels, n2, cost, t, *sizes, **options)
    w = anchor_weights(count > 0, 1, bags.total_images, torch.float32) / count.clamp(min=1)
    loss = (w * cost).sum() / LOG2E
    if not need:
        return loss, None
    w /= temperature
    sorted_grad = torch.empty_like(f, dtype=torch.float32)
    _pixels_grad[grid](f, labels, side, n2, w, w * t, sorted_grad, *sizes, **options)
    return loss, torch.empty_like(sorted_grad).scatter_(1, index, sorted_grad)


def _ready(feats: Tensor) -> Tensor:
    # The interpreter (CPU) multiplies bfloat16 as if they were integers: widened there, too.
    widen = feats.dtype == torch.float16 or not feats.is_cuda
    return (feats.float() if widen else feats).contiguous()


def _launch_options(feats_GND: Tensor) -> dict:
    channels = feats_GND.shape[2]
    padded = max(16, triton.next_power_of_2(channels))
    row_bytes = padded * feats_GND.element_size()
    # Sized to the 99 KiB of shared memory of consumer GPUs; pipelining doubles what a loop loads.
    block = 128 if row_bytes <= 128 else 64 if row_bytes <= 512 else 32
    if row_bytes > 1024:
        block = 16
    return {
        "D": channels,
        "BD": padded,
        "BLOCK": block,
        "PRECISION": "ieee",
        "num_stages": 2 if row_bytes <= 512 else 1,
    }
