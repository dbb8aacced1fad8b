"""The lean loss as operators of torch: opaque to torch.compile and export, known to fake tensors.

`torch.ops.cseg.pixel_contrast` computes the loss and its gradients at once; its backward scales
them. If a graph of the backward is wanted (create_graph), the dense form computes it instead.
"""

from typing import Any

import torch
from torch import Tensor

from cseg.losses import dense, lean, scopes

pixel_contrast = torch.library.custom_op(
    "cseg::pixel_contrast", lean.loss_and_grads, mutates_args=()
)


@pixel_contrast.register_fake
def _fake(
    feats: Tensor, labels: Tensor, other_feats: Tensor | None, *options: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    loss_dtype, grad_dtype = lean.dtypes(feats)
    *_, normalize, _, needs = options
    layout = torch.preserve_format if normalize else torch.contiguous_format
    by_feats, by_other = (
        torch.empty_like(given, dtype=grad_dtype, memory_format=layout)
        if need and given is not None
        else feats.new_empty(0, dtype=grad_dtype)
        for given, need in zip((feats, other_feats), needs)
    )
    by_temperature = feats.new_empty(() if needs[2] else 0, dtype=loss_dtype)
    return feats.new_empty((), dtype=loss_dtype), by_feats, by_other, by_temperature


def _save(ctx: Any, inputs: tuple, output: tuple[Tensor, ...]) -> None:
    feats, labels, other_feats, other_labels, temperature, partner, *options = inputs
    ctx.save_for_backward(feats, labels, other_feats, other_labels, temperature, partner)
    ctx.options = options
    ctx.grads = [grad.detach() for grad in output[1:]]
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, grad_loss: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
    nothing = [None] * (1 + len(ctx.options))
    if grad_loss is None:
        return None, None, None, None, None, *nothing
    feats, labels, other_feats, other_labels, temperature, partner = ctx.saved_tensors
    inputs, rest = (feats, other_feats, temperature), ctx.needs_input_grad
    needs = (rest[0], rest[2], rest[4])
    if torch.is_grad_enabled():  # create_graph
        views = scopes.as_views(feats, labels, other_feats, other_labels)
        loss = dense.view_loss(views, temperature, partner, *ctx.options[:4])
        leaves = [t for t, need in zip(inputs, needs) if need]
        found = iter(torch.autograd.grad(loss, leaves, grad_loss, create_graph=True))
        by_feats, by_other, by_temperature = (next(found) if need else None for need in needs)
    else:
        # The gradients are given away, not copied: a second backward (retain_graph) recomputes.
        grads, ctx.grads = ctx.grads, None
        if grads is None:
            grads = pixel_contrast(*ctx.saved_tensors, *ctx.options)[1:]
        by_feats, by_other, by_temperature = (
            _scaled(grad, grad_loss).to(like) if need else None
            for grad, like, need in zip(grads, inputs, needs)
        )
    if by_temperature is not None:
        by_temperature = by_temperature.view(temperature.shape)
    return by_feats, None, by_other, None, by_temperature, *nothing


def _scaled(grad: Tensor, factor: Tensor) -> Tensor:
    """The product, in the memory of `grad` if nobody traces it and `factor` is not batched."""
    if type(grad) is not Tensor:  # torch.compile, fake tensors
        return grad * factor
    try:
        return grad.mul_(factor)
    except RuntimeError:  # is_grads_batched
        return grad * factor


pixel_contrast.register_autograd(_backward, setup_context=_save)


@torch.library.custom_op(
    "cseg::random_pairing", mutates_args=(), tags=(torch.Tag.nondeterministic_seeded,)
)
def random_pairing(images: int) -> Tensor:
    """A random derangement from torch's global generator, (images,) int64 on the CPU."""
    return scopes.random_derangement(images)


@random_pairing.register_fake
def _fake_pairing(images: int) -> Tensor:
    return torch.empty(images, dtype=torch.int64, device="cpu")
