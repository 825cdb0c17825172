"""Dynamic erf: a replacement of norms without statistics, after dynamic tanh.

Shape letters: N batch, C channels, S any number of spatial axes (none, W, HW, DHW).
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from bnlab.norms.moments import check_input, per_channel, wide_dtype
from bnlab.norms.norm import Norm
from bnlab.norms.options import check_finite, check_positive


class DynamicErf(Norm):
    """Apply an error function of learned steepness and shift to every value; use no statistics at all.

    Of the point-wise functions that were tried in place of a norm, is another one than tanh better, and does it help
    that it can move along the axis?

        y = weight_c * erf(alpha * x + shift) + bias_c,    alpha and shift one number each per layer

    Training and eval mode are the same.

    Axes:
        None: each value by itself; alpha and shift are learned, one each per layer.

    Fails:
        As dynamic tanh: it does not fix a scale, and inputs that grow in training saturate it. erf is steeper than tanh
        at 0 (2 / sqrt(pi) = 1.13 for 1) and reaches 1 sooner, so that it saturates sooner at the same alpha. Shown as
        LayerNorm's replacement in transformers. In a first look on digits its MLP was more sensitive to the learning
        rate than dynamic tanh's and LayerNorm's, with no better best loss.

    Args:
        num_channels: C, the size of the input's axis 1.
        alpha_init: Initial value of alpha, in 1/input units; above 0.
        shift_init: Initial value of the shift, finite; 0 lets it begin as an odd function.

    Shape:
        (N, C, *S) -> (N, C, *S), same dtype. Computed in float32 or wider, rounded once.

    Raises:
        ConfigError: alpha_init is not above 0, shift_init is not finite, or the input has the wrong shape.

    Source:
        arXiv:2512.10938 ("Derf"), whose initial values these are.

    Example:
        >>> DynamicErf(1)(torch.tensor([[0.0], [2.0], [200.0]])).detach().flatten().round(decimals=3)
        tensor([0.0000, 0.8430, 1.0000])
    """

    vectorizable: ClassVar[bool] = True
    flat_beyond: ClassVar[float | None] = 1.628  # exp(-u^2) = 1 / cosh(2)^2: as flat as dynamic tanh beyond 2

    def __init__(self, num_channels: int, *, alpha_init: float = 0.5, shift_init: float = 0.0) -> None:
        super().__init__()
        check_positive(alpha_init=alpha_init)
        check_finite(shift_init=shift_init)
        self.num_channels = num_channels
        self.alpha_init = alpha_init
        self.shift_init = shift_init
        self.alpha = nn.Parameter(torch.tensor(float(alpha_init)))
        self.shift = nn.Parameter(torch.tensor(float(shift_init)))
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))

    def forward(self, x_NCS: Tensor) -> Tensor:
        """Apply the error function to each value."""
        check_input(x_NCS, self.num_channels)
        y_NCS = torch.erf(self.argument(x_NCS)) * per_channel(self.weight, x_NCS) + per_channel(self.bias, x_NCS)
        return y_NCS.to(x_NCS.dtype)

    def argument(self, x_NCS: Tensor) -> Tensor:
        """Return the argument of the error function, in float32 or wider."""
        return self.alpha * x_NCS.to(wide_dtype(x_NCS.dtype)) + self.shift

    def extra_repr(self) -> str:
        """Return the options that print() shows."""
        return f"{self.num_channels}, alpha_init={self.alpha_init}, shift_init={self.shift_init}"
