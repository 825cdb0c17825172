"""Sums over all processes that share one batch.

Each process holds a shard of the batch; what the statistics need of the other shards is two sums per channel.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def num_processes() -> int:
    """Return how many processes share the batch: those of torch.distributed, or 1."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def add_up(sums: Tensor) -> Tensor:
    """Return the sum of a tensor over all processes, differentiably.

    Every process must call it, and so must every backward. The loss that is differentiated is the sum of all
    processes' losses: each one's result depends on everyone's sums, so its gradient adds up everyone's too.

    Args:
        sums: Of the same shape in every process.
    """
    total: Tensor = _AddUp.apply(sums)
    return total


def add_up_count(count: int, device: torch.device) -> int:
    """Return the sum of a whole number over all processes.

    Args:
        count: This process's.
        device: One that the processes can talk over.
    """
    total = torch.tensor(count, device=device)
    dist.all_reduce(total)
    return int(total)


class _AddUp(torch.autograd.Function):
    """All-reduce, whose gradient is an all-reduce."""

    @staticmethod
    def forward(ctx: Any, sums: Tensor) -> Tensor:  # noqa: ARG004
        total = sums.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:  # noqa: ARG004
        return add_up(grads[0])
