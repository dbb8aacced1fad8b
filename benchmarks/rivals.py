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


def eager_released_cross(feats, labels, other):
    """Compute the same on an image and another one's view, negatives from its image only."""
    both = torch.cat([feats, other])
    sides = torch.arange(len(both)) >= len(feats)
    return eager_released(both, torch.cat([labels, labels]), sides)


def eager_paper(feats, labels, other):
    """Compute the paper's within-image form by log_softmax and a mask."""
    logits = feats @ other.T / TEMPERATURE
    usable = labels != IGNORE
    log_prob = F.log_softmax(logits.masked_fill(~usable[None, :], -1e9), 1)
    positive = ((labels[:, None] == labels[None, :]) & usable[None, :]).float()
    anchor = -(log_prob * positive).sum(1) / positive.sum(1).clamp(min=1)
    return anchor[usable].mean()


def sup_con(feats, labels, other):
    """SupConLoss of pytorch-metric-learning, the distorted view as reference embeddings."""
    from pytorch_metric_learning.losses import SupConLoss

    keep = labels != IGNORE
    feats, other, labels = feats[keep], other[keep], labels[keep]
    return SupConLoss(temperature=TEMPERATURE)(feats, labels, ref_emb=other, ref_labels=labels)
