"""What needs no pairs: where classes lie, class sums, and features made ready to multiply.

G bags, N own rows, M others, D channels.
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

LARGE = 16  # classes of at least so many pixels have a row in the table of class sums


@dataclass(frozen=True)
class Runs:
    """Where each row's class lies among others that are sorted by label."""

    head_GN: Tensor  # position of the first of the row's class, int32: the number of smaller labels
    count_GN: Tensor  # number of others of the row's class, int32; 0 for an ignored row


def sorted_labels(labels_GN: Tensor) -> tuple[Tensor, Tensor]:
    """The labels of each bag, sorted stably, and where they were: (G,N) int32."""
    values, order = labels_GN.sort(dim=1, stable=True)
    return values, order.int()


def runs_among(labels_GN: Tensor, sorted_GM: Tensor, ignore_index: int) -> Runs:
    """Where each row's class lies among sorted labels."""
    head = torch.searchsorted(sorted_GM, labels_GN, out_int32=True)
    end = torch.searchsorted(sorted_GM, labels_GN, out_int32=True, right=True)
    return Runs(head, (end - head).masked_fill_(labels_GN == ignore_index, 0))


@triton.jit
def _class_sums(
    FEATS, WEIGHT, ORDER, HEAD, COUNT, TABLE, M, slots,
    D: tl.constexpr, LARGE: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Row s of the table: the weighted sum over the large class that begins in slot s, if any."""
    g = tl.program_id(1).to(tl.int64)
    slot = tl.program_id(0)
    channels = tl.program_id(2) * WIDTH + tl.arange(0, WIDTH)
    places = slot * LARGE + tl.arange(0, LARGE)
    first = tl.load(ORDER + g * M + places, mask=places < M, other=0)
    head = tl.load(HEAD + g * M + first, mask=places < M, other=-1)
    count = tl.load(COUNT + g * M + first, mask=places < M, other=0)
    begins = (head == places) & (count >= LARGE)
    begin = tl.max(tl.where(begins, places, 0), 0)
    end = begin + tl.max(tl.where(begins, count, 0), 0)
    acc = tl.zeros([ROWS, WIDTH], tl.float32)
    for start in range(begin, end, ROWS):
        at = start + tl.arange(0, ROWS)
        rows = tl.load(ORDER + g * M + at, mask=at < end, other=0)
        weight = tl.load(WEIGHT + g * M + rows, mask=at < end, other=0.0)
        mask = (at < end)[:, None] & (channels < D)[None, :]
        where = g * M * D + rows[:, None].to(tl.int64) * D + channels[None, :]
        acc += weight[:, None] * tl.load(FEATS + where, mask=mask, other=0.0).to(tl.float32)
    to = TABLE + (g * slots + slot) * D + channels
    tl.store(to, tl.sum(acc, 0), mask=(channels < D) & (end > begin))


def class_sums(feats_GMD: Tensor, weight_GM: Tensor, order_GM: Tensor, runs: Runs) -> Tensor:
    """Sum the weighted features of each large class: (G,slots,D) float32.

    A class whose run begins at `head` has row head // LARGE; other rows are not written.
    """
    groups, m, channels = feats_GMD.shape
    slots = triton.cdiv(m, LARGE)
    table = feats_GMD.new_empty(groups, slots, channels, dtype=torch.float32)
    options = {"D": channels, "LARGE": LARGE, "ROWS": 32, "WIDTH": 64}
    _class_sums[(slots, groups, triton.cdiv(channels, 64))](
        feats_GMD, weight_GM, order_GM, runs.head_GN, runs.count_GN, table, m, slots, **options
    )
    return table


@triton.jit
def _operands(
    FEATS, ORDER, HIGH, LOW, N, factor,
    D: tl.constexpr, SPLIT: tl.constexpr, SORTED: tl.constexpr, ROWS: tl.constexpr,
    WIDTH: tl.constexpr,
):  # fmt: skip
    g = tl.program_id(1).to(tl.int64)
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    channels = tl.program_id(2) * WIDTH + tl.arange(0, WIDTH)
    mask = (rows < N)[:, None] & (channels < D)[None, :]
    source = rows
    if SORTED:
        source = tl.load(ORDER + g * N + rows, mask=rows < N, other=0)
    there = g * N * D + source[:, None].to(tl.int64) * D + channels[None, :]
    here = g * N * D + rows[:, None].to(tl.int64) * D + channels[None, :]
    values = tl.load(FEATS + there, mask=mask, other=0.0)
    if SPLIT:
        wide = values.to(tl.float32) * factor
        high = wide.to(tl.float16)
        tl.store(HIGH + here, high, mask=mask)
        tl.store(LOW + here, (wide - high.to(tl.float32)).to(tl.float16), mask=mask)
    else:
        tl.store(HIGH + here, values, mask=mask)


def operands(
    feats_GND: Tensor, order_GN: Tensor | None, split: bool, factor: float
) -> tuple[Tensor, Tensor]:
    """The high and low part of the features, rows taken in an order; the same twice unless split.

    Split, both are float16 and add up to factor * features.
    """
    if not split and order_GN is None:
        return feats_GND, feats_GND
    groups, n, channels = feats_GND.shape
    high = torch.empty_like(feats_GND, dtype=torch.float16 if split else feats_GND.dtype)
    low = torch.empty_like(high) if split else high
    order = high if order_GN is None else order_GN
    options = {"D": channels, "SPLIT": split, "SORTED": order_GN is not None}
    grid = (triton.cdiv(n, 32), groups, triton.cdiv(channels, 64))
    _operands[grid](feats_GND, order, high, low, n, factor, **options, ROWS=32, WIDTH=64)
    return high, low
