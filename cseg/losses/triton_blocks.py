"""What the kernels share: sizes of blocks by card, and products of a block with a tile.

A program owns a block of rows (pixels) and walks over tiles of the others. Similarities live in
registers only, and no sum uses atomics, so additions have one fixed order. Features come in one of
two forms: bfloat16 as they are (one product), or, for float32's accuracy, as the sum of two float16
parts, high and low (three products). Sums are float32. Of a kernel's arguments, those in capitals
are pointers and compile-time constants. G bags, N own rows, M others, D channels.
"""

import math
from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

LOG2E = math.log2(math.e)
CHUNK = 512  # most others over which tensor cores add up float16 products, see `keep_sums`
HEADROOM = 12  # weights are at most 2^12: float16 then has all its digits down to 2^-26 of that


@dataclass(frozen=True)
class Blocks:
    """Sizes with which a kernel is launched."""

    own: int  # rows of a program's block
    others: int  # rows of a tile
    step: int  # channels multiplied at a time; 0 keeps all channels of a block close to the cores
    out: int  # channels of the gradient that a program computes; 0 means all
    warps: int  # warps of a program
    stages: int  # tiles in flight
    mutual: int = 0  # rows of a tile in the gradient of the released form; 0: as many as others


# By card (compute capability; 0 is Triton's interpreter): channels up to -> blocks. We chose them
# by what compiles without spilling and fits into the card's shared memory, not by timing.
HALF_BLOCKS = {
    0: {512: Blocks(64, 32, 0, 0, 4, 1)},
    80: {64: Blocks(128, 64, 0, 0, 8, 3), 128: Blocks(128, 32, 0, 0, 8, 2),
         256: Blocks(64, 16, 0, 0, 4, 2), 512: Blocks(64, 32, 64, 256, 4, 2)},
    86: {64: Blocks(128, 64, 0, 0, 8, 3), 128: Blocks(128, 32, 0, 0, 8, 2),
         256: Blocks(64, 16, 0, 0, 4, 2), 512: Blocks(64, 32, 32, 256, 4, 2)},
    90: {128: Blocks(128, 64, 0, 0, 8, 3), 256: Blocks(128, 64, 0, 0, 8, 3),
         512: Blocks(128, 32, 64, 256, 8, 2)},
    100: {256: Blocks(128, 32, 0, 0, 8, 2), 512: Blocks(128, 32, 64, 256, 8, 2)},
}  # fmt: skip
SPLIT_BLOCKS = {
    0: {64: Blocks(64, 32, 0, 0, 4, 1), 512: Blocks(64, 32, 32, 32, 4, 1)},
    80: {64: Blocks(64, 32, 0, 0, 4, 2), 512: Blocks(64, 32, 32, 128, 4, 2, 16)},
    86: {64: Blocks(64, 32, 0, 0, 4, 2), 128: Blocks(64, 32, 16, 128, 4, 1, 16),
         512: Blocks(64, 32, 16, 128, 4, 1)},
    90: {128: Blocks(128, 64, 0, 0, 8, 2, 32), 256: Blocks(128, 32, 0, 0, 8, 2, 16),
         512: Blocks(128, 32, 64, 256, 8, 2, 16)},
    100: {128: Blocks(128, 32, 0, 0, 8, 1, 16), 512: Blocks(128, 32, 64, 128, 8, 1)},
}  # fmt: skip


def card_of(feats: Tensor) -> int:
    """Return the compute capability of the device, 90 for 9.0; 0 where kernels are interpreted."""
    if not feats.is_cuda:
        return 0
    major, minor = torch.cuda.get_device_capability(feats.device)
    return 10 * major + minor


def launch_options(feats_GND: Tensor, temperature: float) -> tuple[dict[str, int], float]:
    """Compile-time constants and launch options for these features, and the operands' factor.

    The factor, a power of two, brings features into the range in which float16 has all its digits:
    as long as their similarities are at most 36, they stay below 2^12.
    """
    card, channels = card_of(feats_GND), feats_GND.shape[2]
    split = feats_GND.dtype != torch.bfloat16
    table = SPLIT_BLOCKS if split else HALF_BLOCKS
    like = {87: 80, 89: 86, 120: 86, 121: 86}.get(card, card)
    sizes = table[max(known for known in table if known <= like) if like else 0]
    blocks = sizes[min(size for size in sizes if size >= channels)]
    padded = max(16, triton.next_power_of_2(channels))
    options = {
        "D": channels,
        "BD": padded,
        "STEP": min(blocks.step or padded, padded),
        "OUT_D": min(blocks.out or padded, padded),
        "OWN_ROWS": blocks.own,
        "TILE": blocks.others,
        "SPLIT": split,
        "WIDE": card == 0,
        "MUTUAL": blocks.mutual or blocks.others,
        "num_warps": blocks.warps,
        "num_stages": blocks.stages,
    }
    return options, 2.0 ** round(8 - math.log2(temperature) / 2) if split else 1.0


def gradient_dtype(feats: Tensor) -> torch.dtype:
    """bfloat16 for bfloat16 features; float32 otherwise, as float16 underflows unscaled."""
    return torch.bfloat16 if feats.dtype == torch.bfloat16 else torch.float32


