"""Norms of the weights: the linear map before the norm is standardized, row by row, in each forward pass.

Shape letters: N batch, C channels, S any number of spatial axes (none, W, HW, DHW), O outputs and I inputs of a linear
map, K its kernel.
"""

import functools
import math
from collections.abc import Callable
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnlab.norms.group import GroupNorm
from bnlab.norms.moments import check_input, wide_dtype
from bnlab.norms.norm import Formula, Invariance, Norm
from bnlab.norms.options import check_choice, check_eps

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda z: z,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "gelu": F.gelu,
    "silu": F.silu,
}


class WeightStandardization(GroupNorm):
    """Standardize the weights of each output of the linear map, and its outputs by GroupNorm.

    GroupNorm does not fix the scale of single channels, as BatchNorm does. Can the weights fix it, so that small
    batches train as well as large ones?

        w_hat_o = (w_o - mean_o) / sqrt(var_o + eps),    statistics over the I * prod(K) weights of output o
        y = weight_c * (x - mean_ng) / sqrt(var_ng + eps) + bias_c,    x = w_hat * input

    The layer itself is GroupNorm; the network standardizes the weights of the linear map before it
    (``weight_parametrization``). Training, weight decay and checkpoints use w, as
    ``linear.parametrizations.weight.original``; ``linear.weight`` is w_hat.

    Training and eval mode are the same.

    Axes:
        Weights: I and K, I * prod(K) values per output. Outputs: C/G and S, inside one sample.

    Fails:
        The linear map's outputs have standard deviation sqrt(I * prod(K)): at placement=after a sigmoid or tanh
        between it and the norm saturates. Weights with model.init_std below 0.01 have a variance smaller than eps, and
        stay small. Trained weights grow without changing anything, as before BatchNorm, and the effective learning
        rate falls. Built by itself, outside of a network, this is GroupNorm and no more.

    Args:
        num_channels: C, the size of the input's axis 1.
        num_groups: G, which must divide C. 4 divides every default width.
        eps: Added to both variances, inside the roots; above 0.
        affine: Learn a scale and a shift per channel.

    Shape:
        (N, C, *S) -> (N, C, *S), same dtype. Statistics are computed in float32 or wider.

    Raises:
        ConfigError: num_groups does not divide num_channels, an option out of range, or an input of the
            wrong shape.

    Source:
        Qiao, Wang, Liu, Shen & Yuille 2019, arXiv:1903.10520. GroupNorm: Wu & He 2018, arXiv:1803.08494.

    Example:
        >>> standardize = WeightStandardization(4).weight_parametrization()
        >>> standardize(torch.tensor([[0.0, 2.0], [50.0, 70.0]])).round(decimals=3)
        tensor([[-1.,  1.],
                [-1.,  1.]])
    """

    formula: ClassVar[Formula | None] = "group"
    vectorizable: ClassVar[bool] = True

    def __init__(self, num_channels: int, *, num_groups: int = 4, eps: float = 1e-5, affine: bool = True) -> None:
        super().__init__(num_channels, num_groups=num_groups, eps=eps, affine=affine)
        self.weight_parametrization = functools.partial(StandardizedWeight, eps=eps)


