"""The two normal forms that every backend computes.

Each scope becomes G independent bags of pixels. Shape suffixes: B images, P pixels of an image,
G bags, N anchors of a bag, M candidates of a bag, D channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cseg.losses.unit import wide

View = tuple[Tensor, Tensor]  # features (B,P,D) and labels (B,P) of a batch of images
Needs = Sequence[bool]  # which gradients are wanted, in the order of the features

SINGLE_BOUND = 36.0  # |s| up to which float32 is precise enough, and exp(2 |s|) in range


@dataclass(frozen=True)
class CandidateBags:
    """Anchors against candidates: the paper's form, where every candidate is in the denominator.

    With s_pk = x_p·y_k / temperature, an anchor p of label c contributes
    `logsumexp_k s_pk - mean_{q: label c} s_pq`, where k runs over the first `shared` candidates
    and over the others of label c. Labels are int64.
    """

    anchors_GND: Tensor  # features of the anchors
    anchor_labels_GN: Tensor
    cands_GMD: Tensor  # features of the candidates
    cand_labels_GM: Tensor
    shared: int  # number of candidates, the first ones, that enter every anchor's denominator
    images_per_bag: int  # images of equal size, one after another, that make a bag's anchors
    total_images: int  # divisor of the sum over images


@dataclass(frozen=True)
class PixelBags:
    """Pixels against each other: the released form, one positive + negatives in a denominator.

    Anchor p contributes the mean over q of its label (itself included) of
    `softplus(n_p - s_pq)`, `n_p = logsumexp s_pk` over k of other labels on p's side of the bag.
    """

    sides: tuple[Tensor, ...]  # features of the one or two sides, each (G,n,D); their n make up N
    labels_GN: Tensor  # labels of the first side's pixels, then of the second's, int64
    total_images: int  # divisor of the sum over bags of the mean over valid anchors

    @property
    def feats_GND(self) -> Tensor:
        """Features of all pixels: a copy where there are two sides."""
        return self.sides[0] if len(self.sides) == 1 else torch.cat(self.sides, 1)

    @property
    def split(self) -> int:
        """Pixels before this index are the first side's."""
        return self.sides[0].shape[1]


def as_views(
    feats: Tensor, labels: Tensor, other_feats: Tensor | None, other_labels: Tensor | None
) -> list[View]:
    """The one or two views of these tensors."""
    if other_feats is None or other_labels is None:
        return [(feats, labels)]
    return [(feats, labels), (other_feats, other_labels)]


def anchor_weights(
    valid_GN: Tensor, images_per_bag: int, total_images: int, dtype: torch.dtype
) -> Tensor:
    """Weight of each anchor (G,N): 1 / valid anchors of its image / images; 0 where not valid."""
    per_image = valid_GN.view(valid_GN.shape[0], images_per_bag, -1)
    count = per_image.sum(-1, keepdim=True).clamp(min=1)
    return (per_image.to(dtype) / (count * total_images)).view_as(valid_GN)


def random_derangement(size: int, generator: torch.Generator | None = None) -> Tensor:
    """Uniform random permutation (int64, on the CPU) without fixed points; [0] where size is 1."""
    device = torch.device("cpu") if generator is None else generator.device
    here = torch.arange(size, device="cpu")
    while True:  # accepted with probability 1/e
        perm = torch.randperm(size, generator=generator, device=device).cpu()
        if size == 1 or not (perm == here).any():
            return perm


def _take_images(values: Tensor, partner: Tensor) -> Tensor:
    """values[partner], without a copy of `partner` to another device, which would wait for it."""
    if values.device == partner.device:
        return values.index_select(0, partner)
    return torch.stack([values[j] for j in partner.tolist()])


def _give_back(grad_BPD: Tensor, taken_BPD: Tensor, partner: Tensor) -> Tensor:
    """Add the gradients of taken images to their own, in a fixed order on every device."""
    for i, j in enumerate(partner.tolist()):
        grad_BPD[j] += taken_BPD[i]
    return grad_BPD


