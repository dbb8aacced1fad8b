"""The released form of one large bag: every pair of pixels visited once, in class-pure tiles.

Anchors equal candidates, so similarities and their gradient are symmetric: half of them suffice.
With pixels ordered by side and class, a block's later negatives are one range of columns and its
later positives another. Small classes share a block, whose tiles then need a mask. Exponentials
are taken unshifted: the caller sees to their range.

Per anchor p, with e = exp(s), z_p = sum of e over negatives, w_p its weight per positive:
    sigma_pq = z_p / (z_p + e_pq), loss_p = w_p Σ_q log(1 + z_p / e_pq),
    u_p = w_p / z_p Σ_q sigma_pq,
    dL/ds_pq + dL/ds_qp = -(w_p sigma_pq + w_q sigma_qp) on positives, (u_p + u_q) e_pq on negatives
3·P²·D flops where the tiles of negatives are kept between the passes, 4·P²·D where they are not.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from cseg.losses.counts import class_groups, spans

ROWS = 256  # pixels of a block
COLS = 512  # columns of a tile: with ROWS it stays in the cache
SMALL = 256  # classes below this share a block
SMALL_LOSS = 0.05  # below, rounding 1 + a would show in the loss's sixth digit
KEEP_BYTES = 26 << 20  # negatives' tiles kept between the passes; the rest is computed twice


@dataclass(frozen=True)
class _Block:
    """Rows of one group (one class, or several small ones) on one side, and where pairs lie.

    Attributes:
        rows: (start, stop) of the block.
        positives: ranges of pixels of its group that come later, on either side.
        negatives: range of pixels of other groups that come later on its side.
        mixed: whether its group holds several classes; a mixed group is one block a side.
    """

    rows: tuple[int, int]
    positives: list[tuple[int, int]]
    negatives: tuple[int, int]
    mixed: bool


@dataclass(frozen=True)
class _Tile:
    rows: slice
    cols: slice
    masked: bool

    @property
    def diagonal(self) -> bool:
        return self.rows == self.cols


def pixel_loss(
    feats_ND: Tensor,
    labels_N: Tensor,
    split: int,
    weight: float,
    temperature: float,
    ignore_index: int,
    need: bool,
) -> tuple[Tensor, Tensor | None]:
    """Compute weight x the released loss of one bag (float64) and its gradient (N,D) or None.

    Args:
        feats_ND: features of the bag's pixels, in the dtype to compute in.
        labels_N: their labels.
        split: pixels before it lie on one side, the others on the second.
        weight: of the bag's mean over anchors.
        temperature: divides the similarities.
        ignore_index: label that takes part in nothing.
        need: whether the gradient is wanted.
    """
    kept = (labels_N != ignore_index).nonzero()[:, 0]
    if len(kept) == 0:
        return feats_ND.new_zeros((), dtype=torch.float64), torch.zeros_like(feats_ND)
    _, ids, counts = torch.unique(labels_N[kept], return_inverse=True, return_counts=True)
    order, blocks = _blocks(ids, counts.tolist(), kept >= split)
    ids, kept = ids[order], kept[order]
    # In powers of two: exp2 and log2 run several times faster than exp and log1p on many CPUs.
    root = (temperature * math.log(2)) ** -0.5
    x = feats_ND[kept].mul_(root)
    w = weight / (len(kept) * counts[ids]).to(x.dtype)

    z, tiles = _negatives(x, ids, blocks)
    t, per_anchor = torch.zeros_like(w), torch.zeros_like(w)
    grad = torch.zeros_like(x) if need else None
    _positives(x, ids, blocks, z, t, per_anchor, grad)
    loss = torch.dot(w.double(), per_anchor.double()).mul_(math.log(2))
    if loss < SMALL_LOSS * weight:
        _positives(x, ids, blocks, z, t, per_anchor.zero_(), None, exactly=True)
        loss = torch.dot(w.double(), per_anchor.double()).mul_(math.log(2))
    if grad is None:
        return loss, None
    grad.mul_(w[:, None])  # all pixels of a class have one weight
    u = torch.where(z > 0, w * t / z, 0)
    _push_negatives(x, ids, blocks, u, tiles, grad)
    out = x if len(x) == len(feats_ND) else torch.zeros_like(feats_ND)  # x has served
    return loss, out.index_copy_(0, kept, grad.div_(root * temperature))


def _blocks(ids: Tensor, counts: list[int], second: Tensor) -> tuple[Tensor, list[_Block]]:
    """Order the pixels by (side, group), and cut that order into blocks of at most ROWS."""
    groups = class_groups(counts, SMALL)
    group_of = torch.empty(len(counts), dtype=torch.int64)
    for number, group in enumerate(groups):
        group_of[list(group.classes)] = number
    keys = group_of.to(ids.device)[ids] + second * len(groups)
    order = keys.argsort(stable=True)
    ends = torch.bincount(keys, minlength=2 * len(groups)).cumsum(0).tolist()
    starts = [0, *ends[:-1]]
    blocks = []
    for key, (first, last) in enumerate(zip(starts, ends)):
        on_first_side = key < len(groups)
        side_end = ends[len(groups) - 1] if on_first_side else ends[-1]
        opposite = key + len(groups)
        across = [(starts[opposite], ends[opposite])] if on_first_side else []
        mixed = groups[key % len(groups)].mixed
        for a, b in spans(last - first, last - first if mixed else ROWS):
            later = (first + b, last)
            rows = (first + a, first + b)
            blocks.append(_Block(rows, [later, *across], (last, side_end), mixed))
    return order, blocks


def _tiles(blocks: list[_Block], positives: bool) -> Iterator[_Tile]:
    """Tiles on and right of the diagonal that hold pairs of the wanted kind."""
    for block in blocks:
        rows = slice(*block.rows)
        if positives or block.mixed:
            yield _Tile(rows, rows, block.mixed)
        for start, stop in block.positives if positives else [block.negatives]:
            for a, b in spans(stop - start, COLS):
                yield _Tile(rows, slice(start + a, start + b), positives and block.mixed)


def _exp_tile(x: Tensor, ids: Tensor, tile: _Tile, negatives: bool) -> Tensor:
    """Exponentials of a tile's similarities, 0 at positives where `negatives` are wanted."""
    e = (x[tile.rows] @ x[tile.cols].T).exp2_()
    return e.masked_fill_(_same_class(ids, tile), 0) if negatives and tile.masked else e


