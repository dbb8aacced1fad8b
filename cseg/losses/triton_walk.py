"""Kernel of the paper's form: a weighted sum of the others' features, as in attention.

out_p = scale_p Σ_k 2^(s_pk + bias_k) y_k - pull_p Σ_(k of p's class) weight_k y_k, where s is in
base 2. The second sum needs no pairs: it comes from a table of class sums.
"""

import triton
import triton.language as tl

from cseg.losses.triton_blocks import (
    add_weighted,
    halves,
    keep_sums,
    load_parts,
    load_rows,
    rounded,
    similarities,
)


@triton.jit
def _finish(
    acc, own, others, weights, order, table, out, rows, live, head, count, pull, first,
    D: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr, LARGE: tl.constexpr,
    SPLIT: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Subtract the class sums, store, and return own @ class sums; 32 columns at a time.

    With SPLIT, `acc` is the factor of the sums that `out` holds.
    """
    if WIDTH > 32:
        left, right = acc, acc
        if not SPLIT:
            left, right = halves(acc, ROWS, WIDTH)
        return _finish(
            left, own, others, weights, order, table, out, rows, live, head, count, pull, first,
            D, ROWS, WIDTH // 2, LARGE, SPLIT, WIDE,
        ) + _finish(
            right, own, others, weights, order, table, out, rows, live, head, count, pull,
            first + WIDTH // 2, D, ROWS, WIDTH // 2, LARGE, SPLIT, WIDE,
        )  # fmt: skip
    small = live & (count < LARGE)
    sums = load_rows(table, head // LARGE, live & (count >= LARGE), first, D, WIDTH)
    for member in range(tl.max(tl.where(small, count, 0), 0)):
        here = small & (member < count)
        row = tl.load(order + head + member, mask=here, other=0)
        weight = tl.load(weights + row, mask=here, other=0.0)
        feats = load_rows(others, row.to(tl.int64), here, first, D, WIDTH)
        sums += weight[:, None] * feats.to(tl.float32)
    channels = first + tl.arange(0, WIDTH)
    mask = live[:, None] & (channels < D)[None, :]
    if SPLIT:
        acc = acc[:, None] * load_rows(out, rows, live, first, D, WIDTH)
    values = rounded(acc - pull[:, None] * sums, out.dtype.element_ty, WIDE)
    tl.store(out + rows[:, None] * D + channels[None, :], values, mask=mask)
    return tl.sum(load_rows(own, rows, live, first, D, WIDTH).to(tl.float32) * sums, 1)


@triton.jit
def _add_tiles(
    from_tile, to_tile, acc, total, top, own, own_low, a, a_low, local, live, key,
    OTHER, OTHER_LOW, BIAS, OTHER_KEY, g, M, free, free_tiles, run_first, run_last, first, scale2,
    D: tl.constexpr, BD: tl.constexpr, STEP: tl.constexpr, OUT_D: tl.constexpr,
    OWN_ROWS: tl.constexpr, TILE: tl.constexpr, SPLIT: tl.constexpr, WIDE: tl.constexpr,
    SUM: tl.constexpr, SLICED: tl.constexpr, HEADROOM: tl.constexpr,
):  # fmt: skip
    """Add the weighted others of some tiles to `acc`, their weights to `total`.

    `top`, with SPLIT and SUM, is the largest exponent so far, in whose units both are.
    """
    tile = tl.arange(0, TILE)
    for number in range(from_tile, to_tile):
        start = number * TILE
        stop = free
        if SLICED:
            inner = number >= free_tiles
            start = tl.where(inner, run_first + (number - free_tiles) * TILE, start)
            stop = tl.where(inner, run_last, free)
        inside = start + tile < stop
        other = OTHER + (g * M + start) * D
        other_low = OTHER_LOW + (g * M + start) * D
        bias = tl.load(BIAS + g * M + start + tile, mask=inside, other=float("-inf"))
        s, b, b_low = similarities(
            own, own_low, a, a_low, local, live, other, other_low, tile, inside,
            D, BD, STEP, OWN_ROWS, TILE, SPLIT, WIDE,
        )  # fmt: skip
        s2 = s * scale2 + bias[None, :]
        if SLICED:
            mask = inside & (start + tile >= free)
            other_key = tl.load(
                OTHER_KEY + g * (M - free) + start + tile - free, mask=mask, other=-2
            )
            meets = (start + tile < free)[None, :] | (key[:, None] == other_key[None, :])
            s2 = tl.where(meets, s2, float("-inf"))
        if SPLIT and SUM:  # float16 parts need weights in its range: the largest becomes 2^HEADROOM
            new_top = tl.maximum(top, tl.max(s2, 1))
            base = tl.where(new_top == float("-inf"), 0.0, new_top - HEADROOM)
            fade = tl.exp2(top - new_top)
            fade = tl.where(new_top == float("-inf"), 0.0, fade)
            weight = tl.exp2(s2 - base[:, None])
            total *= fade
            acc *= fade[:, None]
            top = new_top
        else:
            if SPLIT:  # only an ignored row, which no sum has seen, gets larger weights
                s2 = tl.minimum(s2, HEADROOM + 1)
            weight = tl.exp2(s2)
        if SUM:
            total += tl.sum(weight, 1)
        acc = add_weighted(
            weight, b, b_low, other, other_low, tile, inside, first, acc,
            D, BD, STEP, OUT_D, SPLIT, WIDE,
        )  # fmt: skip
    return acc, total, top


@triton.jit
def walk(
    OWN, OWN_LOW, OTHER, OTHER_LOW, BIAS, SCALE, LSE, PULLED, OUT,
    FEATS, OTHER_FEATS, WEIGHT, ORDER, TABLE, HEAD, COUNT, PULL,
    ROW, RUN_HEAD, RUN_COUNT, OTHER_KEY,
    N, M, first_row, last_row, free, slots, scale2,
    D: tl.constexpr, BD: tl.constexpr, STEP: tl.constexpr, OUT_D: tl.constexpr,
    OWN_ROWS: tl.constexpr, TILE: tl.constexpr, SPLIT: tl.constexpr, WIDE: tl.constexpr,
    CHUNK: tl.constexpr, SUM: tl.constexpr, SLICED: tl.constexpr, HEADROOM: tl.constexpr,
    LARGE: tl.constexpr,
):  # fmt: skip
    """One pass over all pairs of own rows and others; SUM, by the sum of weights of each row.

    If SLICED, others from `free` on are sorted by label and compared with rows of that label.
    """
    g = tl.program_id(1).to(tl.int64)
    begin = first_row + tl.program_id(0) * OWN_ROWS
    first = tl.program_id(2) * OUT_D
    local = tl.arange(0, OWN_ROWS)
    live = begin + local < last_row
    own = OWN + (g * N + begin) * D
    own_low = OWN_LOW + (g * N + begin) * D
    rows = begin + local
    if SLICED:
        rows = tl.load(ROW + g * N + rows, mask=live, other=0)
    a, a_low = local, local
    if STEP == BD:
        a, a_low = load_parts(own, own_low, local, live, 0, D, BD, SPLIT)
    tiles = tl.cdiv(free, TILE)
    free_tiles, run_first, run_last, key = tiles, 0, 0, local
    if SLICED:
        run = tl.load(RUN_HEAD + g * N + rows, mask=live, other=0)
        run_count = tl.load(RUN_COUNT + g * N + rows, mask=live, other=0)
        key = tl.where(run_count > 0, run, -1)
        run_first = free + tl.min(tl.where(run_count > 0, run, M), 0)
        run_last = free + tl.max(run + run_count, 0)
        tiles += tl.cdiv(tl.maximum(run_last - run_first, 0), TILE)

    acc = tl.zeros([OWN_ROWS, OUT_D], tl.float32)
    total = tl.zeros([OWN_ROWS], tl.float32)
    top = tl.full([OWN_ROWS], float("-inf"), tl.float32)
    if SPLIT:
        # At least one chunk: rows without others get zeros.
        for chunk in range(0, tl.maximum(tiles, 1), CHUNK // TILE):
            before = top
            acc, total, top = _add_tiles(
                chunk, tl.minimum(chunk + CHUNK // TILE, tiles), acc, total, top,
                own, own_low, a, a_low, local, live, key, OTHER, OTHER_LOW, BIAS, OTHER_KEY,
                g, M, free, free_tiles, run_first, run_last, first, scale2,
                D, BD, STEP, OUT_D, OWN_ROWS, TILE, SPLIT, WIDE, SUM, SLICED, HEADROOM,
            )  # fmt: skip
            keep = tl.where(local * 0 + chunk > 0, 1.0, 0.0)
            if SUM:
                keep = tl.where(top == float("-inf"), 0.0, tl.exp2(before - top))
            if SLICED:  # loaded again, which takes no register meanwhile
                rows = tl.load(ROW + g * N + begin + local, mask=live, other=0)
            to = OUT + g * N * D
            keep_sums(acc, to, rows.to(tl.int64), live, keep, first, D, OWN_ROWS, OUT_D)
            acc = tl.zeros([OWN_ROWS, OUT_D], tl.float32)
    else:
        acc, total, top = _add_tiles(
            0, tiles, acc, total, top,
            own, own_low, a, a_low, local, live, key, OTHER, OTHER_LOW, BIAS, OTHER_KEY,
            g, M, free, free_tiles, run_first, run_last, first, scale2,
            D, BD, STEP, OUT_D, OWN_ROWS, TILE, SPLIT, WIDE, SUM, SLICED, HEADROOM,
        )  # fmt: skip

    if SLICED:
        rows = tl.load(ROW + g * N + begin + local, mask=live, other=0)
    scale = tl.load(SCALE + g * N + rows, mask=live, other=0.0)
    if SUM:
        # A row that meets nothing gets +inf: its exponentials are 0 in the other pass.
        lse2 = tl.where(total > 0, tl.log2(tl.maximum(total, 1e-37)), float("inf"))
        if SPLIT:
            lse2 += tl.where(total > 0, top - HEADROOM, 0.0)
        tl.store(LSE + g * N + rows, lse2, mask=live & (first == 0))
        scale = scale / tl.maximum(total, 1e-37)
    head = tl.load(HEAD + g * N + rows, mask=live, other=0)
    count = tl.load(COUNT + g * N + rows, mask=live, other=0)
    pull = tl.load(PULL + g * N + rows, mask=live, other=0.0)
    scaled = scale
    if not SPLIT:
        scaled = acc * scale[:, None]
    pulled = _finish(
        scaled, FEATS + g * N * D, OTHER_FEATS + g * M * D, WEIGHT + g * M,
        ORDER + g * M, TABLE + g * slots * D, OUT + g * N * D, rows.to(tl.int64), live,
        head, count, pull, first, D, OWN_ROWS, OUT_D, LARGE, SPLIT, WIDE,
    )  # fmt: skip
    if SUM:
        part = tl.program_id(2) * tl.num_programs(1) + g
        tl.store(PULLED + part * N + rows, pulled, mask=live)