def candidate_bags(
    views: Sequence[View], scope: str, partner: Tensor | None, ignore_index: int
) -> CandidateBags:
    """Bags of the paper's form: one per image, or one of all images under "batch".

    `partner` (B,) int64 on the CPU is given under "cross" only, as in `pixel_bags`.
    """
    anchors, candidates = views[0], views[-1]
    images, (other_BPD, other_labels_BP) = anchors[0].shape[0], candidates
    shared = other_BPD.shape[1]
    if scope == "within":
        return CandidateBags(*anchors, *candidates, shared, 1, images)
    if partner is not None:
        # An image paired with itself has no second image: its labels there are ignored.
        alone = partner == torch.arange(images, device=partner.device)
        nothing = torch.full_like(other_labels_BP, ignore_index)
        choice = torch.where(alone, images, 0) + partner
        taken_labels = _take_images(torch.cat([other_labels_BP, nothing]), choice)
        cands = torch.cat([other_BPD, _take_images(other_BPD, partner)], 1)
        cand_labels = torch.cat([other_labels_BP, taken_labels], 1)
        return CandidateBags(*anchors, cands, cand_labels, shared, 1, images)
    flat = [values.flatten(0, 1)[None] for values in (*anchors, *candidates)]
    return CandidateBags(flat[0], flat[1], flat[2], flat[3], flat[2].shape[1], images, images)


def candidate_view_grads(
    grads: Sequence[Tensor | None], views: Sequence[View], partner: Tensor | None
) -> list[Tensor | None]:
    """Gradients by the views, from those by the anchors and candidates made of them."""
    by_anchors, by_cands = grads
    if by_anchors is not None:
        by_anchors = by_anchors.reshape(views[0][0].shape)
    if by_cands is not None and partner is not None:
        own, taken = by_cands.chunk(2, 1)
        by_cands = _give_back(own.contiguous(), taken, partner)
    elif by_cands is not None:
        by_cands = by_cands.reshape(views[-1][0].shape)
    if len(views) == 1 and by_anchors is not None and by_cands is not None:
        by_anchors.add_(by_cands)
    return [by_anchors, by_cands]


def pixel_bags(views: Sequence[View], scope: str, partner: Tensor | None) -> list[PixelBags]:
    """Bags of the released form, as lists of equal-sized bags whose losses add up."""
    first, images = views[0], views[0][0].shape[0]
    if scope == "within":
        return [PixelBags((feats_BPD,), labels_BP, images) for feats_BPD, labels_BP in views]
    if partner is not None:
        taken, taken_labels = (_take_images(values, partner) for values in views[-1])
        return [PixelBags((first[0], taken), torch.cat([first[1], taken_labels], 1), images)]
    flat = [(feats_BPD.flatten(0, 1), labels_BP.flatten()) for feats_BPD, labels_BP in views]
    feats, labels = flat[0] if len(flat) == 1 else map(torch.cat, zip(*flat))
    return [PixelBags((feats[None],), labels[None], 1)]


def pixel_view_grads(
    grads: Sequence[Tensor | None], views: Sequence[View], scope: str, partner: Tensor | None
) -> list[Tensor | None]:
    """Gradients by the two views, from those by all pixels of each of `pixel_bags`.

    They share no memory; the second is None where there is no second view.
    """
    first, shapes = grads[0], [feats_BPD.shape for feats_BPD, _ in views]
    if scope == "within" or first is None:
        return [first, grads[1] if len(grads) == 2 else None]
    if partner is not None:
        own, taken = first.tensor_split([shapes[0][1]], 1)
        if len(views) == 1:
            return [_give_back(own.contiguous(), taken, partner), None]
        return [own.contiguous(), _give_back(taken.new_zeros(shapes[1]), taken, partner)]
    own, rest = first[0].tensor_split([shapes[0][:2].numel()])
    by_other = None if len(views) == 1 else rest.clone().view(shapes[1])
    return [own.view(shapes[0]), by_other]


def without_ignored(view: View, ignore_index: int) -> View:
    """The view, with zeros at ignored pixels wherever these could reach a sum or a bound.

    Ignored pixels may hold anything: NaN times a weight of 0 would be NaN. On a GPU they are
    always replaced, since to look would wait for it.
    """
    feats_BPD, labels_BP = view
    ignored = labels_BP == ignore_index
    if feats_BPD.device.type == "cpu":
        length = _lengths(feats_BPD)
        if not (ignored & ~(length <= length.masked_fill(ignored, 0).max())).any():
            return view
    return feats_BPD.masked_fill(ignored[:, :, None], 0), labels_BP


def longest(feats_GND: Tensor) -> float:
    """Length of the longest feature vector: the Cauchy-Schwarz bound of similarities is free."""
    return _lengths(feats_GND).max().item()


def _lengths(feats_GND: Tensor) -> Tensor:
    return torch.linalg.vector_norm(feats_GND, dim=2, dtype=wide(feats_GND.dtype))
