"""The paper's form of one large bag: a block of anchors at a time against all candidates.

With e = exp(s), z_p the sum of e over p's candidates, a_p the anchor's weight, Y_c the mean of the
candidates of class c: loss = Σ_p a_p (log z_p - x_p·Y_c / temperature); the gradient by x_p is
a_p / temperature · (Σ_k e_pk y_k / z_p - Y_c), by y_k 1 / temperature · (Σ_p a_p e_pk x_p / z_p -
Σ_{p: class of k} a_p x_p / N_c). Scaling rows of x instead of tiles leaves one exp and one sum per
pair beside the products: 6·N·M·D flops, in one pass. Exponentials are taken unshifted: the caller
sees to their range.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from cseg.losses.counts import class_groups, spans

ROWS = 112  # anchors of a block; its exponentials are kept until their sum is known
COLS = 512  # candidates of a tile; wider products run no faster
SMALL = 256  # classes below this share a block


def candidate_loss(
    anchors_ND: Tensor,
    labels_N: Tensor,
    weights_N: Tensor,
    cands_MD: Tensor,
    cand_labels_M: Tensor,
    shared: int,
    temperature: float,
    ignore_index: int,
    grad_a_ND: Tensor | None,
    grad_c_MD: Tensor | None,
) -> Tensor:
    """Compute the paper's loss of one bag, and write the gradients into grad_a and grad_c.

    Features have the dtype to compute in; the weights of anchors that are not valid are 0; the
    first `shared` candidates enter every denominator, the others their class's. grad_a and grad_c
    are zeros to be filled, or None.
    """
    classes, ids = torch.unique(torch.cat([labels_N, cand_labels_M]), return_inverse=True)
    ids, cand_ids = ids[: len(labels_N)], ids[len(labels_N) :]
    real = cand_labels_M != ignore_index
    a = weights_N[:, None]

    mean = _sum_by_class(cands_MD, cand_ids, len(classes))
    count = torch.bincount(cand_ids, minlength=len(classes)).clamp(min=1)[:, None]
    mean /= count
    pulled = _sum_by_class(anchors_ND * a, ids, len(classes)).div_(temperature)
    loss = -torch.dot(pulled.flatten(), mean.flatten()).double()
    pulled /= count
    if grad_c_MD is not None:
        torch.index_select(pulled, 0, cand_ids, out=grad_c_MD).neg_()
        if not real.all():
            grad_c_MD[~real] = 0
    del pulled

    tiles = [slice(*span) for span in spans(shared, COLS)]
    keep = [None if real[tile].all() else real[tile].to(a.dtype) for tile in tiles]
    for rows, extra in _anchor_blocks(ids, cand_ids, a[:, 0] > 0, real, shared, len(classes)):
        # In powers of two: exp2 runs several times faster than exp on many CPUs.
        x = anchors_ND[rows] / (temperature * math.log(2))
        exps = []
        for tile, mask in zip(tiles, keep):
            e = (x @ cands_MD[tile].T).exp2_()
            exps.append(e if mask is None else e.mul_(mask))
        ys = [cands_MD[tile] for tile in tiles]
        if extra is not None:
            ys.append(cands_MD[extra])
            e = (x @ ys[-1].T).exp2_()
            exps.append(e.mul_(ids[rows, None] == cand_ids[extra]))
        z = torch.cat([e.sum(1, keepdim=True) for e in exps], 1).sum(1, keepdim=True)
        z.masked_fill_(a[rows] == 0, 1)  # may have no candidate at all
        loss += torch.dot(z.log()[:, 0].double(), a[rows, 0].double())
        if grad_a_ND is not None:
            grad = exps[0] @ ys[0]
            for e, y in zip(exps[1:], ys[1:]):
                grad.addmm_(e, y)
            grad.mul_(a[rows] / z).addcmul_(a[rows], mean[ids[rows]], value=-1)
            grad_a_ND[rows] = grad.div_(temperature)
        if grad_c_MD is not None:
            x *= a[rows] / z * math.log(2)
            for tile, e in zip(tiles, exps):
                grad_c_MD[tile].addmm_(e.T, x)
            if extra is not None:
                grad_c_MD.index_add_(0, extra, exps[-1].T @ x)
    return loss


def _sum_by_class(feats_ND: Tensor, ids: Tensor, classes: int) -> Tensor:
    return feats_ND.new_zeros(classes, feats_ND.shape[1]).index_add_(0, ids, feats_ND)


def _anchor_blocks(
    ids: Tensor, cand_ids: Tensor, valid: Tensor, real: Tensor, shared: int, classes: int
) -> Iterator[tuple[slice | Tensor, Tensor | None]]:
    """(anchors, candidates of their classes beyond `shared` or None), at most ROWS anchors each."""
    if shared == len(cand_ids):
        for span in spans(len(ids), ROWS):
            yield slice(*span), None
        return
    rest = real.clone()
    rest[:shared] = False
    counts = torch.bincount(ids[valid], minlength=classes)
    counts += torch.bincount(cand_ids[rest], minlength=classes)
    group_of, sizes = class_groups(counts.tolist(), SMALL)
    group_of = group_of.to(ids.device)
    for number in range(len(sizes)):
        rows = (valid & (group_of[ids] == number)).nonzero()[:, 0]
        extra = (rest & (group_of[cand_ids] == number)).nonzero()[:, 0]
        for start, stop in spans(len(rows), ROWS):
            yield rows[start:stop], extra if len(extra) else None