def _same_class(ids: Tensor, tile: _Tile) -> Tensor:
    return ids[tile.rows, None] == ids[None, tile.cols]


def _negatives(x: Tensor, ids: Tensor, blocks: list[_Block]) -> tuple[Tensor, list[Tensor]]:
    """Sum up z, and keep the first tiles of negatives, as many as KEEP_BYTES holds."""
    z = x.new_zeros(len(x))
    ones = x.new_ones(len(x))
    kept, room = [], KEEP_BYTES
    for tile in _tiles(blocks, positives=False):
        e = _exp_tile(x, ids, tile, negatives=True)
        z[tile.rows].addmv_(e, ones[tile.cols])
        if not tile.diagonal:
            z[tile.cols].addmv_(e.T, ones[tile.rows])
        room -= e.nbytes
        if room >= 0:
            kept.append(e)
    return z, kept


def _positives(
    x: Tensor,
    ids: Tensor,
    blocks: list[_Block],
    z: Tensor,
    t: Tensor,
    per_anchor: Tensor,
    grad: Tensor | None,
    exactly: bool = False,
) -> None:
    """Add up sigma into t, the loss in bits into per_anchor, and the pull of positives into grad.

    Nothing is weighted yet. `exactly` makes good what log2(1 + a) loses where a is small.
    """
    for tile in _tiles(blocks, positives=True):
        e = _exp_tile(x, ids, tile, negatives=False)
        mask = _same_class(ids, tile) if tile.masked else None
        pulls = []
        for p, dim in [(tile.rows, 1)] if tile.diagonal else [(tile.rows, 1), (tile.cols, 0)]:
            z_p = z[p].unsqueeze(dim)
            ratio = z_p / e
            total = ratio + 1
            lost = (total - 1).sub_(ratio).div_(total) if exactly else None
            sigma = None if grad is None else ratio.div_(total)
            cost = total.log2_()
            if lost is not None:
                cost.sub_(lost, alpha=1 / math.log(2))
            per_anchor[p].add_((cost if mask is None else cost.mul_(mask)).sum(dim))
            if sigma is None:
                continue
            if mask is not None:
                sigma.mul_(mask)
            t[p].add_(sigma.sum(dim))
            pulls.append(sigma)
        if grad is None:
            continue
        if tile.diagonal:
            pull = pulls[0] + pulls[0].T
            grad[tile.rows].addmm_(pull, x[tile.rows], alpha=-1)
        else:
            pull = pulls[0].add_(pulls[1])
            grad[tile.rows].addmm_(pull, x[tile.cols], alpha=-1)
            grad[tile.cols].addmm_(pull.T, x[tile.rows], alpha=-1)


def _push_negatives(
    x: Tensor, ids: Tensor, blocks: list[_Block], u: Tensor, kept: list[Tensor], grad: Tensor
) -> None:
    """Add the push of negatives to grad, recomputing the tiles that were not kept."""
    kept.reverse()
    for tile in _tiles(blocks, positives=False):
        e = kept.pop() if kept else _exp_tile(x, ids, tile, negatives=True)
        e.mul_(u[tile.rows, None] + u[None, tile.cols])
        grad[tile.rows].addmm_(e, x[tile.cols])
        if not tile.diagonal:
            grad[tile.cols].addmm_(e.T, x[tile.rows])
