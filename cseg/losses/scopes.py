"""The two normal forms that every backend computes.

Each scope becomes G independent bags of pixels. Shape suffixes: B images, P pixels of an image,
G bags, N anchors of a bag, M candidates of a bag, D channels.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

SINGLE_BOUND = 36.0  # |s| up to which float32 is precise enough, and exp(2 |s|) in range


@dataclass(frozen=True)
class CandidateBags:
    """Anchors against candidates: the paper's form, where every candidate is in the denominator.

    With s_pk = x_p·y_k / temperature, an anchor p of label c contributes
    `logsumexp_k s_pk - mean_{q: label c} s_pq`, where k runs over the first `shared` candidates
    and over the others of label c.

    Attributes:
        anchors_GND: features of the anchors.
        anchor_labels_GN: their labels, int64.
        cands_GMD: features of the candidates.
        cand_labels_GM: their labels, int64.
        shared: how many candidates (the first ones) enter every anchor's denominator.
        images_per_bag: the anchors of a bag are this many images of equal size, one after another.
        total_images: the sum over images is divided by this number.
    """

    anchors_GND: Tensor
    anchor_labels_GN: Tensor
    cands_GMD: Tensor
    cand_labels_GM: Tensor
    shared: int
    images_per_bag: int
    total_images: int


@dataclass(frozen=True)
class PixelBags:
    """Pixels against each other: the released form, one positive + negatives in a denominator.

    Anchor p contributes the mean over q of its label (itself included) of
    `softplus(n_p - s_pq)`, `n_p = logsumexp s_pk` over k of other labels on p's side of the bag.

    Attributes:
        sides: features of the one or two sides, each (G,n,D), their n adding up to N.
        labels_GN: labels of the first side's pixels, then of the second's, int64.
        total_images: the sum over bags of the mean over valid anchors is divided by this number.
    """

    sides: tuple[Tensor, ...]
    labels_GN: Tensor
    total_images: int

    @property
    def feats_GND(self) -> Tensor:
        """Features of all pixels: a copy where there are two sides."""
        return self.sides[0] if len(self.sides) == 1 else torch.cat(self.sides, 1)

    @property
    def split(self) -> int:
        """Pixels before this index are the first side's."""
        return self.sides[0].shape[1]


def anchor_weights(
    valid_GN: Tensor, images_per_bag: int, total_images: int, dtype: torch.dtype
) -> Tensor:
    """Weight of each anchor (G,N): 1 / valid anchors of its image / images; 0 where not valid."""
    per_image = valid_GN.view(valid_GN.shape[0], images_per_bag, -1)
    count = per_image.sum(-1, keepdim=True).clamp_(min=1)
    return (per_image.to(dtype) / (count * total_images)).view_as(valid_GN)


def random_derangement(size: int, generator: torch.Generator | None = None) -> Tensor:
    """Uniform random permutation (int64, on the CPU) without fixed points; [0] where size is 1."""
    device = "cpu" if generator is None else generator.device
    here = torch.arange(size)
    while True:  # accepted with probability 1/e
        perm = torch.randperm(size, generator=generator, device=device).cpu()
        if size == 1 or not (perm == here).any():
            return perm


class _TakeImages(torch.autograd.Function):
    """feats[partner], whose gradient adds up in a fixed order on every device.

    Image by image: an index would have to be copied to the device, which waits for it.
    """

    @staticmethod
    def forward(ctx: Any, feats_BPD: Tensor, partner: tuple[int, ...]) -> Tensor:
        ctx.partner = partner
        return torch.stack([feats_BPD[j] for j in partner])

    @staticmethod
    def backward(ctx: Any, grad_BPD: Tensor) -> tuple[Tensor, None]:
        out = torch.zeros_like(grad_BPD)
        for i, j in enumerate(ctx.partner):
            out[j] += grad_BPD[i]
        return out, None


def candidate_bags(
    feats_BPD: Tensor,
    labels_BP: Tensor,
    other_BPD: Tensor,
    other_labels_BP: Tensor,
    scope: str,
    partner: Tensor,
    ignore_index: int,
) -> CandidateBags:
    """Bags of the paper's form: one per image, or one of all images under "batch".

    `partner` is read under "cross" only, as in `pixel_bags`.
    """
    images = feats_BPD.shape[0]
    shared = other_BPD.shape[1]
    if scope == "within":
        cands, cand_labels = other_BPD, other_labels_BP
    elif scope == "cross":
        # An image paired with itself has no second image: its labels there are ignored.
        pairs = tuple(partner.tolist())
        nothing = torch.full_like(other_labels_BP[0], ignore_index)
        partner_labels = torch.stack(
            [nothing if i == j else other_labels_BP[j] for i, j in enumerate(pairs)]
        )
        taken = _TakeImages.apply(other_BPD, pairs)
        cands = torch.cat([other_BPD, taken], 1)
        cand_labels = torch.cat([other_labels_BP, partner_labels], 1)
    else:
        flat = other_BPD.flatten(0, 1)[None]
        return CandidateBags(
            feats_BPD.flatten(0, 1)[None],
            labels_BP.flatten()[None],
            flat,
            other_labels_BP.flatten()[None],
            flat.shape[1],
            images,
            images,
        )
    return CandidateBags(feats_BPD, labels_BP, cands, cand_labels, shared, 1, images)


def pixel_bags(
    feats_BPD: Tensor,
    labels_BP: Tensor,
    other_BPD: Tensor | None,
    other_labels_BP: Tensor,
    scope: str,
    partner: Tensor,
) -> list[PixelBags]:
    """Bags of the released form, as lists of equal-sized bags whose losses add up."""
    images = feats_BPD.shape[0]
    if scope == "within":
        bags = [PixelBags((feats_BPD,), labels_BP, images)]
        if other_BPD is not None:
            bags.append(PixelBags((other_BPD,), other_labels_BP, images))
        return bags
    if scope == "cross":
        if other_BPD is None:
            other_BPD, other_labels_BP = feats_BPD, labels_BP
        pairs = tuple(partner.tolist())
        taken = _TakeImages.apply(other_BPD, pairs)
        labels = torch.cat([labels_BP, torch.stack([other_labels_BP[j] for j in pairs])], 1)
        return [PixelBags((feats_BPD, taken), labels, images)]
    flat, labels = feats_BPD.flatten(0, 1), labels_BP.flatten()
    if other_BPD is not None:
        flat = torch.cat([flat, other_BPD.flatten(0, 1)])
        labels = torch.cat([labels, other_labels_BP.flatten()])
    return [PixelBags((flat[None],), labels[None], 1)]


def longest(feats_GND: Tensor) -> float:
    """Length of the longest feature vector: the Cauchy-Schwarz bound of similarities is free."""
    dtype = torch.float64 if feats_GND.dtype == torch.float64 else torch.float32
    return torch.linalg.vector_norm(feats_GND, dim=2, dtype=dtype).max().item()
