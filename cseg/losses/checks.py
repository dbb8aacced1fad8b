"""What the loss takes, and the sentences with which it refuses everything else."""

import torch
from torch import Tensor

from cseg.errors import CsegError
from cseg.losses import scopes as forms


class LossInputError(CsegError, ValueError):
    """A tensor of the wrong shape or dtype, or an unknown option, given to the loss."""


def check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    """Refuse an option that is not one of the known ones."""
    if value not in known:
        raise LossInputError(f"{name} must be one of {', '.join(known)}, not {value!r}")


def flatten_pixels(
    name: str, feats: Tensor, labels_name: str, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Features as (B,P,D) and labels as (B,P) int64, checked against each other."""
    if not feats.is_floating_point():
        raise LossInputError(f"{name} must be of a float dtype, not {feats.dtype}")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise LossInputError(f"{labels_name} must be of an integer dtype, not {labels.dtype}")
    if feats.dim() not in (3, 4) or 0 in feats.shape:
        raise LossInputError(
            f"{name} must be (B,D,H,W) or (B,P,D) and not empty, not {tuple(feats.shape)}"
        )
    batch, *rest = feats.shape
    pixels = (batch, *rest[1:]) if feats.dim() == 4 else (batch, rest[0])
    if tuple(labels.shape) != pixels:
        raise LossInputError(
            f"{labels_name} must be {pixels} to match {name} of {tuple(feats.shape)}, "
            f"not {tuple(labels.shape)}"
        )
    if labels.device != feats.device:
        raise LossInputError(
            f"{labels_name} is on {labels.device} but {name} on {feats.device}; move one"
        )
    if feats.dim() == 4:
        feats = feats.flatten(2).mT
    if feats.dtype not in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        raise LossInputError(f"{name} must be float16, bfloat16, float32 or float64")
    return feats, labels.flatten(1).long()


def check_views(feats: Tensor, other: Tensor, scope: str) -> None:
    """Refuse views that do not fit together; one bag of all pixels may hold further images."""
    images_fit = feats.shape[0] == other.shape[0] or scope == "batch"
    same = images_fit and feats.shape[2] == other.shape[2]
    if not same or feats.dtype != other.dtype or feats.device != other.device:
        raise LossInputError(
            "other_feats must have the batch size, channels, dtype and device of feats, "
            f"(B,P,D) = {tuple(feats.shape)} {feats.dtype} {feats.device}, "
            f"not {tuple(other.shape)} {other.dtype} {other.device}"
        )


def checked_partner(
    partner: Tensor | None, images: int, generator: torch.Generator | None
) -> Tensor:
    """Return the pairing on the CPU, int64 (B,): the one given, or a random derangement."""
    if partner is None:
        return forms.random_derangement(images, generator)
    if partner.shape != (images,) or partner.is_floating_point() or partner.dtype == torch.bool:
        raise LossInputError(
            f"partner must be ({images},) int64, not {tuple(partner.shape)} {partner.dtype}"
        )
    partner = partner.cpu().long()
    if partner.min() < 0 or partner.max() >= images:
        raise LossInputError(f"partner must hold image numbers 0 to {images - 1}")
    return partner
