"""Norms whose statistics are shared across the batch.

Shape letters: N batch, C channels, S any number of spatial axes (none, W, HW, DHW).
"""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from bnlab.errors import ConfigError
from bnlab.norms.moments import (
    axes_but_channel,
    channel_moments,
    chunks,
    per_channel,
    scale_and_shift,
    update_running,
    wide_dtype,
)


class BatchNorm(nn.Module):
    """Give each channel mean 0 and variance 1 over the batch, then a learned scale and shift.

    The layer that bnlab is about, written from scratch: it neither subclasses nor calls torch's.

        mean_c = 1/m sum x,    var_c = 1/m sum (x - mean_c)^2,    m = N * prod(S)
        y_c = weight_c * (x - mean_c) / sqrt(var_c + eps) + bias_c

    Training mode uses the batch's own mean and (biased) variance, and moves the running ones:
    running = momentum * running + (1 - momentum) * batch. Eval mode uses the running ones, so that a
    sample's output does not depend on its neighbors.

    Two conventions differ from PyTorch's layer, and both are the article's. ``momentum`` is the share of the
    *old* running value that is kept: 0.9 here is 0.1 in PyTorch. The running variance averages the *biased*
    batch variance; PyTorch and the paper store the unbiased one (``unbiased_running_var=True``).

    Args:
        num_channels: C, the size of the input's axis 1.
        eps: Added to the variance, inside the root, so in squared input units; above 0.
        momentum: Share of the old running value that is kept, in [0, 1]. None: the plain average over all
            batches seen.
        affine: Learn a scale (and a shift, unless ``bias=False``) per channel.
        bias: With ``affine``, learn the shift too.
        track_running_stats: Keep running statistics. Without them eval mode uses the batch's own.
        unbiased_running_var: Average m/(m-1) times the batch variance, as PyTorch does.

    Shape:
        (N, C, *S) -> (N, C, *S), same dtype. Statistics are computed in float32 or wider.

    Buffers:
        running_mean: (C,), in input units, starts at 0.
        running_var: (C,), in squared input units, starts at 1.
        num_batches_tracked: (), batches seen in training mode.

    Raises:
        ConfigError: An option out of range, an input of the wrong shape, or exactly one value per channel in
            training mode (its variance would be 0 and the output would not depend on the input).

    Source:
        Ioffe & Szegedy 2015, arXiv:1502.03167, Algorithms 1 and 2.

    Example:
        >>> y_NC = BatchNorm(2)(torch.tensor([[0.0, 100.0], [2.0, 300.0]]))
        >>> y_NC.detach().round(decimals=3)
        tensor([[-1., -1.],
                [ 1.,  1.]])
    """

    keeps_running_statistics: ClassVar[bool] = True
    subtracts_mean: ClassVar[bool] = True

    weight: Tensor | None
    bias: Tensor | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self,
        num_channels: int,
        *,
        eps: float = 1e-5,
        momentum: float | None = 0.9,
        affine: bool = True,
        bias: bool = True,
        track_running_stats: bool = True,
        unbiased_running_var: bool = False,
    ) -> None:
        super().__init__()
        check_batch_options(eps, momentum)
        self.num_channels = num_channels
        self.eps = eps
        self.momentum = momentum
        self.unbiased_running_var = unbiased_running_var
        self.weight = nn.Parameter(torch.ones(num_channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(num_channels)) if affine and bias else None
        self.register_buffer("running_mean", torch.zeros(num_channels) if track_running_stats else None)
        self.register_buffer("running_var", torch.ones(num_channels) if track_running_stats else None)
        self.register_buffer("num_batches_tracked", torch.tensor(0) if track_running_stats else None)

    def forward(self, x_NCS: Tensor) -> Tensor:
        """Normalize a batch; in training mode, move the running statistics too."""
        self._check_shape(x_NCS)
        if not self.training and self.running_mean is not None and self.running_var is not None:
            scale_C, shift_C = _affine_map(self.running_mean, self.running_var, self.weight, self.bias, self.eps)
            wide = wide_dtype(x_NCS.dtype)
            return scale_and_shift(x_NCS, scale_C.to(wide), shift_C.to(wide))
        if x_NCS.numel() == 0:  # nothing to normalize, nothing to learn; torch lets it pass too
            return x_NCS.clone()
        y_NCS, mean_C, var_C = normalize_batch(x_NCS, self.weight, self.bias, self.eps)
        if self.training:
            self._update_running_statistics(mean_C, var_C, num_values=x_NCS.numel() // self.num_channels)
        return y_NCS

    def _update_running_statistics(self, mean_C: Tensor, var_C: Tensor, num_values: int) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        kept = 1 - 1 / self.num_batches_tracked if self.momentum is None else self.momentum
        if self.unbiased_running_var:
            var_C = var_C * (num_values / (num_values - 1))
        update_running(self.running_mean, mean_C, kept)
        update_running(self.running_var, var_C, kept)

    def _check_shape(self, x_NCS: Tensor) -> None:
        if x_NCS.dim() < 2 or x_NCS.shape[1] != self.num_channels:
            raise ConfigError(
                f"BatchNorm({self.num_channels}) takes (N, {self.num_channels}) or "
                f"(N, {self.num_channels}, *spatial), got {tuple(x_NCS.shape)}"
            )
        if self.training and x_NCS.numel() == self.num_channels:
            raise ConfigError(
                f"BatchNorm needs more than one value per channel in training mode, got {tuple(x_NCS.shape)}: "
                "its output would be the bias, whatever the input. Use a larger train.batch_size, or norm=layer."
            )

    def extra_repr(self) -> str:
        """Return the options that print() shows."""
        return f"{self.num_channels}, eps={self.eps}, momentum={self.momentum}"


class TorchBatchNorm(nn.BatchNorm2d):
    """Run torch's own BatchNorm: the reference arm that bnlab's is held against.

    Training and eval mode are torch's: normalization by the biased variance, running average of the
    *unbiased* one. Only the sense of ``momentum`` is turned round, so that a setting means the same in every
    arm: the share of the *old* running value that is kept (0.9 here is torch's 0.1). Once built, the layer's
    attribute ``momentum`` is torch's.

    Args:
        num_channels: C, the size of the input's axis 1.
        eps: Added to the variance, inside the root; above 0.
        momentum: Share of the old running value that is kept, in [0, 1]; None: the plain average.
        affine: Learn a scale and a shift per channel.

    Shape:
        (N, C, *S) -> (N, C, *S); unlike nn.BatchNorm2d, for any number of spatial axes.

    Raises:
        ConfigError: An option out of range.

    Source:
        torch.nn.BatchNorm1d, 2d and 3d, which share one implementation.

    Example:
        >>> TorchBatchNorm(3, momentum=0.9).momentum
        0.1
    """

    keeps_running_statistics: ClassVar[bool] = True
    subtracts_mean: ClassVar[bool] = True

    def __init__(
        self, num_channels: int, *, eps: float = 1e-5, momentum: float | None = 0.9, affine: bool = True
    ) -> None:
        check_batch_options(eps, momentum)
        new_share = None if momentum is None else round(1 - momentum, 12)  # 1 - 0.9 is 0.09999999999999998
        super().__init__(num_channels, eps=eps, momentum=new_share, affine=affine)

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ConfigError(f"batch_torch takes (N, C) or (N, C, *spatial), got {tuple(input.shape)}")


def check_batch_options(eps: float, momentum: float | None) -> None:
    """Check the two options that every norm with running statistics has.

    Raises:
        ConfigError: eps is not above 0, or momentum is outside [0, 1].
    """
    if eps <= 0:
        raise ConfigError(f"norm.eps must be above 0, got {eps}")
    if momentum is not None and not 0 <= momentum <= 1:
        raise ConfigError(
            f"norm.momentum must be in [0, 1], got {momentum}: it is the share of the old running value "
            "that is kept (0.9 is PyTorch's 0.1)"
        )


def normalize_batch(
    x_NCS: Tensor, weight_C: Tensor | None, bias_C: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalize by the batch's own statistics.

    Args:
        x_NCS: (N, C, *S) with at least one value per channel.
        weight_C: Scale (C,), or None for 1.
        bias_C: Shift (C,), or None for 0.
        eps: Added to the variance, inside the root.

    Returns:
        Output like x, mean (C,) and biased variance (C,), all differentiable.
    """
    y_NCS, mean_C, var_C = _NormalizeBatch.apply(x_NCS, weight_C, bias_C, eps)  # type: ignore[no-untyped-call]
    return y_NCS, mean_C, var_C


def normalize_batch_by_autograd(
    x_NCS: Tensor, weight_C: Tensor | None, bias_C: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute what `normalize_batch` does, as the article writes it, and leave the backward to autograd.

    The readable reference: the fast one is tested against it, and takes a third to a tenth of its time.
    """
    x = x_NCS.to(wide_dtype(x_NCS.dtype))
    axes = axes_but_channel(x)
    mean_C = x.mean(axes)
    var_C = (x - per_channel(mean_C, x)).square().mean(axes)
    y = (x - per_channel(mean_C, x)) / (per_channel(var_C, x) + eps).sqrt()
    if weight_C is not None:
        y = y * per_channel(weight_C, x)
    if bias_C is not None:
        y = y + per_channel(bias_C, x)
    return y.to(x_NCS.dtype), mean_C, var_C


def _affine_map(
    mean_C: Tensor, var_C: Tensor, weight_C: Tensor | None, bias_C: Tensor | None, eps: float
) -> tuple[Tensor, Tensor]:
    """Return scale and shift such that normalizing is scale * x + shift."""
    scale_C = torch.rsqrt(var_C + eps)
    if weight_C is not None:
        scale_C = scale_C * weight_C
    shift_C = -mean_C * scale_C
    if bias_C is not None:
        shift_C = shift_C + bias_C
    return scale_C, shift_C


class _NormalizeBatch(torch.autograd.Function):
    """`normalize_batch` with its backward derived by hand: fewer passes over memory.

    With r = 1/sqrt(var + eps), xhat = (x - mean) r and incoming gradients g of y, gm of mean, gv of var:

        dbias = sum g,    dweight = sum g xhat
        dx = weight r (g - dbias/m - xhat dweight/m) + gm/m + 2 gv (x - mean)/m

    Per channel that is dx = a g + b x + c, one fused pass. It is made of differentiable operations, so it can
    be differentiated again; mean and var are differentiable outputs (marking them non-differentiable makes
    the second derivative wrong).

    Source: the first line is Ioffe & Szegedy 2015, section 3; the closed form is the usual one.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(  # type: ignore[override]
        x_NCS: Tensor, weight_C: Tensor | None, bias_C: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        mean_C, var_C = channel_moments(x_NCS)
        scale_C, shift_C = _affine_map(mean_C, var_C, weight_C, bias_C, eps)
        return scale_and_shift(x_NCS, scale_C, shift_C), mean_C, var_C

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
        x_NCS, weight_C, bias_C, ctx.eps = inputs
        _, mean_C, var_C = output
        ctx.has_bias = bias_C is not None
        ctx.save_for_backward(x_NCS, weight_C, mean_C, var_C)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad_y, grad_mean_C, grad_var_C = grads
        x_NCS, weight_C, mean_C, var_C = ctx.saved_tensors
        num_values = x_NCS.numel() // x_NCS.shape[1]
        axes = axes_but_channel(x_NCS)
        mean = per_channel(mean_C, x_NCS)
        inv_std_C = torch.rsqrt(var_C + ctx.eps)
        dbias_C, dweight_C = torch.zeros_like(mean_C), torch.zeros_like(mean_C)
        for x, g in zip(chunks(x_NCS), chunks(grad_y), strict=True):
            g_wide = g.to(mean_C.dtype)
            dbias_C = dbias_C + g_wide.sum(axes)
            dweight_C = dweight_C + (g_wide * (x.to(mean_C.dtype) - mean)).sum(axes)
        dweight_C = dweight_C * inv_std_C
        a_C = inv_std_C if weight_C is None else inv_std_C * weight_C
        b_C = (2 * grad_var_C - a_C * inv_std_C * dweight_C) / num_values
        c_C = (grad_mean_C - a_C * dbias_C) / num_values - b_C * mean_C
        dx_NCS = _fused_gradient(x_NCS, grad_y, a_C, b_C, c_C)
        return dx_NCS, None if weight_C is None else dweight_C, dbias_C if ctx.has_bias else None, None


def _fused_gradient(x_NCS: Tensor, grad_y: Tensor, a_C: Tensor, b_C: Tensor, c_C: Tensor) -> Tensor:
    """Return a * grad_y + b * x + c per channel, in x's type, rounded once."""
    a, b, c = (per_channel(value, x_NCS) for value in (a_C, b_C, c_C))
    if x_NCS.dtype == a_C.dtype:
        return torch.addcmul(torch.addcmul(c, x_NCS, b), grad_y, a)
    pieces = [
        torch.addcmul(torch.addcmul(c, x.to(a_C.dtype), b), g.to(a_C.dtype), a).to(x_NCS.dtype)
        for x, g in zip(chunks(x_NCS), chunks(grad_y), strict=True)
    ]
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces)
