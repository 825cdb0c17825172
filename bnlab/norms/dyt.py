"""Dynamic tanh: a replacement of norms without statistics.

Shape letters: N batch, C channels, S any number of spatial axes (none, W, HW, DHW).
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from bnlab.norms.moments import check_input, per_channel, wide_dtype
from bnlab.norms.norm import Norm
from bnlab.norms.options import check_positive


class DynamicTanh(Norm):
    """Apply a tanh of learned steepness to every value; use no statistics at all.

    The outputs of a trained LayerNorm, plotted over its inputs, look like a tanh. Is limiting outliers all that a norm
    has to do?

        y = weight_c * tanh(alpha * x) + bias_c,    alpha one number per layer

    Training and eval mode are the same.

    Axes:
        None: each value by itself; alpha is learned, one per layer.

    Fails:
        It does not fix a scale: inputs that grow in training saturate it, and gradients vanish until alpha has adapted.
        The initial alpha suits inputs of about variance 1 (0.5 for vision transformers; the paper uses less for wide
        language models). Shown as LayerNorm's replacement in transformers and ConvNeXt, not as BatchNorm's in
        nets without shortcuts, and before a sigmoid or tanh it is a second saturation in a row.

    Args:
        num_channels: C, the size of the input's axis 1.
        alpha_init: Initial value of alpha, in 1/input units; above 0.

    Shape:
        (N, C, *S) -> (N, C, *S), same dtype. Computed in float32 or wider, rounded once.

    Raises:
        ConfigError: alpha_init is not above 0, or the input has the wrong shape.

    Source:
        Zhu, Chen, He, LeCun & Liu 2025, arXiv:2503.10622.

    Example:
        >>> DynamicTanh(1)(torch.tensor([[0.0], [2.0], [200.0]])).detach().flatten().round(decimals=3)
        tensor([0.0000, 0.7620, 1.0000])
    """

    vectorizable: ClassVar[bool] = True
    flat_beyond: ClassVar[float | None] = 2.0  # arXiv:2604.23434; the slope is 7% of its largest there, 1 / cosh(2)^2

    def __init__(self, num_channels: int, *, alpha_init: float = 0.5) -> None:
        super().__init__()
        check_positive(alpha_init=alpha_init)
        self.num_channels = num_channels
        self.alpha_init = alpha_init
        self.alpha = nn.Parameter(torch.tensor(float(alpha_init)))
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))

    def forward(self, x_NCS: Tensor) -> Tensor:
        """Apply the tanh to each value."""
        check_input(x_NCS, self.num_channels)
        y_NCS = torch.tanh(self.argument(x_NCS)) * per_channel(self.weight, x_NCS) + per_channel(self.bias, x_NCS)
        return y_NCS.to(x_NCS.dtype)

    def argument(self, x_NCS: Tensor) -> Tensor:
        """Return the argument of the tanh, in float32 or wider."""
        return self.alpha * x_NCS.to(wide_dtype(x_NCS.dtype))

    def extra_repr(self) -> str:
        """Return the options that print() shows."""
        return f"{self.num_channels}, alpha_init={self.alpha_init}"
