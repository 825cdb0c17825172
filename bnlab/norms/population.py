"""Normalization by statistics of the population, in training mode too.

Shape letters: N batch, C channels, S any number of spatial axes (none, W, HW, DHW).
"""

from typing import ClassVar

from torch import Tensor

from bnlab.norms.batch import BatchNorm
from bnlab.norms.moments import channel_moments, check_has_variance, check_input, wide_dtype
from bnlab.norms.norm import Formula, Invariance
from bnlab.norms.options import check_choice
from bnlab.norms.running_statistics import before_moving


class PopulationBatchNorm(BatchNorm):
    """Normalize by running or frozen statistics in training mode as in eval mode; no gradient through them.

    What remains of BatchNorm without its noise, and without the gradient through its statistics?

        y_c = weight_c * (x - running_mean_c) / sqrt(running_var_c + eps) + bias_c

    Training mode and eval mode compute the same function, and a sample's output never depends on its neighbors.
    With ``source=running`` training mode then updates the statistics for the *next* batch: running = momentum *
    running + (1 - momentum) * batch. With ``source=frozen`` they do not change: a loaded state or
    `precise_batch_stats` sets them. Before that they are 0 and 1, and the layer only scales and shifts.

    Axes:
        N and S are reduced for the running statistics; m = N * prod(S) values per mean and variance.

    Fails:
        The gradient does not know that the statistics follow the weights. A step that shifts or scales a channel has
        no effect once the statistics have followed; the gradient repeats it, and weights and biases before the layer
        grow without a change in the loss (Ioffe & Szegedy 2015, section 2). 600 steps of the default network with ReLU
        at learning rate 0.1 stall at training loss 0.53 and 0.83 test accuracy (BatchNorm: 0.03 and 0.93), and at 1.0
        it diverges within 5 steps; a smaller momentum or learning rate does not help (seed 0). As long as the
        statistics are near their initial values 0 and 1, the output is the plain network's. ``frozen`` is an affine
        map, and its statistics become wrong as the weights change.

    Args:
        num_channels: C, the size of the input's axis 1.
        source: ``running``: averages of the batches so far. ``frozen``: values that were set before.
        eps: Added to the variance, inside the root, so in squared input units; above 0.
        momentum: Share of the old running value that is kept, in [0, 1]: 0.9 here is 0.1 in PyTorch. None: the
            plain average over all batches seen. Not used with ``frozen``.
        affine: Learn a scale and a shift per channel.

    Shape:
        (N, C, *S) -> (N, C, *S), same dtype. Statistics are computed in float32 or wider.

    Buffers:
        running_mean: (C,), in input units, starts at 0.
        running_var: (C,), biased, in squared input units, starts at 1.
        num_batches_tracked: (), batches that have updated them.

    Raises:
        ConfigError: An option out of range, an input of the wrong shape, or exactly one value per channel in
            training mode with ``source=running`` (it would pull the running variance to 0).

    Source:
        Ours, as an arm. Population statistics in training: Luo, Wang, Shao & Peng 2019, arXiv:1809.00846 (with an
        explicit decay of the scale). Frozen ones: Wu & Johnson 2021, arXiv:2105.07576. The growth of weights
        without a gradient through the statistics: Ioffe & Szegedy 2015, arXiv:1502.03167, section 2.

    Example:
        >>> import torch
        >>> norm = PopulationBatchNorm(1)
        >>> x = torch.tensor([[3.0], [5.0]])
        >>> norm(x).detach().round(decimals=2)  # by 0 and 1, where the statistics start
        tensor([[3.],
                [5.]])
        >>> norm(x).detach().round(decimals=2)  # by 0.9 * 0 + 0.1 * 4 and 0.9 * 1 + 0.1 * 1
        tensor([[2.6000],
                [4.6000]])
    """

    # Within one batch an offset changes the output, so the linear map before it keeps its bias.
    subtracts_mean: ClassVar[bool] = False
    mixes_samples: ClassVar[bool] = False
    formula: ClassVar[Formula | None] = None
    invariances: ClassVar[frozenset[Invariance]] = frozenset()
    vectorizable: ClassVar[bool] = True

    running_mean: Tensor
    running_var: Tensor

    def __init__(
        self,
        num_channels: int,
        *,
        source: str = "running",
        eps: float = 1e-5,
        momentum: float | None = 0.9,
        affine: bool = True,
    ) -> None:
        check_choice(("running", "frozen"), source=source)
        super().__init__(num_channels, eps=eps, momentum=momentum, affine=affine)
        self.source = source

    def kept_per_step(self) -> float | None:
        """Return 1 if the statistics are frozen, else the momentum."""
        return 1.0 if self.source == "frozen" else self.momentum

    def forward(self, x_NCS: Tensor) -> Tensor:
        """Normalize a batch by the statistics before it; in training mode, update the running statistics afterwards."""
        check_input(x_NCS, self.num_channels)
        self._check_sizes()
        moves = self.training and self.source == "running" and self.track_running_stats
        if moves:
            check_has_variance(x_NCS)
        mean_C, var_C = self.running_mean, self.running_var
        if moves:
            mean_C, var_C = before_moving(mean_C, var_C)
        wide = wide_dtype(x_NCS.dtype)
        y_NCS = self._normalize_by(x_NCS, mean_C.to(wide), var_C.to(wide))
        if moves and x_NCS.numel() > 0:
            mean_C, var_C = channel_moments(x_NCS.detach())
            self._update_running_statistics(mean_C, var_C, num_values=x_NCS.numel() // self.num_channels)
        return y_NCS

    def extra_repr(self) -> str:
        """Return the options that print() shows."""
        return f"{super().extra_repr()}, source={self.source}"
