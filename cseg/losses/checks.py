"""What the loss takes, and the sentences with which it refuses everything else."""

import math
import operator
from collections.abc import Sequence
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from cseg.errors import CsegError
from cseg.losses import scopes as forms

SCOPES = ("within", "cross", "batch")
DENOMINATORS = ("all", "negatives")
BACKENDS = ("auto", "dense", "tiled", "triton")
NO_LABEL = -(2**63)  # stands for "nothing is ignored"; no label may have this value then


class LossInputError(CsegError, ValueError):
    """A tensor of the wrong shape or dtype, or an unknown option, given to the loss."""


def check_options(scope: str, denominator: str, backend: str, gather_distributed: bool) -> None:
    """Refuse unknown options, and gathering where nothing is to be gathered."""
    for name, value, known in (
        ("scope", scope, SCOPES),
        ("denominator", denominator, DENOMINATORS),
        ("backend", backend, BACKENDS),
    ):
        if value not in known:
            raise LossInputError(f"{name} must be one of {', '.join(known)}, not {value!r}")
    if gather_distributed and scope != "batch":
        raise LossInputError(
            f"gather_distributed=True goes with scope='batch', not {scope!r}, which compares "
            "images of one process only; set it False"
        )


def check_tensor(name: str, value: Any) -> None:
    """Refuse arrays and lists, which autograd does not see."""
    if not isinstance(value, Tensor):
        raise LossInputError(
            f"{name} must be a torch.Tensor, not {type(value).__name__}; use torch.as_tensor"
        )


def checked_temperature(temperature: float | Tensor) -> float | Tensor:
    """The temperature: a positive number, or a float tensor of one number (its sign is unread)."""
    if isinstance(temperature, Tensor):
        if temperature.numel() != 1 or not temperature.is_floating_point():
            raise LossInputError(
                "temperature must be a number or a float tensor of one number, not "
                f"{tuple(temperature.shape)} {temperature.dtype}"
            )
        return temperature
    real = isinstance(temperature, Real) and not isinstance(temperature, bool)
    if not (real and temperature > 0 and math.isfinite(temperature)):
        raise LossInputError(f"temperature must be a positive number, not {temperature!r}")
    return float(temperature)


def checked_ignored(ignore_index: int | Sequence[int] | None) -> tuple[int, ...]:
    """The ignored labels, of which there may be none."""
    if ignore_index is None:
        return ()
    values: Any = ignore_index if isinstance(ignore_index, (list, tuple)) else [ignore_index]
    return tuple(_integer("ignore_index", value) for value in values)


def checked_grid(grid: int | Sequence[int] | None) -> tuple[int, int] | None:
    """The grid's (height, width), from these or from the side of a square; None stays None."""
    if grid is None:
        return None
    sides = tuple(grid) if isinstance(grid, (list, tuple)) else (grid, grid)
    try:
        height, width = (operator.index(side) for side in sides)
    except (TypeError, ValueError):
        height, width = 0, 0
    if min(height, width) < 1 or any(isinstance(side, bool) for side in sides):
        raise LossInputError(
            f"grid must be (height, width), the side of a square or None, not {grid!r}"
        )
    return height, width


def _integer(name: str, value: Any) -> int:
    """An integer of int64's range, also of NumPy's types."""
    try:
        number = operator.index(value)
    except TypeError:
        number = 2**63
    if isinstance(value, bool) or not -(2**63) <= number < 2**63:
        raise LossInputError(f"{name} must be None or hold integers only, not {value!r}")
    return number


def check_values(temperature: Tensor, partner: Tensor | None, images: int) -> float:
    """Return the temperature's number; refuse one that is not positive, and unknown images.

    Raises:
        LossInputError: either is out of range.
    """
    tau = temperature.item()  # waits for a GPU only if the temperature is there
    if not (tau > 0 and math.isfinite(tau)):
        raise LossInputError(f"temperature must be a positive number, not {tau!r}")
    if partner is not None and not ((partner >= 0) & (partner < images)).all():
        raise LossInputError(f"partner must hold image numbers 0 to {images - 1}")
    return tau


def flatten_pixels(
    name: str, feats: Tensor, labels_name: str, labels: Tensor, ignored: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """Features as (B,P,D) and labels as (B,P) int64, checked against each other.

    Labels of all ignored values become the first of these.
    """
    check_tensor(name, feats)
    check_tensor(labels_name, labels)
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
    labels = labels.flatten(1).long()
    for value in ignored[1:]:
        labels = labels.masked_fill(labels == value, ignored[0])
    return feats, labels


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
    partner: Tensor | Sequence[int] | None, images: int, generator: torch.Generator | None
) -> Tensor:
    """Return the pairing on the CPU, int64 (B,): the one given, or a random derangement."""
    if generator is not None and not isinstance(generator, torch.Generator):
        raise LossInputError(f"generator must be a torch.Generator or None, not {generator!r}")
    if partner is None:
        return forms.random_derangement(images, generator)
    pairs: Any = partner
    if isinstance(partner, (list, tuple)):
        pairs = torch.tensor([_integer("partner", image) for image in partner], device="cpu")
    check_tensor("partner", pairs)
    if pairs.shape != (images,) or pairs.is_floating_point() or pairs.dtype == torch.bool:
        raise LossInputError(
            f"partner must be ({images},) int64, not {tuple(pairs.shape)} {pairs.dtype}"
        )
    return pairs.cpu().long()
