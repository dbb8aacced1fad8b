"""Pixels of all ranks as one batch, for scope="batch" under torch.distributed."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from cseg.losses.checks import LossInputError
from cseg.losses.scopes import View


def world_size() -> int:
    """Count the ranks; 1 where torch.distributed is not running."""
    running = dist.is_available() and dist.is_initialized()
    return dist.get_world_size() if running else 1


def check_shapes(feats: Sequence[Tensor]) -> None:
    """Refuse features whose shapes or dtypes differ between ranks, which cannot be gathered.

    Raises:
        LossInputError: they do, on every rank.
    """
    mine = [(tuple(t.shape), str(t.dtype)) for t in feats]
    everyone: list = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, mine)
    if any(other != mine for other in everyone):
        raise LossInputError(
            "feats and other_feats must have one shape and dtype on all ranks under "
            f"gather_distributed, here {tuple(feats[0].shape)} {feats[0].dtype}; drop the last, "
            "smaller batch"
        )


class _Gather(torch.autograd.Function):
    """Concatenation over ranks; its gradient is this rank's part, summed over ranks if `add`."""

    @staticmethod
    def forward(ctx: Any, feats: Tensor, add: bool) -> Tensor:
        ctx.add = add
        return _concatenated(feats)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        if torch.is_grad_enabled():
            raise LossInputError(
                "gather_distributed=True has no second derivatives; compute them in one process"
            )
        if ctx.add:
            grad = grad.contiguous()
            dist.all_reduce(grad)
        return grad.chunk(dist.get_world_size())[dist.get_rank()], None


def _concatenated(values: Tensor) -> Tensor:
    values = values.contiguous()
    parts = [torch.empty_like(values) for _ in range(world_size())]
    dist.all_gather(parts, values)
    return torch.cat(parts)


def gathered(view: View, add: bool) -> View:
    """The view's images on all ranks.

    Gradients `add` up if ranks compute different parts of the loss from the result, and do not if
    every rank computes the whole loss.
    """
    return _Gather.apply(view[0], add), _concatenated(view[1])


def sum_values(part: Tensor) -> Tensor:
    """Add up a scalar over ranks; differentiating it differentiates this rank's part."""
    total = part.detach().clone()
    dist.all_reduce(total)
    return total + (part - part.detach())
