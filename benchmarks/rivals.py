"""The loss as others write it: what benchmarks/loss.py measures ours against.

Each takes features (P,D) of unit length and labels (P,), and returns a scalar.
"""

import torch
import torch.nn.functional as F

TEMPERATURE, IGNORE = 0.07, 255


def eager_released(feats, labels, sides=None):
    """Compute the released form with its masks of pixels x pixels, as in the authors' code."""
    logits = feats @ feats.T / TEMPERATURE
    usable = (labels != IGNORE).float()
    valid = usable[:, None] * usable[None, :]
    positive = (labels[:, None] == labels[None, :]).float()
    negative = 1 - positive
    if sides is not None:
        negative = negative * (sides[:, None] == sides[None, :]).float()
    positive, negative = positive * valid, negative * valid
    exps = torch.exp(logits) * valid
    ratio = exps / (exps + (exps * negative).sum(1, keepdim=True)).clamp(min=1e-30)
    cost = -torch.log(ratio * valid + (1 - valid))
    count = positive.sum(1)
    anchor = (cost * positive).sum(1) / count.clamp(min=1e-6)
    return anchor.sum() / (count > 0).float().sum()


def eager_released_cross(feats, labels, other, other_labels=None):
    """Compute the same on an image and another one's view, negatives from its image only."""
    both = torch.cat([feats, other])
    sides = torch.arange(len(both), device=both.device) >= len(feats)
    other_labels = labels if other_labels is None else other_labels
    return eager_released(both, torch.cat([labels, other_labels]), sides)


def eager_paper(feats, labels, other):
    """Compute the paper's within-image form by log_softmax and a mask."""
    logits = feats @ other.T / TEMPERATURE
    usable = labels != IGNORE
    log_prob = F.log_softmax(logits.masked_fill(~usable[None, :], -1e9), 1)
    positive = ((labels[:, None] == labels[None, :]) & usable[None, :]).float()
    anchor = -(log_prob * positive).sum(1) / positive.sum(1).clamp(min=1)
    return anchor[usable].mean()


def flex_paper(feats_BPD, labels_BP, other_BPD, classes, attention):
    """Compute the paper's within-image form of a batch, its log-sum-exp by flex-attention.

    An anchor costs lse(f·g / T) - f·m / T: the log-sum-exp over the usable pixels of the other
    view is the one that attention normalises by (anchors are queries, candidates keys, and a
    score_mod on the labels takes ignored candidates out); m is the mean of the candidates of the
    anchor's class, from sums by class without any pairs. Attention's output is thrown away, so
    its values are the first 16 channels only, the fewest that the kernel takes. Both terms are
    differentiated by autograd. Features are (B,P,D), labels (B,P) from 0 to `classes` - 1 or 255;
    `attention` is torch's flex_attention, or what torch.compile makes of it.
    """
    from torch.nn.attention.flex_attention import AuxRequest

    def usable_only(score, image, head, query, key):
        return torch.where(labels_BP[image, key] == IGNORE, -float("inf"), score)

    queries, keys = feats_BPD[:, None], other_BPD[:, None]
    _, found = attention(
        queries, keys, keys[..., :16], score_mod=usable_only, scale=1 / TEMPERATURE,
        return_aux=AuxRequest(lse=True),
    )  # fmt: skip
    usable = labels_BP != IGNORE
    members = F.one_hot(labels_BP.where(usable, classes), classes + 1)[..., :classes]
    feats, other = (f.to(found.lse.dtype) for f in (feats_BPD, other_BPD))  # float32 for bfloat16
    members = members.to(feats.dtype)
    means = members.mT @ other / members.sum(1).clamp(min=1)[..., None]
    anchor = found.lse[:, 0] - (feats * (members @ means)).sum(2) / TEMPERATURE
    return ((anchor * usable).sum(1) / usable.sum(1).clamp(min=1)).mean()


def sup_con(feats, labels, other):
    """SupConLoss of pytorch-metric-learning, the distorted view as reference embeddings."""
    from pytorch_metric_learning.losses import SupConLoss

    keep = labels != IGNORE
    feats, other, labels = feats[keep], other[keep], labels[keep]
    return SupConLoss(temperature=TEMPERATURE)(feats, labels, ref_emb=other, ref_labels=labels)


def sampled(feats, labels, count):
    """Contrast a sample of pixels of the batch, equally many of each image and class.

    As in ContrastiveSeg (Wang et al., ICCV 2021), whose choice of hard pixels by a prediction is
    left out: pixels of each (image, class) drawn at random, then a supervised contrast among them.
    """
    picked = []
    groups = [(i, c) for i, y in enumerate(labels) for c in y.unique().tolist() if c != IGNORE]
    each = max(1, count // len(groups))
    for i, c in groups:
        there = (labels[i] == c).nonzero()[:, 0]
        chosen = there[torch.randperm(len(there), device=there.device)[:each]]
        picked.append((feats[i, chosen], labels[i, chosen]))
    x, y = (torch.cat(parts) for parts in zip(*picked))
    logits = x @ x.T / TEMPERATURE
    same = (y[:, None] == y[None, :]).float()
    itself = torch.eye(len(y), device=y.device)
    positive, negative = same - itself, 1 - same
    logits = logits - logits.detach().amax(1, keepdim=True)
    exps = torch.exp(logits)
    log_prob = logits - torch.log(exps + (exps * negative).sum(1, keepdim=True))
    return -((positive * log_prob).sum(1) / positive.sum(1).clamp(min=1)).mean()
