"""Filter response normalization: a norm and a nonlinearity in one layer.

Shape letters: N batch, C channels, S any number of spatial axes (none, W, HW, DHW).
"""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from bnlab.errors import ConfigError
from bnlab.norms.group_formula import normalize_groups, normalize_groups_by_autograd
from bnlab.norms.moments import axes_but_channel, check_input, per_channel, wide_dtype
from bnlab.norms.norm import Invariance, Norm
from bnlab.norms.options import check_eps, check_switches


class FilterResponseNorm(Norm):
    """Divide each channel of each sample by its root mean square, then cut it off below at a learned threshold.

    Can a norm work without the batch *and* without the mean, if the nonlinearity learns its threshold?

        y = weight_c * x / sqrt(nu2_nc + |eps|) + bias_c,    nu2_nc = mean of x^2 over S
        z = max(y, tau_c)                                    the thresholded linear unit (TLU)

    Values that are not centered would keep a ReLU on one side of 0; the TLU learns its threshold instead. It replaces
    the ReLU: if this norm comes before the activation, a network leaves the activation out.

    Training and eval mode are the same.

    Axes:
        S, inside one channel of one sample: prod(S) values per statistic.

    Fails:
        With one position per channel, on (N, C) or a 1x1 map, x / sqrt(x^2) is the sign of x and its gradient is 0;
        that is an error, unless eps is learned, as the paper proposes (then start it well above 1e-6, or the output is
        still the sign). Deep nets need a warm-up of the learning rate. At placement=input the threshold removes
        values below 0: set norm.tlu=false there. A channel near 0 everywhere is amplified, by up to 1/sqrt(eps) = 1000.

    Args:
        num_channels: C, the size of the input's axis 1.
        eps: Added to the mean square, inside the root, so in squared input units; above 0. If eps is learned, its
            initial value.
        learnable_eps: Learn eps, one per layer; its absolute value is used.
        tlu: Apply the threshold. If false, this is a plain norm, and the network keeps its activation.

    Shape:
        (N, C, *S) -> (N, C, *S) with more than one position (any number with ``learnable_eps``), same dtype. Statistics
        are computed in float32 or wider.

    Raises:
        ConfigError: An option out of range, an input of the wrong shape, or one position per channel with a fixed eps.

    Source:
        Singh & Krishnan 2020, arXiv:1911.09737, equations 1 to 4.

    Example:
        >>> FilterResponseNorm(1)(torch.tensor([[[3.0, -4.0, 5.0, 0.0]]])).detach().round(decimals=3)
        tensor([[[0.8490, 0.0000, 1.4140, 0.0000]]])
    """

    invariances: ClassVar[frozenset[Invariance]] = frozenset({"channel_scale", "sample_scale"})
    vectorizable: ClassVar[bool] = True

    replaces_activation: bool = True

    eps: float | Tensor

    def __init__(self, num_channels: int, *, eps: float = 1e-6, learnable_eps: bool = False, tlu: bool = True) -> None:
        super().__init__()
        check_eps(eps)
        check_switches(learnable_eps=learnable_eps, tlu=tlu)
        self.num_channels = num_channels
        self.replaces_activation = tlu
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))
        self.eps = nn.Parameter(torch.tensor(float(eps))) if learnable_eps else eps
        self.tau = nn.Parameter(torch.zeros(num_channels)) if tlu else None

    def forward(self, x_NCS: Tensor) -> Tensor:
        """Normalize each channel of each sample by itself, and apply the threshold.

        Raises:
            ConfigError: The input has the wrong shape, or one position per channel and a fixed eps.
        """
        check_input(x_NCS, self.num_channels)
        if isinstance(self.eps, Tensor):
            y_NCS = normalize_groups_by_autograd(
                x_NCS, self.weight, self.bias, self.num_channels, self.eps.abs(), centered=False
            )
        elif x_NCS.shape[2:].numel() == 1:
            raise ConfigError(
                f"norm=frn needs more than one position per channel, got {tuple(x_NCS.shape)}: each value would be "
                "divided by itself. Use norm=rms, or norm.learnable_eps=true with norm.eps=0.1."
            )
        else:
            y_NCS = normalize_groups(x_NCS, self.weight, self.bias, self.num_channels, self.eps, centered=False)
        return y_NCS if self.tau is None else threshold(y_NCS, self.tau)

    def extra_repr(self) -> str:
        """Return the options that print() shows."""
        eps = "learned" if isinstance(self.eps, Tensor) else self.eps
        return f"{self.num_channels}, eps={eps}, tlu={self.tau is not None}"


def threshold(y_NCS: Tensor, tau_C: Tensor) -> Tensor:
    """Return max(y, tau) per channel: the thresholded linear unit.

    Args:
        y_NCS: The values (N, C, *S).
        tau_C: The threshold of each channel (C,), in the units of y.

    Example:
        >>> threshold(torch.tensor([[1.0, -1.0]]), torch.tensor([0.0, -0.5]))
        tensor([[ 1.0000, -0.5000]])
    """
    tau = per_channel(tau_C, y_NCS).to(y_NCS.dtype)
    if torch.compiler.is_compiling():
        return torch.maximum(y_NCS, tau)
    apply: Callable[..., Tensor] = _Threshold.apply
    return apply(y_NCS, tau)


class _Threshold(torch.autograd.Function):
    """torch.maximum with another backward: its own chooses value by value, at eight times the cost of a product.

    Where y = tau, as on an empty border of an image, nothing passes, as in a ReLU; torch's own would pass half.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(y_NCS: Tensor, tau: Tensor) -> Tensor:
        return torch.maximum(y_NCS, tau)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:  # noqa: ARG004
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        y_NCS, tau = ctx.saved_tensors
        grad_y = grads[0] * (y_NCS > tau).to(grads[0].dtype)
        return grad_y, (grads[0] - grad_y).to(wide_dtype(y_NCS.dtype)).sum(axes_but_channel(y_NCS)).view(tau.shape)

    @staticmethod
    def jvp(ctx: Any, dy_NCS: Tensor | None, dtau: Tensor | None) -> Tensor:
        y_NCS, tau = ctx.saved_tensors
        passed = (y_NCS > tau).to(y_NCS.dtype)
        moved = torch.zeros_like(y_NCS) if dy_NCS is None else dy_NCS * passed
        return moved if dtau is None else moved + dtau * (1 - passed)
