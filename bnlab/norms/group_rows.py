"""Normalization by statistics of one sample, for rows (N, C): in as few operations as it takes.

A recurrent cell normalizes few numbers at each time step, and calling an operation takes longer than its numbers. So
nothing is divided into pieces here, and statistics of one group have no further axes.

Shape letters: N batch, C channels, G groups, K = C/G values of a group.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from bnlab.norms.moments import narrowed, widened


def normalize_rows(
    x_NC: Tensor,
    weight_C: Tensor | None,
    bias_C: Tensor | None,
    num_groups: int,
    eps: float,
    centered: bool,
) -> tuple[Tensor, ...]:
    """Return the output, the variance (N, G) and, where centered, the mean (N, G).

    Args:
        x_NC: The input.
        weight_C: Scale (C,), or None for 1.
        bias_C: Shift (C,), or None for 0.
        num_groups: G, which must divide C.
        eps: Added to the variance, inside the root.
        centered: Subtract the mean. If false, the mean square replaces the variance.
    """
    d = _in_groups(widened(x_NC), num_groups)
    means = []
    if centered:
        means = [d.mean(-1, keepdim=True)]
        d = d - means[0]
    var = d.square().mean(-1, keepdim=True)
    y_NC = d * torch.rsqrt(var + eps)
    statistics = var, *means
    if num_groups > 1:
        y_NC = torch.ops.aten._unsafe_view(y_NC, x_NC.shape)  # not view, as in group_backward.py
        statistics = tuple(value.squeeze(2) for value in statistics)
    if weight_C is not None and bias_C is not None:
        y_NC = torch.addcmul(bias_C, y_NC, weight_C)
    elif weight_C is not None:
        y_NC = y_NC * weight_C
    elif bias_C is not None:
        y_NC = y_NC + bias_C
    return narrowed(y_NC, x_NC.dtype), *statistics


def differentiate_rows(
    x_NC: Tensor,
    grad_y: Tensor,
    weight_C: Tensor | None,
    r_NG: Tensor,
    means: Sequence[Tensor],
    grads_of_statistics: Sequence[Tensor | None],
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of x, weight and bias.

    The formula of `bnlab.norms.group_backward.NormalizeGroups`, with r taken out, xhat = r d, and sums over a group:

        dx = r (weight g - sum(weight g) / K - xhat sum(weight g xhat) / K) + gm / K + 2 gv d / K

    Args:
        x_NC: The input.
        grad_y: The gradient of the output, like x.
        weight_C: Scale (C,), or None for 1.
        r_NG: One over the standard deviation of each group.
        means: The mean of each group (N, G), or nothing where nothing is centered.
        grads_of_statistics: The gradients of the variance and, where centered, of the mean, (N, G); None for 0.
    """
    num_groups = r_NG.shape[1]
    per_value = num_groups / x_NC.shape[1]
    d, r = _in_groups(widened(x_NC), num_groups), _per_group(r_NG)
    if means:
        d = d - _per_group(means[0])
    xhat = d * r
    g_NC = widened(grad_y)
    h_NC = g_NC * xhat.reshape(x_NC.shape)
    weighted_g, weighted_h = (g_NC, h_NC) if weight_C is None else (g_NC * weight_C, h_NC * weight_C)
    dx = _in_groups(weighted_g, num_groups)
    if means:
        dx = torch.sub(dx, dx.sum(-1, keepdim=True), alpha=per_value)
    sum_of_h = _in_groups(weighted_h, num_groups).sum(-1, keepdim=True)
    dx = torch.addcmul(dx, xhat, sum_of_h, value=-per_value) * r
    if grads_of_statistics[0] is not None:
        dx = dx + d * _per_group(grads_of_statistics[0] * (2 * per_value))
    if means and grads_of_statistics[1] is not None:
        dx = dx + _per_group(grads_of_statistics[1] * per_value)
    return narrowed(dx.reshape(x_NC.shape), x_NC.dtype), h_NC.sum(0), g_NC.sum(0)


def _in_groups(x_NC: Tensor, num_groups: int) -> Tensor:
    """Return x as (N, G, K), or as it is if there is one group."""
    return x_NC if num_groups == 1 else x_NC.reshape(x_NC.shape[0], num_groups, x_NC.shape[1] // num_groups)


def _per_group(value_NG: Tensor) -> Tensor:
    """Return values that broadcast against what `_in_groups` returns."""
    return value_NG if value_NG.shape[1] == 1 else value_NG.unsqueeze(2)
