"""Switchable normalization: a learned mixture of three norms' statistics.

Shape letters: N batch, C channels, S any number of spatial axes (none, W, HW, DHW).
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from bnlab.norms.moments import (
    axes_but_channel,
    channel_moments,
    check_has_variance,
    check_input,
    kept_share,
    per_channel,
    update_running,
    wide_dtype,
)
from bnlab.norms.norm import Invariance, Norm
from bnlab.norms.options import check_eps, check_momentum


class SwitchableNorm(Norm):
    """Normalize by a learned mixture of the statistics of InstanceNorm, LayerNorm and BatchNorm.

    Over which axes should a layer be normalized? Each layer learns it, and the result can be read afterwards.

        y = weight_c * (x - mean) / sqrt(var + eps) + bias_c
        mean = p_1 mean_nc + p_2 mean_n + p_3 mean_c,    p = softmax(mean_logits)
        var  = q_1 var_nc + q_2 var_n + q_3 var_c,       q = softmax(var_logits)

    Training mode uses the batch's own mean_c and (biased) var_c, and updates the running ones: running = momentum *
    running + (1 - momentum) * batch. Eval mode uses the running ones; the other two kinds of statistics are
    always those of each sample.

    ``momentum`` is the share of the *old* running value that is kept: 0.9 here is 0.1 in PyTorch. The authors' code
    keeps 0.997, or averages the statistics of many batches.

    Axes:
        S (prod(S) values), C and S (C * prod(S) values) and N and S (N * prod(S) values), mixed. On (N, C) and 1x1
        maps the first kind does not exist, and the mixture is of the other two.

    Fails:
        It has BatchNorm's problems with small batches in proportion to the share q_3, which is one third at the start.
        The mixture learns at the network's learning rate, possibly before the features are useful. Mean and variance
        have separate mixtures, so that no output has mean 0 and variance 1 over any set of axes.

    Args:
        num_channels: C, the size of the input's axis 1.
        eps: Added to the variance, inside the root; above 0.
        momentum: Share of the old running value that is kept, in [0, 1]. None: the plain average over all
            batches seen.

    Shape:
        (N, C, *S) -> (N, C, *S), same dtype. Statistics are computed in float32 or wider.

    Buffers:
        running_mean: (C,), in input units, starts at 0.
        running_var: (C,), in squared input units, starts at 1.
        num_batches_tracked: (), batches seen in training mode.

    Raises:
        ConfigError: An option out of range, an input of the wrong shape, or exactly one value per channel in training
            mode.

    Source:
        Luo, Ren, Peng, Zhang & Li 2019, arXiv:1806.10779, equations 2 to 5.

    Example:
        >>> norm = SwitchableNorm(3)
        >>> norm.mixture()["var"]  # instance, layer, batch
        tensor([0.3333, 0.3333, 0.3333])
    """

    keeps_running_statistics: ClassVar[bool] = True
    subtracts_mean: ClassVar[bool] = True
    mixes_samples: ClassVar[bool] = True
    invariances: ClassVar[frozenset[Invariance]] = frozenset()
    vectorizable: ClassVar[bool] = True

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, num_channels: int, *, eps: float = 1e-5, momentum: float | None = 0.9) -> None:
        super().__init__()
        check_eps(eps)
        check_momentum(momentum)
        self.num_channels = num_channels
        self.eps = eps
        self.momentum = momentum
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))
        self.mean_logits = nn.Parameter(torch.ones(3))
        self.var_logits = nn.Parameter(torch.ones(3))
        self.register_buffer("running_mean", torch.zeros(num_channels))
        self.register_buffer("running_var", torch.ones(num_channels))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, x_NCS: Tensor) -> Tensor:
        """Normalize a batch; in training mode, update the running statistics too."""
        check_input(x_NCS, self.num_channels)
        x = x_NCS.to(wide_dtype(x_NCS.dtype))
        space = list(range(2, x.dim()))
        has_space = x.shape[2:].numel() > 1
        mean_nc = x.mean(space, keepdim=True) if has_space else x
        var_nc = (x - mean_nc).square().mean(space, keepdim=True) if has_space else torch.zeros_like(x)
        # The other two follow from the first: the mean of the variances, plus the variance of the means.
        mean_n = mean_nc.mean(1, keepdim=True)
        var_n = var_nc.mean(1, keepdim=True) + (mean_nc - mean_n).square().mean(1, keepdim=True)
        mean_c, var_c = (per_channel(value_C, x) for value_C in self._statistics_of_batch(x, mean_nc, var_nc))
        mean = _mixed(self.mean_logits, [mean_nc, mean_n, mean_c], has_space)
        var = _mixed(self.var_logits, [var_nc, var_n, var_c], has_space)
        scale = torch.rsqrt(var + self.eps) * per_channel(self.weight, x)
        return ((x - mean) * scale + per_channel(self.bias, x)).to(x_NCS.dtype)

    def _statistics_of_batch(self, x: Tensor, mean_nc: Tensor, var_nc: Tensor) -> tuple[Tensor, Tensor]:
        """Return each channel's mean and variance, (C,): the batch's, or in eval mode the running ones."""
        if not self.training:
            return self.running_mean.to(x.dtype), self.running_var.to(x.dtype)
        check_has_variance(x)
        self.num_batches_tracked.add_(1)
        if x.numel() == 0:  # an empty batch changes nothing
            return self.running_mean.to(x.dtype), self.running_var.to(x.dtype)
        mean_C, between_C = channel_moments(mean_nc)
        var_C = var_nc.mean(axes_but_channel(var_nc)) + between_C
        for running, value_C in ((self.running_mean, mean_C), (self.running_var, var_C)):
            update_running(running, value_C, kept_share(self.momentum, self.num_batches_tracked, running.dtype))
        return mean_C, var_C

    def mixture(self) -> dict[str, Tensor]:
        """Return the shares of the three kinds of statistics (instance, layer, batch) in ``mean`` and ``var``."""
        return {"mean": self.mean_logits.detach().softmax(0), "var": self.var_logits.detach().softmax(0)}

    def extra_repr(self) -> str:
        """Return the options that print() shows."""
        return f"{self.num_channels}, eps={self.eps}, momentum={self.momentum}"


def _mixed(logits: Tensor, kinds: list[Tensor], has_space: bool) -> Tensor:
    """Return the mixture by the softmax of the logits; with one position without the first kind, the instance's."""
    first = 0 if has_space else 1
    shares = logits[first:].to(kinds[0].dtype).softmax(0)
    mixed = shares[0] * kinds[first]
    for share, kind in zip(shares[1:], kinds[first + 1 :], strict=True):
        mixed = mixed + share * kind
    return mixed
