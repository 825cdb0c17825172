"""The formula of batch normalization, with its gradient.

Shape letters: N batch, C channels, S any number of spatial axes (none, W, HW, DHW).
"""

from collections.abc import Callable

import torch
from torch import Tensor

from bnlab.norms.batch_backward import NormalizeBatch, NormalizeBatchAlone
from bnlab.norms.moments import axes_but_channel, channels_are_innermost, is_transformed, per_channel, wide_dtype


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
    if torch.compiler.is_compiling():
        return normalize_batch_for_compilers(x_NCS, weight_C, bias_C, eps)
    function = NormalizeBatch if is_transformed() else NormalizeBatchAlone
    apply: Callable[..., tuple[Tensor, Tensor, Tensor]] = function.apply
    return apply(x_NCS, weight_C, bias_C, eps)


def normalize_batch_by_autograd(
    x_NCS: Tensor,
    weight_C: Tensor | None,
    bias_C: Tensor | None,
    eps: float,
    num_values: int | None = None,
    add_up: Callable[[Tensor], Tensor] = lambda sums: sums,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute `normalize_batch` as the article writes it, with a backward by autograd.

    The readable reference that the fast versions are tested against. It is also used for several processes.

    Args:
        x_NCS: The input (N, C, *S).
        weight_C: Scale (C,), or None for 1.
        bias_C: Shift (C,), or None for 0.
        eps: Added to the variance, inside the root.
        num_values: Number of values per channel in all processes; None: those of x.
        add_up: Returns the sum of a tensor over all processes that share the batch; differentiable.

    Returns:
        As `normalize_batch`.
    """
    x = x_NCS.to(wide_dtype(x_NCS.dtype))
    axes = axes_but_channel(x)
    num_values = num_values or x.numel() // x.shape[1]
    mean_C = add_up(x.sum(axes)) / num_values
    centered = x - per_channel(mean_C, x)
    var_C = add_up(centered.square().sum(axes)) / num_values
    y = centered * per_channel(torch.rsqrt(var_C + eps), x)
    if weight_C is not None:
        y = y * per_channel(weight_C, x)
    if bias_C is not None:
        y = y + per_channel(bias_C, x)
    return y.to(x_NCS.dtype), mean_C, var_C


def normalize_batch_for_compilers(
    x_NCS: Tensor, weight_C: Tensor | None, bias_C: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute `normalize_batch` in operations that a compiler fuses into few passes, in the backward too.

    With h, the value of the mean as a constant, the same y and var are

        var = 1/m sum (x - h)^2 - (mean - h)^2,    y = (x - h) scale + (bias - (mean - h) scale)

    for any h, so all derivatives are those of the formula, of any order. But x enters as x - h only, whose derivative
    is 1: the backward sums g and g (x - h) over x, in one pass. Autograd of the article's formula needs four sums.

    Where channels are innermost, sums are taken over the last axis first: in one sum a compiler reads eight channels of
    all positions, then the next eight, half a line of the cache each time.

    Args:
        x_NCS: The input (N, C, *S) with at least one value per channel.
        weight_C: Scale (C,), or None for 1.
        bias_C: Shift (C,), or None for 0.
        eps: Added to the variance, inside the root.

    Returns:
        As `normalize_batch`.

    Source:
        Ours.
    """
    x = x_NCS.to(wide_dtype(x_NCS.dtype))
    axes, num_values = axes_but_channel(x), x.numel() // x.shape[1]
    in_rows = x.dim() > 2 and channels_are_innermost(x_NCS)

    def added_up(values: Tensor) -> Tensor:
        return values.sum(-1).sum(axes[:-1]) if in_rows else values.sum(axes)

    def spread(value_C: Tensor) -> Tensor:  # its derivative is `added_up`
        value = per_channel(value_C, x)
        return value.expand(*x.shape[:-1], 1) if in_rows else value

    mean_C = added_up(x) / num_values
    h_C = mean_C.detach()
    from_h = x - per_channel(h_C, x)
    var_C = added_up(from_h.square()) / num_values - (mean_C - h_C).square()
    scale_C = torch.rsqrt(var_C + eps)
    if weight_C is not None:
        scale_C = scale_C * weight_C
    shift_C = -(mean_C - h_C) * scale_C
    if bias_C is not None:
        shift_C = shift_C + bias_C
    y = from_h * spread(scale_C) + spread(shift_C)
    return y.to(x_NCS.dtype), mean_C, var_C
