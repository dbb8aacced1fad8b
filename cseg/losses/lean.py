"""The loss and its gradients in one pass, without autograd, in memory linear in the pixels."""

import os
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

import torch
from torch import Tensor

from cseg.losses import scopes as forms
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
    backend: str,
    prepared: bool,
    needs: forms.Needs,
) -> tuple[Tensor, list[Tensor | None]]:
    """Compute the loss of two views and its gradients by feats, other_feats and the temperature.

    Args:
        feats_BPD: features of any float dtype.
        labels_BP: int64.
        other_BPD: the other view or None.
        other_labels_BP: its labels.
        temperature: one number.
        partner: (B,) int64 on the CPU under the scope "cross".
        scope: see `pixel_contrast_loss`, as for what follows.
        denominator: likewise.
        ignore_index: likewise, one integer.
        backend: "auto", "tiled" or "triton".
        prepared: whether features are no longer than 1, and 0 where ignored.
        needs: which of the three gradients are wanted.

    Returns:
        The loss (`loss_dtype`) and a gradient or None for each of the three (`grad_dtype`, the
        temperature's `loss_dtype`).

    Raises:
        LossInputError: a temperature or partner out of range, a backend that cannot serve.
    """
    tau = check_values(temperature, partner, len(feats_BPD))
    first, second = (feats_BPD, labels_BP), None
    if other_BPD is not None and other_labels_BP is not None:
        second = (other_BPD, other_labels_BP)
    if not prepared:
        first = _without_ignored(first, ignore_index)
        second = None if second is None else _without_ignored(second, ignore_index)
    with torch.autocast(feats_BPD.device.type, enabled=False):
        engine = _engine(backend, [v[0] for v in (first, second) if v is not None], tau, prepared)
        form = _paper if denominator == "all" else _released
        loss, grads = form(engine, first, second, tau, partner, scope, ignore_index, needs)
        dtypes = [grad_dtype(feats_BPD)] * 2 + [loss_dtype(feats_BPD)]
        wanted = (grad if need else None for grad, need in zip(grads, needs))
        kept = [None if grad is None else grad.to(dtype) for grad, dtype in zip(wanted, dtypes)]
        return loss.to(loss_dtype(feats_BPD)), kept


def loss_dtype(feats: Tensor) -> torch.dtype:
    """Dtype of the loss: float64 for float64 features, float32 for all others."""
    return torch.float64 if feats.dtype == torch.float64 else torch.float32


def grad_dtype(feats: Tensor) -> torch.dtype:
    """Dtype in which gradients wait for the backward.

    That of the features, but float32 for float16, in which they could underflow before a loss scale
    multiplies them.
    """
    return torch.float32 if feats.dtype == torch.float16 else feats.dtype


def _paper(
    engine: ModuleType,
    anchors: forms.View,
    second: forms.View | None,
    tau: float,
    partner: Tensor | None,
    scope: str,
    ignore_index: int,
    needs: forms.Needs,
) -> tuple[Tensor, Sequence[Tensor | None]]:
    candidates = second or anchors
    bags = forms.candidate_bags(anchors, candidates, scope, partner, ignore_index)
    wanted = (needs[0] or needs[2], needs[0] if second is None else needs[1])
    loss, grads = engine.candidate_grads(bags, tau, ignore_index, wanted)
    # s = x·y / tau, so tau dL/dtau = -Σ s dL/ds = -Σ x·dL/dx over the anchors.
    by_tau = _dot(bags.anchors_GND, grads[0]) / -tau if needs[2] else None
    by_feats, by_other = forms.candidate_view_grads(grads, anchors[0], candidates[0], partner)
    if second is None and by_feats is not None and by_other is not None:
        by_feats.add_(by_other)
    return loss, (by_feats, by_other, by_tau)


def _released(
    engine: ModuleType,
    first: forms.View,
    second: forms.View | None,
    tau: float,
    partner: Tensor | None,
    scope: str,
    ignore_index: int,
    needs: forms.Needs,
) -> tuple[Tensor, Sequence[Tensor | None]]:
    bags = forms.pixel_bags(first, second, scope, partner)
    wanted = [need or needs[2] for need in needs[:2]] if len(bags) == 2 else [any(needs)]
    parts, grads = zip(
        *(engine.pixel_grads(bag, tau, ignore_index, need) for bag, need in zip(bags, wanted))
    )
    by_tau = None
    if needs[2]:  # as in the paper's form, but every pixel is both anchor and candidate
        shares = [
            _dot(side, grad)
            for bag, whole in zip(bags, grads)
            for side, grad in zip(bag.sides, whole.tensor_split([bag.split], 1))
        ]
        by_tau = torch.stack(shares).sum() / (-2 * tau)
    other = None if second is None else second[0]
    by_feats, by_other = forms.pixel_view_grads(grads, first[0], other, scope, partner)
    return torch.stack(parts).sum(), (by_feats, by_other, by_tau)


def _without_ignored(view: forms.View, ignore_index: int) -> forms.View:
    return forms.without_ignored(*view, ignore_index), view[1]


def _dot(feats: Tensor, grad: Tensor) -> Tensor:
    return (feats * grad).sum(dtype=torch.float64)


def _engine(backend: str, every: list[Tensor], tau: float, prepared: bool) -> ModuleType:
    """Choose the module that computes; triton is imported only where it is used."""
    feats = every[0]
    channels = feats.shape[2]
    fits = feats.dtype != torch.float64 and channels <= TRITON_CHANNELS
    if backend == "auto":
        backend = "triton" if feats.is_cuda and fits and find_spec("triton") else "tiled"
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
        length = 1.0 if prepared else max(forms.longest(f) for f in every)
        backend = "tiled" if length**2 / tau > forms.SINGLE_BOUND else backend
    return import_module({"triton": "cseg.losses.triton_kernels"}.get(backend, "cseg.losses.tiled"))
