"""Several processes that train as one: each takes its share of every batch, gradients are averaged.

Ranks are started by `cseg.jobs.launch`; without it everything here is the case of one rank.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from cseg.compute.device import has_gpu
from cseg.errors import ConfigError
from cseg.losses.gather import world_size

Items = TypeVar("Items", list[Any], np.ndarray, Tensor)


@dataclass(frozen=True)
class Share:
    """The part of the work that is a process's own: number `rank` of `ranks` equal ones."""

    rank: int = 0
    ranks: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes files and shows progress."""
        return self.rank == 0

    def part(self, items: Items) -> Items:
        """The rank's run of consecutive items, of a number that the ranks divide."""
        size = len(items) // self.ranks
        return items[self.rank * size : (self.rank + 1) * size]


ALONE = Share()


def current_share() -> Share:
    """The share of this process."""
    return Share(dist.get_rank(), world_size()) if world_size() > 1 else ALONE


@contextmanager
def group() -> Iterator[None]:
    """Join the group that the launcher describes in the environment, and leave it at the end."""
    gpu = has_gpu()
    if gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    dist.init_process_group("cpu:gloo,cuda:nccl" if gpu else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def check_batch(batch: int, pieces: int, share: Share, stage: str) -> None:
    """Check that the ranks divide a batch into pieces of at least two images.

    Raises:
        ConfigError: they do not.
    """
    parts = pieces * share.ranks
    if share.ranks > 1 and (batch % parts or batch // parts < 2):
        raise ConfigError(
            f"config key {stage}.batch is {batch}, which {share.ranks} processes and accumulate "
            f"{pieces} do not divide into parts of at least 2 images; change the batch or gpu"
        )


def any_rank(flags: Sequence[bool]) -> list[bool]:
    """For each flag, whether it is set on any rank; ranks must ask alike."""
    if world_size() == 1:
        return list(flags)
    values = torch.tensor(list(flags), dtype=torch.uint8)
    dist.all_reduce(values, dist.ReduceOp.MAX)
    return [bool(value) for value in values]


def sum_over_ranks(values: Tensor) -> Tensor:
    """The sum over ranks, without gradient."""
    if world_size() == 1:
        return values.detach()
    total = values.detach().clone()
    dist.all_reduce(total)
    return total


def gather_to_leader(value: Any) -> list[Any]:
    """The values of all ranks in the leading process; nothing in the others."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    dist.gather_object(value, values if dist.get_rank() == 0 else None)
    return values if dist.get_rank() == 0 else []


def share_batch_norm(network: nn.Module, device: torch.device) -> None:
    """Let batch norm see the batches of all ranks: torch's SyncBatchNorm, its twin on a CPU."""
    if world_size() == 1:
        return
    if device.type == "cuda":
        from timm.layers import convert_sync_batchnorm  # torch's would lose timm's activations

        convert_sync_batchnorm(network)  # in place, but for a bare batch norm
        return
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.__class__ = SharedBatchNorm  # same parameters and names, another forward


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch norm over the pixels of all ranks; torch's SyncBatchNorm takes GPU tensors only.

    Where timm's layer takes dropout and activation along, they follow, as `drop` and `act`.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, H, W) with the statistics of all ranks' batches, of equal sizes."""
        normal = self._shared(input) if self.training else super().forward(input)
        for name, part in self.named_children():
            if name in ("drop", "act"):
                normal = part(normal)
        return normal

    def _shared(self, input: Tensor) -> Tensor:
        axes, ranks = (0, 2, 3), world_size()
        count = ranks * input.numel() // input.shape[1]
        mean = _SumOfRanks.apply(input.mean(axes)) / ranks
        centred = input - mean[:, None, None]
        variance = _SumOfRanks.apply(centred.square().mean(axes)) / ranks
        with torch.no_grad():
            self.num_batches_tracked.add_(1)  # type: ignore[operator, union-attr]
            self.running_mean.lerp_(mean, self.momentum)  # type: ignore[union-attr, arg-type]
            unbiased = variance * (count / max(count - 1, 1))
            self.running_var.lerp_(unbiased, self.momentum)  # type: ignore[union-attr, arg-type]
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return centred * scale[:, None, None] + self.bias[:, None, None]


class _SumOfRanks(torch.autograd.Function):
    """Sum over ranks, of values and of gradients."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return sum_over_ranks(values)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return sum_over_ranks(grad)
