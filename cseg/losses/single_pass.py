"""Autograd face of losses that know their gradient as soon as they know their value."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class _SinglePass(torch.autograd.Function):
    @staticmethod
    def forward(ctx, compute, *feats: Tensor) -> Tensor:
        loss, grads = compute(*feats, ctx.needs_input_grad[1:])
        ctx.grads = grads  # kept in accumulation precision: half types could underflow unscaled
        ctx.dtypes = [f.dtype for f in feats]
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_loss: Tensor):
        scaled = [
            None if g is None else (g * grad_loss).to(dtype)
            for g, dtype in zip(ctx.grads, ctx.dtypes)
        ]
        return None, *scaled


def single_pass(compute: Callable, *feats: Tensor) -> Tensor:
    """Scalar loss whose gradients are computed together with it.

    Args:
        compute: called as `compute(*feats, needs)` without autograd, `needs` a tuple of bools that
            says which gradients are wanted; returns the loss and a list of gradients or None.
        *feats: the tensors to differentiate by.
    """
    return _SinglePass.apply(compute, *feats)
