"""The released form of one large bag: every pair of pixels visited once, in class-pure tiles.

Anchors equal candidates, so similarities and their gradient are symmetric and tiles i <= j suffice.
With pixels ordered by class a tile holds positives only or negatives only; small classes share
tiles, which then need a mask. Exponentials are taken unshifted: the caller sees to their range.

Per anchor p, with e = exp(s), z_p = sum of e over negatives, w_p its weight per positive:
    sigma_pq = z_p / (z_p + e_pq), loss_p = w_p Σ_q log(1 + z_p / e_pq),
    u_p = w_p / z_p Σ_q sigma_pq,
    dL/ds_pq + dL/ds_qp = -(w_p sigma_pq + w_q sigma_qp) on positives, (u_p + u_q) e_pq on negatives
3·P²·D flops where the tiles of negatives are kept between the passes, 4·P²·D where they are not.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from cseg.losses.counts import class_groups, spans

TILE = 512  # pixels along a tile's edge; wider products run no faster
SMALL = 256  # classes below this share a tile
KEEP_BYTES = 48 << 20  # negatives' tiles kept between the passes; the rest is computed twice


@dataclass(frozen=True)
class _Chunk:
    rows: slice
    group: int
    mixed: bool
    side: int


def pixel_loss(
    feats_ND: Tensor,
    labels_N: Tensor,
    split: int,
    weight: float,
    temperature: float,
    ignore_index: int,
    grad_ND: Tensor | None,
) -> Tensor:
    """Compute weight x the released loss of one bag, and write its gradient into grad_ND.

    Args:
        feats_ND: features of the bag's pixels, in the dtype to compute in.
        labels_N: their labels.
        split: pixels before it lie on one side, the others on the second.
        weight: of the bag's mean over anchors.
        temperature: divides the similarities.
        ignore_index: label that takes part in nothing.
        grad_ND: zeros to be filled, or None.
    """
    kept = (labels_N != ignore_index).nonzero()[:, 0]
    if len(kept) == 0:
        return feats_ND.new_zeros((), dtype=torch.float64)
    _, ids, counts = torch.unique(labels_N[kept], return_inverse=True, return_counts=True)
    order, chunks = _chunks(ids, counts.tolist(), kept >= split)
    ids = ids[order]
    kept = kept[order]
    root = temperature**-0.5
    x = feats_ND[kept] * root
    w = weight / (len(kept) * counts[ids]).to(x.dtype)

    z, tiles = _negatives(x, ids, chunks)
    t, per_anchor = torch.zeros_like(w), torch.zeros_like(w)
    grad = None if grad_ND is None else torch.zeros_like(x)
    _positives(x, ids, chunks, z, w, t, per_anchor, grad)
    if grad is not None:
        u = torch.where(z > 0, w * t / z, 0)
        _push_negatives(x, ids, chunks, u, tiles, grad)
        grad_ND[kept] = grad.mul_(root)
    return torch.dot(w.double(), per_anchor.double())


def _chunks(ids: Tensor, counts: list[int], second: Tensor) -> tuple[Tensor, list[_Chunk]]:
    """Order the pixels by (group, side), and cut that order into the pieces tiles are made of."""
    groups = class_groups(counts, SMALL)
    group_of = torch.empty(len(counts), dtype=torch.int64)
    for number, group in enumerate(groups):
        group_of[list(group.classes)] = number
    keys = group_of.to(ids.device)[ids] * 2 + second
    order = keys.argsort(stable=True)
    chunks, start = [], 0
    for key, count in enumerate(torch.bincount(keys, minlength=2 * len(groups)).tolist()):
        for a, b in spans(count, TILE):
            rows = slice(start + a, start + b)
            chunks.append(_Chunk(rows, key // 2, groups[key // 2].mixed, key % 2))
        start += count
    return order, chunks


def _pairs(chunks: list[_Chunk], positives: bool):
    """Tiles (a, b), a before or equal to b, that hold pairs of the wanted kind."""
    for i, a in enumerate(chunks):
        for b in chunks[i:]:
            together = a.group == b.group
            if together if positives else (a.side == b.side and (not together or a.mixed)):
                yield a, b


def _exp_tile(x: Tensor, a: _Chunk, b: _Chunk) -> Tensor:
    return (x[a.rows] @ x[b.rows].T).exp_()


def _same_class(ids: Tensor, a: _Chunk, b: _Chunk) -> Tensor:
    return ids[a.rows, None] == ids[None, b.rows]


def _negative_tile(x: Tensor, ids: Tensor, a: _Chunk, b: _Chunk) -> Tensor:
    tile = _exp_tile(x, a, b)
    return tile.masked_fill_(_same_class(ids, a, b), 0) if a.group == b.group else tile


def _negatives(x: Tensor, ids: Tensor, chunks: list[_Chunk]) -> tuple[Tensor, list[Tensor]]:
    """Sum up z, and keep the first tiles of negatives, as many as KEEP_BYTES holds."""
    z = x.new_zeros(len(x))
    ones = x.new_ones(TILE)
    tiles, room = [], KEEP_BYTES
    for a, b in _pairs(chunks, positives=False):
        tile = _negative_tile(x, ids, a, b)
        z[a.rows] += tile @ ones[: tile.shape[1]]
        if a is not b:
            z[b.rows] += tile.T @ ones[: tile.shape[0]]
        room -= tile.nbytes
        if room >= 0:
            tiles.append(tile)
    return z, tiles


def _positives(x, ids, chunks, z, w, t, per_anchor, grad) -> None:
    """Add up sigma into t, the loss into per_anchor, and the pull of positives into grad."""
    for a, b in _pairs(chunks, positives=True):
        tile = _exp_tile(x, a, b)
        mask = _same_class(ids, a, b) if a.mixed else None
        for p, dim in [(a, 1)] if a is b else [(a, 1), (b, 0)]:
            z_p = z[p.rows].unsqueeze(dim)
            cost = (z_p / tile).log1p_()
            if mask is not None:
                cost.mul_(mask)
            per_anchor[p.rows] += cost.sum(dim)
        if grad is None:
            continue
        pull = None
        for p, dim in [(a, 1), (b, 0)]:
            z_p = z[p.rows].unsqueeze(dim)
            sigma = z_p / (tile + z_p)
            if mask is not None:
                sigma.mul_(mask)
            if dim == 1 or a is not b:
                t[p.rows] += sigma.sum(dim)
            sigma.mul_(w[p.rows].unsqueeze(dim))
            pull = sigma if pull is None else pull.add_(sigma)
        grad[a.rows].addmm_(pull, x[b.rows], alpha=-1)
        if a is not b:
            grad[b.rows].addmm_(pull.T, x[a.rows], alpha=-1)


def _push_negatives(x, ids, chunks, u, tiles, grad) -> None:
    """Add the push of negatives to grad, recomputing the tiles that were not kept."""
    tiles.reverse()
    for a, b in _pairs(chunks, positives=False):
        tile = tiles.pop() if tiles else _negative_tile(x, ids, a, b)
        tile.mul_(u[a.rows, None] + u[None, b.rows])
        grad[a.rows].addmm_(tile, x[b.rows])
        if a is not b:
            grad[b.rows].addmm_(tile.T, x[a.rows])
