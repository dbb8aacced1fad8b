"""Features scaled to length 1, and gradients through that scaling.

B images, P pixels of an image, D channels.
"""

from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

SHORTEST = 1e-12  # a shorter vector is divided by this, as F.normalize does
CHUNK = 2**21  # numbers worked on at a time: their float32 copies stay smaller than the features


def wide(given: torch.dtype) -> torch.dtype:
    """The dtype to compute in for features of dtype `given`: float32, or float64 for float64."""
    return torch.float64 if given == torch.float64 else torch.float32


def normalized(feats: Tensor, ignored: Tensor, channels: int) -> Tensor:
    """The features, of length 1 along dimension `channels`, 0 where ignored; for autograd.

    Computed in float32 for half types; the result is bfloat16 only for bfloat16.
    """
    # Filled before the norm, whose gradient at NaN would be NaN however it is weighted.
    filled = feats.masked_fill(ignored.unsqueeze(channels), 0)
    unit = F.normalize(filled.to(wide(feats.dtype)), dim=channels)
    return unit.to(unit_dtype(feats.dtype))


def unit_dtype(given: torch.dtype) -> torch.dtype:
    """Dtype of features of length 1: bfloat16 is as tensor cores take it, float16 has float32."""
    return given if given == torch.bfloat16 else wide(given)


def unit_and_length(feats_BPD: Tensor, ignored_BP: Tensor) -> tuple[Tensor, Tensor]:
    """As `normalized`, without autograd and without a wide copy, and the divisors (B,P,1)."""
    length = torch.linalg.vector_norm(feats_BPD, dim=2, keepdim=True, dtype=wide(feats_BPD.dtype))
    length = length.clamp_min_(SHORTEST).masked_fill_(ignored_BP[:, :, None], 1)
    unit = torch.empty_like(feats_BPD, dtype=unit_dtype(feats_BPD.dtype))
    torch.div(feats_BPD, length, out=unit)
    return unit.masked_fill_(ignored_BP[:, :, None], 0), length


def through_length(
    grad_BPD: Tensor, feats_BPD: Tensor, ignored_BP: Tensor, length: Tensor
) -> Tensor:
    """The gradient by the features, laid out as they are, from that by features of length 1.

    The latter's memory is used up. Steps and layouts are autograd's own, so that the CPU's float32
    bits are those of F.normalize.
    """
    by_feats = grad_BPD
    if not feats_BPD.is_contiguous():
        by_feats = torch.empty_like(feats_BPD, dtype=grad_BPD.dtype)
    images, pixels, channels = feats_BPD.shape
    steps = max(1, CHUNK // (pixels * channels)), max(1, CHUNK // channels)
    for image, pixel in product(range(0, images, steps[0]), range(0, pixels, steps[1])):
        part = slice(image, image + steps[0]), slice(pixel, pixel + steps[1])
        divisor, grad = length[part], grad_BPD[part].to(length.dtype)
        feats = feats_BPD[part].to(length.dtype).masked_fill(ignored_BP[part][:, :, None], 0)
        along = (feats / divisor).div_(divisor).mul_(grad).sum(2, keepdim=True).neg_()
        along.masked_fill_(divisor <= SHORTEST, 0)
        by_feats[part] = grad.div_(divisor).add_(feats.div_(divisor).mul_(along))
    return by_feats.masked_fill_(ignored_BP[:, :, None], 0)
