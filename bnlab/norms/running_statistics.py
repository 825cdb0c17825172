"""The base class of norms with running statistics of their own, and a safe way to read buffers before an update.

Shape letters: N batch, C channels, S any number of spatial axes (none, W, HW, DHW).
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from bnlab.norms.moments import (
    check_has_variance,
    check_input,
    kept_share,
    scale_and_shift,
    update_running,
    wide_dtype,
)
from bnlab.norms.norm import Norm
from bnlab.norms.options import check_momentum, check_switches


class RunningNorm(Norm, ABC):
    """Scale and shift each channel by statistics of the batch, or in eval mode by their running averages.

    A subclass defines the statistics of a batch, the initial values of their running averages, and scale and center.

    Args:
        num_channels: C, the size of the input's axis 1.
        momentum: Share of the old running value that is kept, in [0, 1]. None: the plain average.
        affine: Learn a scale and a shift per channel.
    """

    keeps_running_statistics: ClassVar[bool] = True
    mixes_samples: ClassVar[bool] = True

    running_starts: ClassVar[Mapping[str, float]]
    """Buffer -> its value before the first batch."""

    num_batches_tracked: Tensor

    def __init__(self, num_channels: int, *, momentum: float | None, affine: bool) -> None:
        super().__init__()
        check_momentum(momentum)
        check_switches(affine=affine)
        self.num_channels = num_channels
        self.momentum = momentum
        self.weight = nn.Parameter(torch.ones(num_channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(num_channels)) if affine else None
        for name, start in self.running_starts.items():
            self.register_buffer(name, torch.full((num_channels,), start))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    @abstractmethod
    def batch_statistics(self, x_NCS: Tensor) -> dict[str, Tensor]:
        """Return name of a buffer -> the statistic of this batch (C,), in float32 or wider; differentiable."""

    @abstractmethod
    def scale_and_center(self, statistics: Mapping[str, Tensor]) -> tuple[Tensor | None, Tensor | None]:
        """Return the factor and the value to subtract before it, (C,) each; None for 1 and 0."""

    def forward(self, x_NCS: Tensor) -> Tensor:
        """Normalize a batch; in training mode, update the running statistics too."""
        check_input(x_NCS, self.num_channels)
        wide = wide_dtype(x_NCS.dtype)
        running = {name: getattr(self, name) for name in self.running_starts}
        if not self.training:
            return self._map(x_NCS, {name: value.to(wide) for name, value in running.items()})
        check_has_variance(x_NCS)
        self.num_batches_tracked.add_(1)
        if x_NCS.numel() == 0:  # an empty batch: an empty output, and all gradients are 0
            return self._map(x_NCS, {name: value.to(wide) for name, value in running.items()})
        statistics = self.batch_statistics(x_NCS)
        for name, value in running.items():
            kept = kept_share(self.momentum, self.num_batches_tracked, value.dtype)
            update_running(value, statistics[name], kept)
        return self._map(x_NCS, statistics)

    def _map(self, x_NCS: Tensor, statistics: Mapping[str, Tensor]) -> Tensor:
        scale_C, center_C = self.scale_and_center(statistics)
        one_C = x_NCS.new_ones(self.num_channels, dtype=wide_dtype(x_NCS.dtype))
        scale_C = one_C if scale_C is None else scale_C
        scale_C = scale_C if self.weight is None else scale_C * self.weight
        shift_C = torch.zeros_like(scale_C) if center_C is None else -center_C * scale_C
        return scale_and_shift(x_NCS, scale_C, shift_C if self.bias is None else shift_C + self.bias)

    def extra_repr(self) -> str:
        """Return the options that print() shows."""
        return f"{self.num_channels}, momentum={self.momentum}"


def before_moving(*buffers: Tensor) -> tuple[Tensor, ...]:
    """Return copies of buffers, for an output that depends on their values before this forward pass updates them.

    If a compiled graph contains both the use and the update, its backward pass may compute the use again after the
    update: PyTorch 2.14 then gives a wrong gradient without an error (pytorch/pytorch pull request 197039). So the
    graph ends here: `torch.compile` builds two graphs, and raises an error with ``fullgraph=True``.
    """
    copies = tuple(buffer.clone() for buffer in buffers)
    if torch.compiler.is_compiling():
        torch._dynamo.graph_break()
    return copies
