"""The formula of batch normalization, with its gradient.

Shape letters: N batch, C channels, S any number of spatial axes (none, W, HW, DHW).
"""

from collections.abc import Callable

import torch
from torch import Tensor

from bnlab.norms.batch_backward import NormalizeBatch
from bnlab.norms.moments import axes_but_channel, per_channel, wide_dtype


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
    if torch.compiler.is_compiling():  # the compiler fuses the plain composition better than we do by hand
        return normalize_batch_by_autograd(x_NCS, weight_C, bias_C, eps)
    apply: Callable[..., tuple[Tensor, Tensor, Tensor]] = NormalizeBatch.apply
    return apply(x_NCS, weight_C, bias_C, eps)


def normalize_batch_by_autograd(
    x_NCS: Tensor,
    weight_C: Tensor | None,
    bias_C: Tensor | None,
    eps: float,
    num_values: int | None = None,
    add_up: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute what `normalize_batch` does, as the article writes it, and leave the backward to autograd.

    The readable reference: the fast one is tested against it. It is also what a compiler gets to fuse, and what
    spans several processes.

    Args:
        x_NCS: (N, C, *S).
        weight_C: Scale (C,), or None for 1.
        bias_C: Shift (C,), or None for 0.
        eps: Added to the variance, inside the root.
        num_values: Values per channel, where other processes hold some of them.
        add_up: Then adds up sums over all processes, differentiably.

    Returns:
        As `normalize_batch`.
    """
    x = x_NCS.to(wide_dtype(x_NCS.dtype))
    axes = axes_but_channel(x)
    if num_values is None or add_up is None:
        var_C, mean_C = torch.var_mean(x, axes, correction=0)  # compilers make one pass of it
    else:
        mean_C = add_up(x.sum(axes)) / num_values
        var_C = add_up((x - per_channel(mean_C, x)).square().sum(axes)) / num_values
    y = (x - per_channel(mean_C, x)) * per_channel(torch.rsqrt(var_C + eps), x)
    if weight_C is not None:
        y = y * per_channel(weight_C, x)
    if bias_C is not None:
        y = y + per_channel(bias_C, x)
    return y.to(x_NCS.dtype), mean_C, var_C