@triton.jit
def load_rows(base, rows, live, first, D: tl.constexpr, WIDTH: tl.constexpr):
    """Load channels `first` to `first + WIDTH` of some rows; 0 where a row is not live."""
    channels = first + tl.arange(0, WIDTH)
    mask = live[:, None] & (channels < D)[None, :]
    return tl.load(base + rows[:, None] * D + channels[None, :], mask=mask, other=0.0)


@triton.jit
def load_parts(
    high, low, rows, live, first, D: tl.constexpr, WIDTH: tl.constexpr, SPLIT: tl.constexpr
):
    """Load both parts of features; without SPLIT there is one, returned twice."""
    part = load_rows(high, rows, live, first, D, WIDTH)
    if SPLIT:
        return part, load_rows(low, rows, live, first, D, WIDTH)
    return part, part


@triton.jit
def dot(a, b, acc, WIDE: tl.constexpr):
    """Multiply on tensor cores; WIDE, for the interpreter, which cannot multiply bfloat16."""
    if WIDE:
        return tl.dot(a.to(tl.float32), b.to(tl.float32), acc, input_precision="ieee")
    return tl.dot(a, b, acc)


@triton.jit
def rounded(values, dtype: tl.constexpr, WIDE: tl.constexpr):
    """Values to the nearest of `dtype`; WIDE, for the interpreter, which cuts bfloat16 off."""
    if WIDE and dtype == tl.bfloat16:
        bits = values.to(tl.int32, bitcast=True)
        values = (bits + 0x7FFF + ((bits >> 16) & 1)).to(tl.float32, bitcast=True)
    return values.to(dtype)


@triton.jit
def products(a, a_low, b, b_low, acc, SPLIT: tl.constexpr, WIDE: tl.constexpr):
    """Add a @ b to `acc`, the smallest terms first; low @ low is below float32's last digit."""
    if SPLIT:
        acc = dot(a_low, b, acc, WIDE)
        acc = dot(a, b_low, acc, WIDE)
    return dot(a, b, acc, WIDE)


@triton.jit
def similarities(
    own, own_low, a, a_low, local, live, other, other_low, tile, inside,
    D: tl.constexpr, BD: tl.constexpr, STEP: tl.constexpr, OWN_ROWS: tl.constexpr,
    TILE: tl.constexpr, SPLIT: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Products of a block with a tile, and the tile; without STEP == BD, the tile is not held.

    Then both are loaded and multiplied STEP channels at a time, and `a` and `a_low` are not read.
    """
    acc = tl.zeros([OWN_ROWS, TILE], tl.float32)
    if STEP == BD:
        b, b_low = load_parts(other, other_low, tile, inside, 0, D, BD, SPLIT)
        acc = products(a, a_low, tl.trans(b), tl.trans(b_low), acc, SPLIT, WIDE)
    else:
        b, b_low = tile, tile
        for first in range(0, D, STEP):
            c, c_low = load_parts(own, own_low, local, live, first, D, STEP, SPLIT)
            d, d_low = load_parts(other, other_low, tile, inside, first, D, STEP, SPLIT)
            acc = products(c, c_low, tl.trans(d), tl.trans(d_low), acc, SPLIT, WIDE)
    return acc, b, b_low


@triton.jit
def add_weighted(
    weight, b, b_low, other, other_low, tile, inside, first, acc,
    D: tl.constexpr, BD: tl.constexpr, STEP: tl.constexpr, OUT_D: tl.constexpr,
    SPLIT: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Add weight @ other to `acc`: OUT_D channels from `first` on, from the tile if it has all."""
    if STEP != BD or OUT_D != BD:
        b, b_low = load_parts(other, other_low, tile, inside, first, D, OUT_D, SPLIT)
    high = rounded(weight, other.dtype.element_ty, WIDE)
    low = high
    if SPLIT:
        low = (weight - high.to(tl.float32)).to(other.dtype.element_ty)
    return products(high, low, b, b_low, acc, SPLIT, WIDE)


@triton.jit
def halves(block, ROWS: tl.constexpr, WIDTH: tl.constexpr):
    """Left and right half of the columns of a block."""
    return tl.split(tl.permute(tl.reshape(block, (ROWS, 2, WIDTH // 2)), (0, 2, 1)))


@triton.jit
def keep_sums(
    acc, out, rows, live, keep, first,
    D: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Set rows of `out` to `keep` times themselves plus `acc`, float32; 16 columns at a time.

    Tensor cores cut off what does not fit into a sum, the other cores round. The error grows with
    the number of products added up: 1.4e-5 of a gradient after 3,000 rows in three products each.
    So with SPLIT their sums are of one chunk, and `out` collects them. Where `keep` is 0, `out` is
    not read.
    """
    if WIDTH > 16:
        left, right = halves(acc, ROWS, WIDTH)
        keep_sums(left, out, rows, live, keep, first, D, ROWS, WIDTH // 2)
        keep_sums(right, out, rows, live, keep, first + WIDTH // 2, D, ROWS, WIDTH // 2)
    else:
        channels = first + tl.arange(0, WIDTH)
        mask = live[:, None] & (channels < D)[None, :]
        at = out + rows[:, None] * D + channels[None, :]
        before = tl.load(at, mask=mask & (keep > 0)[:, None], other=0.0)
        tl.store(at, before * keep[:, None] + acc, mask=mask)
        tl.debug_barrier()
