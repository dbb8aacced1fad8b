"""Autograd face of losses that know their gradient as soon as they know their value."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# (which gradients are wanted, features ...) -> loss and those gradients
Compute = Callable[..., tuple[Tensor, Sequence[Tensor | None]]]
Needs = Sequence[bool]


class _SinglePass(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, compute: Compute, *feats: Tensor) -> Tensor:
        ctx.save_for_backward(*feats)
        ctx.compute = compute
        # Kept in accumulation precision: half types could underflow before the loss scale comes.
        loss, ctx.grads = compute(ctx.needs_input_grad[1:], *feats)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor | None, ...]:
        # The gradients are given away, not copied: a second backward (retain_graph) recomputes.
        feats, grads, ctx.grads = ctx.saved_tensors, ctx.grads, None
        if grads is None:
            _, grads = ctx.compute(ctx.needs_input_grad[1:], *feats)
        return None, *(
            None if g is None else g.mul_(grad_loss).to(f.dtype) for f, g in zip(feats, grads)
        )


def single_pass(compute: Compute, *feats: Tensor) -> Tensor:
    """Scalar loss whose gradients are computed together with it.

    Args:
        compute: called as `compute(needs, *feats)` without autograd, `needs` a tuple of bools that
            says which gradients are wanted; returns the loss and a sequence of gradients or None.
        *feats: the tensors to differentiate by.
    """
    return _SinglePass.apply(compute, *feats)
