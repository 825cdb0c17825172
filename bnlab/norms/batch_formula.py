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

    With any constant h, the same mean, y and var are

        mean = h + o,    o = 1/m sum (x - h)
        var = 1/m sum (x - h)^2 - o^2,    y = (x - h) scale + (bias - o scale)

    so both statistics need one pass over x, and the derivatives, of any order, are those of the formula. The backward
    sums g and g (x - h) over x, in one pass too. Autograd of the article's formula needs four sums.

    The difference in var cancels digits if h is far from the mean. Here h is the mean of a sixteenth of the samples,
    which are a part of the batch: they alone make var at least o^2 / 16, so that 4 of 24 bits are lost at worst.

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

    h_C = x[: (x.shape[0] + 15) // 16].detach().mean(axes)
    from_h = x - per_channel(h_C, x)
    o_C = added_up(from_h) / num_values
    var_C = (added_up(from_h.square()) / num_values - o_C.square()).clamp_min(0)
    scale_C = torch.rsqrt(var_C + eps)
    if weight_C is not None:
        scale_C = scale_C * weight_C
    shift_C = -o_C * scale_C
    if bias_C is not None:
        shift_C = shift_C + bias_C
    y = from_h * spread(scale_C) + spread(shift_C)
    return y.to(x_NCS.dtype), h_C + o_C, var_C