class ScaledWeightStandardization(Norm):
    """Standardize and rescale the weights of each output of the linear map; do not normalize its outputs.

    Is a norm of the activations needed, if the weights alone keep mean 0 and variance 1 at the start?

        w_hat_o = gain_o * gamma * (w_o - mean_o) / sqrt(max(n * var_o, eps)),    n = I * prod(K) weights of output o
        y = x,    x = w_hat * input + bias

    gamma = 1/sqrt(Var f(z)), z ~ N(0, 1), corrects the variance for the activation f before the linear map: 1.713 for
    relu. Weights of mean 0 remove the mean that f adds. gain_o is learned, as is the linear map's bias.

    Training and eval mode are the same.

    Axes:
        Weights: I and K, I * prod(K) values per output. Outputs: none.

    Fails:
        Only the start is normalized: nothing stops activations from growing in training, so that large learning rates
        diverge where BatchNorm's do not (the paper adds gradient clipping). The first linear map has no activation
        before it, and its outputs have variance gamma^2. Zeros around an image (padding) are not part of the weights'
        statistics. Built by itself, outside of a network, it returns its input.

    Args:
        num_channels: C, the size of the input's axis 1.
        activation: Name of the model's nonlinearity between the linear maps, which determines gamma; ``none`` for a
            model without one, where gamma is 1.
        eps: Lower bound of the divisor n * var_o, so that equal weights give 0; above 0.

    Shape:
        (N, C, *S) -> (N, C, *S), the input itself.

    Raises:
        ConfigError: An option out of range, or an input of the wrong shape.

    Source:
        Brock, De & Smith 2021, arXiv:2101.08692. The learned gain and max(., eps) as in the authors' code for Brock,
        De, Smith & Simonyan 2021, arXiv:2102.06171.

    Example:
        >>> standardize = ScaledWeightStandardization(2, activation="relu").weight_parametrization()
        >>> weight = standardize(torch.tensor([[0.0, 2.0], [50.0, 70.0]])).detach()
        >>> weight.sum(1), weight.square().sum(1).sqrt().round(decimals=3)
        (tensor([0., 0.]), tensor([1.7130, 1.7130]))
    """

    invariances: ClassVar[frozenset[Invariance]] = frozenset()
    vectorizable: ClassVar[bool] = True

    def __init__(self, num_channels: int, *, activation: str = "relu", eps: float = 1e-4) -> None:
        super().__init__()
        check_choice(tuple(_ACTIVATIONS), activation=activation)
        check_eps(eps)
        self.num_channels = num_channels
        self.activation = activation
        self.eps = eps
        self.weight_parametrization = functools.partial(
            ScaledStandardizedWeight, num_channels, gamma=variance_gain(activation), eps=eps
        )

    def forward(self, x_NCS: Tensor) -> Tensor:
        """Return the input: only the weights before it are normalized."""
        check_input(x_NCS, self.num_channels)
        return x_NCS

    def extra_repr(self) -> str:
        """Return the options that print() shows."""
        return f"{self.num_channels}, activation={self.activation}, eps={self.eps}"


class StandardizedWeight(nn.Module):
    """Give the weights of each output mean 0 and variance 1: a parametrization for torch.nn.utils.parametrize.

    Args:
        eps: Added to the variance, inside the root.
    """

    ignores_row_scale: ClassVar[bool] = True

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, weight_OIK: Tensor) -> Tensor:
        """Return the standardized weights, which the linear map uses."""
        d, var_O = _deviations(weight_OIK)
        return (d * torch.rsqrt(var_O + self.eps)).to(weight_OIK.dtype)


class ScaledStandardizedWeight(nn.Module):
    """Give the weights of each output mean 0 and squares that sum to (gain * gamma)^2.

    Args:
        num_outputs: O, the number of outputs of the linear map.
        gamma: Factor that corrects the variance for the activation before the linear map; above 0.
        eps: Lower bound of the sum of squares that divides the weights; above 0.
    """

    ignores_row_scale: ClassVar[bool] = True

    def __init__(self, num_outputs: int, *, gamma: float, eps: float) -> None:
        super().__init__()
        self.gamma = gamma
        self.eps = eps
        self.gain = nn.Parameter(torch.ones(num_outputs))

    def forward(self, weight_OIK: Tensor) -> Tensor:
        """Return the standardized weights, which the linear map uses."""
        d, var_O = _deviations(weight_OIK)
        scale_O = self.gamma * torch.rsqrt((var_O * d[0].numel()).clamp(min=self.eps))
        return (d * scale_O * self.gain.view(-1, *(1,) * (d.dim() - 1))).to(weight_OIK.dtype)


@functools.cache
def variance_gain(activation: str) -> float:
    """Return 1/sqrt(Var f(z)) for z ~ N(0, 1), by 2 x 100-point Gauss-Legendre quadrature on both sides of 0.

    Args:
        activation: Name of f: none (the identity), sigmoid, tanh, relu, gelu or silu.

    Source:
        Brock, De & Smith 2021, arXiv:2101.08692: sqrt(2 / (1 - 1/pi)) for relu.

    Example:
        >>> round(variance_gain("relu"), 3)
        1.713
    """
    nodes, weights = np.polynomial.legendre.leggauss(100)
    z = np.concatenate([6 * nodes - 6, 6 * nodes + 6])  # [-12, 0] and [0, 12]: relu's kink lies between; beyond, 1e-32
    density = np.tile(6 * weights, 2) * np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    values = _ACTIVATIONS[activation](torch.from_numpy(z)).numpy()
    mean = float(density @ values)
    return 1 / math.sqrt(float(density @ (values - mean) ** 2))


def _deviations(weight_OIK: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weights less their mean, and their biased variance (O, 1, ...), in float32 or wider."""
    w = weight_OIK.to(wide_dtype(weight_OIK.dtype))
    axes = list(range(1, w.dim()))
    d = w - w.mean(axes, keepdim=True)
    return d, d.square().mean(axes, keepdim=True)
