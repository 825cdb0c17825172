"""Sums over all processes that share one batch.

Each process has a part of the batch. The statistics need two sums per channel of the other processes' parts.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

_is_alone = False


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Compute statistics from this process's values only, as long as the context lasts."""
    global _is_alone
    before, _is_alone = _is_alone, True
    try:
        yield
    finally:
        _is_alone = before


def num_processes() -> int:
    """Return how many processes share the batch: those of torch.distributed, or 1."""
    if _is_alone:
        return 1
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def add_up(sums: Tensor) -> Tensor:
    """Return the sum of a tensor over all processes, differentiably.

    All processes must call it, and run the backward pass. The gradient is that of the sum of all processes' losses,
    since the result of each process depends on the sums of all.

    Args:
        sums: The sums of this process, of the same shape in every process.
    """
    total: Tensor = _AddUp.apply(sums)
    return total


def add_up_count(count: int, device: torch.device) -> int:
    """Return the sum of a whole number over all processes.

    Args:
        count: The number of this process.
        device: A device that the processes can communicate over.
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
