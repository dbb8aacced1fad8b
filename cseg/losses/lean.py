"""The loss and its gradients in one pass, without autograd, in memory linear in the pixels."""

import os
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

import torch
from torch import Tensor

from cseg.losses import scopes as forms
from cseg.losses import unit
from cseg.losses.checks import LossInputError, check_values

TRITON_CHANNELS = 512  # a pixel's features must fit into a block of a kernel


def loss_and_grads(
    feats_BPD: Tensor,
    labels_BP: Tensor,
    other_BPD: Tensor | None,
    other_labels_BP: Tensor | None,
    temperature: Tensor,
    partner: Tensor | None,
    scope: str,
    denominator: str,
    ignore_index: int,
    normalize: bool,
    backend: str,
    needs: list[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute the loss of two views and its gradients by feats, other_feats and the temperature.

    Features have any float dtype, labels are int64, the temperature is one number, and the partner
    (B,) int64 on the CPU under the scope "cross"; options are those of `pixel_contrast_loss`, with
    one integer ignored and without the backend "dense". `normalize` scales features to length 1
    first; `needs` says which of the three gradients to compute.

    Returns:
        The loss and three gradients, of `dtypes`; (0,) in place of one that is not wanted.

    Raises:
        LossInputError: a temperature or partner out of range, a backend that cannot serve.
    """
    tau = check_values(temperature, partner, len(feats_BPD))
    given = forms.as_views(feats_BPD, labels_BP, other_BPD, other_labels_BP)
    with torch.autocast(feats_BPD.device.type, enabled=False):
        views, lengths = zip(*(_usable(view, ignore_index, normalize) for view in given))
        form, compute = ("paper", _paper) if denominator == "all" else ("released", _released)
        engine = _engine(backend, form, [feats for feats, _ in views], tau, normalize)
        loss, found = compute(engine, views, tau, partner, scope, ignore_index, needs)
        grads = list(found)
        for number, ((feats, labels), length) in enumerate(zip(given, lengths)):
            grad = grads[number]
            if needs[number] and length is not None and grad is not None:
                ignored = labels == ignore_index
                grads[number] = unit.through_length(grad, feats, ignored, length)
    loss_dtype, grad_dtype = dtypes(feats_BPD)
    by_feats, by_other, by_tau = (
        feats_BPD.new_empty(0, dtype=dtype) if grad is None or not need else grad.to(dtype)
        for grad, dtype, need in zip(grads, (grad_dtype, grad_dtype, loss_dtype), needs)
    )
    return loss.to(loss_dtype), by_feats, by_other, by_tau


def dtypes(feats: Tensor) -> tuple[torch.dtype, torch.dtype]:
    """Dtypes of the loss, and of gradients that wait for the backward.

    The loss is float64 for float64 features and float32 for all others. A gradient has the dtype of
    the features, but float32 for float16, in which it could underflow before a loss scale comes.
    """
    return unit.wide(feats.dtype), torch.float32 if feats.dtype == torch.float16 else feats.dtype


def _paper(
    engine: ModuleType,
    views: Sequence[forms.View],
    tau: float,
    partner: Tensor | None,
    scope: str,
    ignore_index: int,
    needs: forms.Needs,
) -> tuple[Tensor, Sequence[Tensor | None]]:
    bags = forms.candidate_bags(views, scope, partner, ignore_index)
    sides = (needs[0] or needs[2], needs[len(views) - 1])
    loss, grads = engine.candidate_grads(bags, tau, ignore_index, sides)
    # s = x·y / tau, so tau dL/dtau = -Σ s dL/ds = -Σ x·dL/dx over the anchors.
    by_tau = _dot(bags.anchors_GND, grads[0]) / -tau if needs[2] else None
    return loss, (*forms.candidate_view_grads(grads, views, partner), by_tau)


def _released(
    engine: ModuleType,
    views: Sequence[forms.View],
    tau: float,
    partner: Tensor | None,
    scope: str,
    ignore_index: int,
    needs: forms.Needs,
) -> tuple[Tensor, Sequence[Tensor | None]]:
    bags = forms.pixel_bags(views, scope, partner)
    sides = [need or needs[2] for need in needs[:2]] if len(bags) == 2 else [any(needs)]
    parts, grads = zip(
        *(engine.pixel_grads(bag, tau, ignore_index, need) for bag, need in zip(bags, sides))
    )
    by_tau = None
    if needs[2]:  # as in the paper's form, but every pixel is both anchor and candidate
        shares = [
            _dot(side, grad)
            for bag, whole in zip(bags, grads)
            for side, grad in zip(bag.sides, whole.tensor_split([bag.split], 1))
        ]
        by_tau = torch.stack(shares).sum() / (-2 * tau)
    by_views = forms.pixel_view_grads(grads, views, scope, partner)
    return torch.stack(parts).sum(), (*by_views, by_tau)


def _usable(
    view: forms.View, ignore_index: int, normalize: bool
) -> tuple[forms.View, Tensor | None]:
    """A view without what ignored pixels hold, and the divisors that scaled it, if any did."""
    if not normalize:
        return forms.without_ignored(view, ignore_index), None
    feats, labels = view
    scaled, length = unit.unit_and_length(feats, labels == ignore_index)
    return (scaled, labels), length


def _dot(feats: Tensor, grad: Tensor) -> Tensor:
    return (feats * grad).sum(dtype=torch.float64)


def _engine(
    backend: str, form: str, every: list[Tensor], tau: float, normalize: bool
) -> ModuleType:
    """Choose the module that computes; triton is imported only where it is used."""
    feats = every[0]
    channels = feats.shape[2]
    fits = feats.dtype != torch.float64 and channels <= TRITON_CHANNELS
    if backend == "auto":
        backend = "triton" if fits and _has_tensor_cores(feats) and find_spec("triton") else "tiled"
    if backend == "triton" and not fits:
        raise LossInputError(
            f"backend='triton' takes up to {TRITON_CHANNELS} channels and no float64, "
            f"not {channels} of {feats.dtype}; use backend='tiled'"
        )
    if backend == "triton" and not feats.is_cuda and os.environ.get("TRITON_INTERPRET") != "1":
        raise LossInputError(
            f"backend='triton' needs CUDA tensors, not {feats.device}; use backend='tiled'"
        )
    if backend == "triton":  # the kernels compute in float32
        # Measuring the length waits for the device.
        length = 1.0 if normalize else max(forms.longest(f) for f in every)
        backend = "tiled" if length**2 / tau > forms.SINGLE_BOUND else backend
    name = f"triton_{form}" if backend == "triton" else "tiled"
    return import_module(f"cseg.losses.{name}")


def _has_tensor_cores(feats: Tensor) -> bool:
    """Whether Triton has some for this device: for compute capability 8.0 and newer."""
    return feats.is_cuda and torch.cuda.get_device_capability(feats.device) >= (8, 0)
