"""The released form of one large bag: every pair of pixels visited once, in class-pure tiles.

Anchors equal candidates, so similarities and their gradient are symmetric: half of them suffice.
Pixels are ordered by side and class and cut into blocks, so that the tile of two blocks holds
positives alone or negatives alone. Small classes share a block, whose tiles then need a mask.
Exponentials are taken unshifted: the caller sees to their range.

Per anchor p, with e = exp(s), z_p = sum of e over negatives, w_p its weight per positive:
    sigma_pq = z_p / (z_p + e_pq), loss_p = w_p Σ_q log(1 + z_p / e_pq),
    u_p = w_p / z_p Σ_q sigma_pq,
    dL/ds_pq + dL/ds_qp = -(w_p sigma_pq + w_q sigma_qp) on positives, (u_p + u_q) e_pq on negatives
3·P²·D flops where the tiles of negatives are kept between the passes, 4·P²·D where they are not.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest

import torch
from torch import Tensor

from cseg.losses.counts import class_groups, spans

ROWS = 384  # pixels of a block: a tile and what is made of it stay in the cache
SMALL = 256  # classes below this share a block
SMALL_LOSS = 0.05  # below, rounding 1 + a would show in the loss's sixth digit
KEEP_BYTES = 40 << 20  # negatives' tiles kept between the passes; the rest is computed twice


@dataclass(frozen=True)
class _Block:
    """Pixels of one group (one class, or several small ones) on one side."""

    pixels: int  # number of pixels
    group: int  # number of the group
    second: bool  # whether the pixels lie on the second side
    mixed: bool  # whether the group holds several classes, and is one block a side


@dataclass(frozen=True)
class _Bag:
    """A bag cut into blocks; lists hold one view a block."""

    blocks: list[_Block]  # in the order of the pixels
    x: list[Tensor]  # features
    ids: list[Tensor]  # classes
    # (4, pixels² of the largest block), for what a tile is computed in: memory that is allocated
    # again for each tile is not in the cache
    memory: Tensor

    def split(self, per_pixel: Tensor) -> list[Tensor]:
        """Views of a tensor's rows, one a block."""
        return list(per_pixel.split([block.pixels for block in self.blocks]))

    def tiles(self, positives: bool) -> Iterator[tuple[int, int]]:
        """Pairs of blocks, a <= b, whose tile holds pairs of the wanted kind."""
        for a, one in enumerate(self.blocks):
            for b, other in enumerate(self.blocks[a:], a):
                same = one.group == other.group
                differ = one.second == other.second and (not same or (a == b and one.mixed))
                if same if positives else differ:
                    yield a, b

    def scratch(self, a: int, b: int) -> list[Tensor]:
        """Four matrices of the tile's shape; the next tile uses them again."""
        rows, cols = self.blocks[a].pixels, self.blocks[b].pixels
        return list(self.memory[:, : rows * cols].view(4, rows, cols).unbind())

    def exp(self, a: int, b: int, out: Tensor) -> None:
        """Exponentials of a tile's similarities."""
        torch.mm(self.x[a], self.x[b].T, out=out).exp2_()

    def exp_negatives(self, a: int, b: int, out: Tensor) -> None:
        """The same of a tile of negatives: 0 where a mixed block meets itself and classes agree."""
        self.exp(a, b, out)
        if a == b:
            out.masked_fill_(self.same_class(a, b), 0)

    def same_class(self, a: int, b: int) -> Tensor:
        """Which pairs of a tile are of one class."""
        return self.ids[a][:, None] == self.ids[b]


def pixel_loss(
    sides: list[Tensor],
    labels_N: Tensor,
    weight: float,
    temperature: float,
    ignore_index: int,
    need: bool,
    bound: float,
) -> tuple[Tensor, Tensor | None]:
    """Compute weight x the released loss of one bag (float64) and its gradient (N,D) or None.

    `sides` are features (n,D) of the one or two sides' pixels, in the dtype to compute in; labels
    are the first side's, then the second's. No similarity is larger than `bound`.
    """
    first, shape = sides[0], (len(labels_N), sides[0].shape[1])
    kept = (labels_N != ignore_index).nonzero()[:, 0]
    if len(kept) == 0:
        return first.new_zeros((), dtype=torch.float64), first.new_zeros(shape)
    _, ids, counts = torch.unique(labels_N[kept], return_inverse=True, return_counts=True)
    order, blocks = _blocks(ids, counts.tolist(), kept >= len(first))
    ids, kept = ids[order], kept[order]
    # In powers of two: exp2 and log2 run several times faster than exp and log1p on many CPUs.
    root = (temperature * math.log(2)) ** -0.5
    x = _gather(sides, kept, sum(block.pixels for block in blocks if not block.second)).mul_(root)
    w = weight / (len(kept) * counts[ids]).to(x.dtype)
    sizes = [block.pixels for block in blocks]
    memory = x.new_empty(4, max(sizes) ** 2)
    bag = _Bag(blocks, list(x.split(sizes)), list(ids.split(sizes)), memory)

    z = torch.zeros_like(w)
    tiles = _negatives(bag, z)
    t, per_anchor = torch.zeros_like(w), torch.zeros_like(w)
    grad = torch.zeros_like(x) if need else None
    # The square of 1 + z / e, at its largest, in powers of two.
    finite = 2 * (2 * bound / math.log(2) + math.log2(len(kept)) + 1) < 127
    _positives(bag, z, t, per_anchor, grad, joined=finite)
    loss = torch.dot(w.double(), per_anchor.double()).mul_(math.log(2))
    if loss < SMALL_LOSS * weight:
        _positives(bag, z, t, per_anchor.zero_(), None, exactly=True)
        loss = torch.dot(w.double(), per_anchor.double()).mul_(math.log(2))
    if grad is None:
        return loss, None
    w /= root * temperature
    grad.mul_(w[:, None])  # all pixels of a class have one weight
    u = torch.where(z > 0, w * t / z, 0)
    _push_negatives(bag, u, tiles, grad)
    out = x if len(x) == len(labels_N) else x.new_zeros(shape)  # x has served
    return loss, out.index_copy_(0, kept, grad)


