"""Norms whose statistics use one sample only.

Shape letters: N batch, C channels, G groups, S any number of spatial axes (none, W, HW, DHW).
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from bnlab.errors import ConfigError
from bnlab.norms.group_formula import normalize_groups
from bnlab.norms.moments import check_input
from bnlab.norms.norm import Formula, Invariance, Norm
from bnlab.norms.options import check_eps, check_num_groups, check_switches


class GroupNorm(Norm):
    """Give each group of channels mean 0 and variance 1 inside each sample.

    Which part of BatchNorm's effect needs the batch at all? Nothing here depends on other samples.

        y = weight_c * (x - mean_ng) / sqrt(var_ng + eps) + bias_c,    statistics over C/G channels and S

    Training and eval mode are the same.

    Axes:
        C/G and S, inside one sample: C/G * prod(S) values per statistic.

    Fails:
        With groups of one value every output would be the bias, whatever the input; that is an error here, and accepted
        by torch's layer. With groups of two values every output is the bias plus or minus the scale: only their order
        is left. On (N, C) a group is C/G features of one sample, so that small groups lose most of the information.

    Args:
        num_channels: C, the size of the input's axis 1.
        num_groups: G, which must divide C. 4 divides every default width.
        eps: Added to the variance, inside the root; above 0.
        affine: Learn a scale and a shift per channel.

    Shape:
        (N, C, *S) -> (N, C, *S), same dtype. Statistics are computed in float32 or wider.

    Raises:
        ConfigError: num_groups does not divide num_channels, an option out of range, or an input of the
            wrong shape.

    Source:
        Wu & He 2018, arXiv:1803.08494.

    Example:
        >>> y = GroupNorm(4, num_groups=2)(torch.tensor([[0.0, 2.0, 50.0, 70.0]]))
        >>> y.detach().round(decimals=3)
        tensor([[-1.,  1., -1.,  1.]])
    """

    subtracts_mean: ClassVar[bool] = True
    formula: ClassVar[Formula | None] = "group"
    invariances: ClassVar[frozenset[Invariance]] = frozenset({"sample_shift", "sample_scale"})
    vectorizable: ClassVar[bool] = True

    def __init__(self, num_channels: int, *, num_groups: int = 4, eps: float = 1e-5, affine: bool = True) -> None:
        super().__init__()
        check_eps(eps)
        check_switches(affine=affine)
        check_num_groups(num_groups, num_channels)
        self.num_channels = num_channels
        self.num_groups = num_groups
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(num_channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(num_channels)) if affine else None

    def forward(self, x_NCS: Tensor) -> Tensor:
        """Normalize each sample by itself.

        Raises:
            ConfigError: The input has the wrong shape, or one value per group.
        """
        check_input(x_NCS, self.num_channels)
        if x_NCS.shape[1:].numel() == self.num_groups:
            raise ConfigError(
                f"{self.num_groups} group(s) of channels leave one value per group, got {tuple(x_NCS.shape)}: "
                "every output would be the bias. Use fewer groups, or a wider layer."
            )
        return self._normalize(x_NCS)

    def _normalize(self, x_NCS: Tensor) -> Tensor:
        return normalize_groups(x_NCS, self.weight, self.bias, self.num_groups, self.eps)

    def extra_repr(self) -> str:
        """Return the options that print() shows."""
        return f"{self.num_channels}, num_groups={self.num_groups}, eps={self.eps}"


class LayerNorm(GroupNorm):
    """Give each sample mean 0 and variance 1 over all its channels and positions.

        y = weight_c * (x - mean_n) / sqrt(var_n + eps) + bias_c,    statistics over C and S

    GroupNorm with one group. On (N, C, H, W) it reduces over C, H and W and learns one scale and shift *per
    channel*, so that arms have equal numbers of parameters (torch.nn.LayerNorm learns them per position).

    Training and eval mode are the same.

    Axes:
        C and S, inside one sample: C * prod(S) values per statistic.

    Fails:
        On images it mixes channels of different meaning into one mean and one variance: one channel with large
        values makes all others small, and the contrast of a sample is lost. It does not fix the scale of a single
        channel, as BatchNorm does: single units may die or saturate.

    Args:
        num_channels: C, the size of the input's axis 1.
        eps: Added to the variance, inside the root; above 0.
        affine: Learn a scale and a shift per channel.

    Shape:
        (N, C, *S) -> (N, C, *S), same dtype. Statistics are computed in float32 or wider.

    Raises:
        ConfigError: An option out of range, or an input of the wrong shape.

    Source:
        Ba, Kiros & Hinton 2016, arXiv:1607.06450.

    Example:
        >>> LayerNorm(2)(torch.tensor([[0.0, 4.0], [10.0, 30.0]])).detach().round(decimals=3)
        tensor([[-1.,  1.],
                [-1.,  1.]])
    """

    formula: ClassVar[Formula | None] = "layer"
    vectorizable: ClassVar[bool] = True

    def __init__(self, num_channels: int, *, eps: float = 1e-5, affine: bool = True) -> None:
        super().__init__(num_channels, num_groups=1, eps=eps, affine=affine)


class InstanceNorm(GroupNorm):
    """Give each channel of each sample mean 0 and variance 1 over its positions.

        y = weight_c * (x - mean_nc) / sqrt(var_nc + eps) + bias_c,    statistics over S

    GroupNorm with as many groups as channels.

    Training and eval mode are the same.

    Axes:
        S, inside one channel of one sample: prod(S) values per statistic.

    Fails:
        It needs several positions: on (N, C), or on a 1x1 map, each statistic would have one value and every output
        would be the bias; that is an error. The mean and the contrast of a channel are lost, which may distinguish
        classes; on the 2x2 maps of a deep net each statistic has four values. Followed by a mean over the image, every
        image gives the same features unless a nonlinearity comes between.

    Args:
        num_channels: C, the size of the input's axis 1.
        eps: Added to the variance, inside the root; above 0.
        affine: Learn a scale and a shift per channel.

    Shape:
        (N, C, *S) -> (N, C, *S) with more than one position, same dtype. Statistics are computed in float32 or wider.

    Raises:
        ConfigError: The input has one value per channel and sample.

    Source:
        Ulyanov, Vedaldi & Lempitsky 2016, arXiv:1607.08022.

    Example:
        >>> InstanceNorm(1)(torch.tensor([[[0.0, 2.0]], [[5.0, 9.0]]])).detach().round(decimals=3)
        tensor([[[-1.,  1.]],
        <BLANKLINE>
                [[-1.,  1.]]])
    """

    formula: ClassVar[Formula | None] = "instance"
    invariances: ClassVar[frozenset[Invariance]] = frozenset(
        {"channel_shift", "channel_scale", "sample_shift", "sample_scale"}
    )
    vectorizable: ClassVar[bool] = True

    def __init__(self, num_channels: int, *, eps: float = 1e-5, affine: bool = True) -> None:
        super().__init__(num_channels, num_groups=num_channels, eps=eps, affine=affine)

    def forward(self, x_NCS: Tensor) -> Tensor:
        """Normalize each channel of each sample by itself.

        Raises:
            ConfigError: The input has the wrong shape, or one value per channel and sample.
        """
        check_input(x_NCS, self.num_channels)
        if x_NCS.shape[2:].numel() == 1:
            raise ConfigError(
                f"norm=instance needs more than one position per channel, got {tuple(x_NCS.shape)}: each value "
                "would be its own mean and every output the bias. Use norm=layer or norm=group here."
            )
        return super().forward(x_NCS)


class RMSNorm(Norm):
    """Divide each sample by its root mean square; do not center it.

    How much of LayerNorm's effect comes from fixing the scale, and how much from removing the mean?

        y = weight_c * x / sqrt(ms_n + eps),    ms_n = mean of x^2 over C and S

    There is no bias.

    Training and eval mode are the same.

    Axes:
        C and S, inside one sample: C * prod(S) values per statistic.

    Fails:
        A mean common to all values stays, and dominates the scale: with a mean of ten times the standard deviation, the
        output's standard deviation is 0.1. A unit whose inputs are all negative stays negative.

    Args:
        num_channels: C, the size of the input's axis 1.
        eps: Added to the mean square, inside the root; above 0.
        affine: Learn a scale per channel.

    Shape:
        (N, C, *S) -> (N, C, *S), same dtype. Statistics are computed in float32 or wider.

    Raises:
        ConfigError: An option out of range, or an input of the wrong shape.

    Source:
        Zhang & Sennrich 2019, arXiv:1910.07467.

    Example:
        >>> RMSNorm(2)(torch.tensor([[3.0, 4.0]])).detach().square().mean().round(decimals=3)
        tensor(1.)
    """

    formula: ClassVar[Formula | None] = "rms"
    invariances: ClassVar[frozenset[Invariance]] = frozenset({"sample_scale"})
    vectorizable: ClassVar[bool] = True

    def __init__(self, num_channels: int, *, eps: float = 1e-5, affine: bool = True) -> None:
        super().__init__()
        check_eps(eps)
        check_switches(affine=affine)
        self.num_channels = num_channels
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(num_channels)) if affine else None

    def forward(self, x_NCS: Tensor) -> Tensor:
        """Rescale each sample by itself."""
        check_input(x_NCS, self.num_channels)
        return self._normalize(x_NCS)

    def _normalize(self, x_NCS: Tensor) -> Tensor:
        return normalize_groups(x_NCS, self.weight, None, 1, self.eps, centered=False)

    def extra_repr(self) -> str:
        """Return the options that print() shows."""
        return f"{self.num_channels}, eps={self.eps}"