def _gather(sides: list[Tensor], kept: Tensor, border: int) -> Tensor:
    """Features of the kept pixels, of which `border` lie on the first side."""
    out = sides[0].new_empty(len(kept), sides[0].shape[1])
    offsets = (0, len(sides[0]))
    parts = zip(sides, offsets, kept.tensor_split([border]), out.tensor_split([border]))
    for side, offset, own, rows in parts:
        torch.index_select(side, 0, own - offset, out=rows)
    return out


def _blocks(ids: Tensor, counts: list[int], second: Tensor) -> tuple[Tensor, list[_Block]]:
    """Order the pixels by (side, group), and cut that order into blocks of at most ROWS."""
    group_of, sizes = class_groups(counts, SMALL)
    keys = group_of.to(ids.device)[ids] + second * len(sizes)
    blocks = []
    for key, pixels in enumerate(torch.bincount(keys, minlength=2 * len(sizes)).tolist()):
        on_second, number = divmod(key, len(sizes))
        mixed = sizes[number] > 1
        for start, stop in spans(pixels, pixels if mixed else ROWS):
            blocks.append(_Block(stop - start, number, bool(on_second), mixed))
    return keys.argsort(stable=True), blocks


def _negatives(bag: _Bag, z: Tensor) -> list[Tensor]:
    """Add up z, and keep the first tiles of negatives, as many as KEEP_BYTES holds."""
    zs, ones = bag.split(z), bag.split(torch.ones_like(z))
    tiles = list(bag.tiles(positives=False))
    wanted = sum(bag.blocks[a].pixels * bag.blocks[b].pixels for a, b in tiles)
    # One allocation: malloc gives many small ones back to the system, page by page, at each call.
    room = bag.memory.new_empty(min(wanted, KEEP_BYTES // bag.memory.element_size()))
    kept = []
    for a, b in tiles:
        e = bag.scratch(a, b)[0]
        if e.numel() <= len(room):
            e, room = room[: e.numel()].view_as(e), room[e.numel() :]
            kept.append(e)
        else:
            room = room[:0]
        bag.exp_negatives(a, b, out=e)
        zs[a].addmv_(e, ones[b])
        if a != b:
            zs[b].addmv_(e.T, ones[a])
    return kept


def _positives(
    bag: _Bag,
    z: Tensor,
    t: Tensor,
    per_anchor: Tensor,
    grad: Tensor | None,
    joined: bool = False,
    exactly: bool = False,
) -> None:
    """Add up sigma into t, the loss in bits into per_anchor, the pull of positives into grad.

    Nothing is weighted yet. `joined` takes one logarithm for p and q, whose weights are equal, and
    puts it down to p. `exactly` makes good what log2(1 + a) loses where a is small.
    """
    zs, ts, costs = bag.split(z), bag.split(t), bag.split(per_anchor)
    grads = None if grad is None else bag.split(grad)
    for a, b in bag.tiles(positives=True):
        e, spare, *ratios = bag.scratch(a, b)
        bag.exp(a, b, out=e)
        mask = bag.same_class(a, b) if bag.blocks[a].mixed else None
        sides = [(a, 1)] if a == b else [(a, 1), (b, 0)]
        totals = [spare, e][: len(sides)]  # e has served when the second is written
        for (p, dim), ratio, total in zip(sides, ratios, totals):
            torch.div(zs[p].unsqueeze(dim), e, out=ratio)
            torch.add(ratio, 1, out=total)
            if grads is not None:
                sigma = ratio.div_(total)
                ts[p].add_((sigma if mask is None else sigma.mul_(mask)).sum(dim))
        if joined and a != b:
            sides, totals = sides[:1], [spare.mul_(e)]
        for (p, dim), ratio, total in zip(sides, ratios, totals):
            lost = (total - 1).sub_(ratio).div_(total) if exactly else None
            cost = total.log2_()
            if lost is not None:
                cost.sub_(lost, alpha=1 / math.log(2))
            costs[p].add_((cost if mask is None else cost.mul_(mask)).sum(dim))
        if grads is None:
            continue
        if a == b:
            pull = torch.add(ratios[0], ratios[0].T, out=spare)
            grads[a].addmm_(pull, bag.x[a], alpha=-1)
        else:
            pull = ratios[0].add_(ratios[1])
            grads[a].addmm_(pull, bag.x[b], alpha=-1)
            grads[b].addmm_(pull.T, bag.x[a], alpha=-1)


def _push_negatives(bag: _Bag, u: Tensor, kept: list[Tensor], grad: Tensor) -> None:
    """Add the push of negatives to grad, recomputing the tiles that were not kept."""
    us, across, grads = bag.split(u), bag.split(u[:, None]), bag.split(grad)
    for (a, b), e in zip_longest(bag.tiles(positives=False), kept):
        again, factors, *_ = bag.scratch(a, b)
        if e is None:
            e = again
            bag.exp_negatives(a, b, out=e)
        push = torch.add(across[a], us[b], out=factors).mul_(e)  # e's memory is not in the cache
        grads[a].addmm_(push, bag.x[b])
        if a != b:
            grads[b].addmm_(push.T, bag.x[a])
