"""Normalization by statistics of one sample as one differentiable operation, with derivatives written by hand.

Shape letters: N batch, C channels, G groups, S any number of spatial axes (none, W, HW, DHW), M = prod(S).
"""

import inspect
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from bnlab.norms.group_rows import differentiate_rows, normalize_rows
from bnlab.norms.moments import chunks, fits_cache, joined_samples, wide_dtype


class NormalizeGroups(torch.autograd.Function):
    """`normalize_groups` with its backward derived by hand: fewer passes over memory.

    With d = x - mean (or x, if not centered), v the mean of d^2, r = 1/sqrt(v + eps), K = C/G * M values per group, and
    incoming gradients g of y, gm of mean, gv of v, sums being over the positions of a channel or over a group:

        p_nc = sum_M g,    q_nc = sum_M g d
        dbias_c = sum_N p,    dweight_c = sum_N r q
        dx = (r weight) g + (2 gv - r^3 sum_G(weight q)) / K * d + (gm - r sum_G(weight p)) / K

    The last term is the mean's, and is missing where nothing is centered. All operations are
    differentiable, so that there are second derivatives; mean and v are differentiable outputs for that reason.

    All sums are taken over positions first and then over a group's channels: fast in both layouts of an image. Rows
    have no positions, and functions of their own, in group_rows.py.

    Source: Wu & He 2018, arXiv:1803.08494, and the chain rule; as in batch_formula.py, with other axes.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        x_NCS: Tensor, weight_C: Tensor | None, bias_C: Tensor | None, num_groups: int, eps: float, centered: bool
    ) -> tuple[Tensor, ...]:
        """Return the output, the variance (N, G) and, where centered, the mean (N, G)."""
        if x_NCS.dim() == 2 and fits_cache(x_NCS):
            return normalize_rows(x_NCS, weight_C, bias_C, num_groups, eps, centered)
        x_NCM = _positions_joined(x_NCS)
        statistics: list[tuple[Tensor, ...]] = []

        def outputs() -> Iterator[Tensor]:
            for x in chunks(x_NCM):
                y, *of_piece = _normalize_piece(x, weight_C, bias_C, num_groups, eps, centered)
                statistics.append(tuple(of_piece))
                yield y

        y_NCM = joined_samples(x_NCM, outputs())
        # not view: autograd lets nobody change a view in place, as torchvision's networks do behind their norms
        y_NCS = torch.ops.aten._unsafe_view(y_NCM, x_NCS.shape)
        return y_NCS, *(_joined(values) for values in zip(*statistics, strict=True))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Save the input and the statistics for the derivatives, and nothing else of x's size."""
        x_NCS, weight_C, bias_C, ctx.num_groups, ctx.eps, _ = inputs
        ctx.has_bias = bias_C is not None
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x_NCS, weight_C, *output[1:])
        ctx.save_for_forward(x_NCS, weight_C, *output[1:])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        """Return the gradients of all arguments of `forward`; the last three are None."""
        x_NCS, weight_C, *statistics = ctx.saved_tensors
        grad_y = torch.zeros_like(x_NCS) if grads[0] is None else grads[0]
        r_NG = torch.rsqrt(statistics[0] + ctx.eps)
        if x_NCS.dim() == 2 and fits_cache(x_NCS):
            dx_NC, dweight_C, dbias_C = differentiate_rows(x_NCS, grad_y, weight_C, r_NG, statistics[1:], grads[1:])
            dweight, dbias = None if weight_C is None else dweight_C, dbias_C if ctx.has_bias else None
            return dx_NC, dweight, dbias, None, None, None
        x_NCM, g_NCM = _positions_joined(x_NCS), _positions_joined(grad_y)
        of_parameters: list[tuple[Tensor, ...]] = []

        def gradients() -> Iterator[Tensor]:
            start = 0
            for x, g in zip(chunks(x_NCM), chunks(g_NCM), strict=True):
                of_piece = slice(start, start := start + len(x))
                means = [mean_NG[of_piece] for mean_NG in statistics[1:]]
                further = [None if grad is None else grad[of_piece] for grad in grads[1:]]
                dx, *rest = _differentiate_piece(x, g, weight_C, r_NG[of_piece], means, further)
                of_parameters.append(tuple(rest))
                yield dx

        dx_NCM = joined_samples(x_NCM, gradients())
        dweight_C, dbias_C = (sum(values) for values in zip(*of_parameters, strict=True))
        dweight = None if weight_C is None else dweight_C
        return dx_NCM.view(x_NCS.shape), dweight, dbias_C if ctx.has_bias else None, None, None, None

    @staticmethod
    def jvp(
        ctx: Any, dx_NCS: Tensor | None, dweight_C: Tensor | None, dbias_C: Tensor | None, *_: None
    ) -> tuple[Tensor, ...]:
        """Return the directional derivatives of all outputs, for forward-mode differentiation."""
        x_NCS, weight_C, var_NG, *means = ctx.saved_tensors
        d = _positions_joined(x_NCS).to(var_NG.dtype)
        dx = torch.zeros_like(d) if dx_NCS is None else _positions_joined(dx_NCS).to(var_NG.dtype)
        num_values = d.shape[1:].numel() // ctx.num_groups
        dmeans = []
        if means:
            d = d - _spread(means[0], d)
            dmeans = [_sum_groups(_sum_positions(dx), ctx.num_groups) / num_values]
            dx = dx - _spread(dmeans[0], dx)
        dvar_NG = 2 * _sum_groups(_sum_positions(d * dx), ctx.num_groups) / num_values
        r_NG = torch.rsqrt(var_NG + ctx.eps)
        xhat, dy = d * _spread(r_NG, d), dx * _spread(r_NG, d) + d * _spread(r_NG.pow(3) * dvar_NG / -2, d)
        dy = dy if weight_C is None else dy * weight_C.unsqueeze(1)
        dy = dy if dweight_C is None else dy + xhat * dweight_C.unsqueeze(1)
        dy = dy if dbias_C is None else dy + dbias_C.unsqueeze(1)
        return dy.to(x_NCS.dtype).view(x_NCS.shape), dvar_NG, *dmeans


# torch binds the arguments at each call, by a signature that it derives anew each time unless it is there
NormalizeGroups.forward.__signature__ = inspect.signature(NormalizeGroups.forward)  # type: ignore[attr-defined]


class NormalizeGroupsAlone(torch.autograd.Function):
    """`NormalizeGroups` where no transform of torch.func is active.

    torch calls a function without `setup_context` in a third of the time, but transforms cannot take it.
    """

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, ...]:
        """Return the output, the variance (N, G) and, where centered, the mean (N, G)."""
        output = NormalizeGroups.forward(*inputs)
        NormalizeGroups.setup_context(ctx, inputs, output)
        return output

    backward = NormalizeGroups.backward
    jvp = NormalizeGroups.jvp


def _normalize_piece(
    x_NCM: Tensor,
    weight_C: Tensor | None,
    bias_C: Tensor | None,
    num_groups: int,
    eps: float,
    centered: bool,
) -> tuple[Tensor, ...]:
    """Return the output, the variance (N, G) and, where centered, the mean."""
    d = x_NCM.to(wide_dtype(x_NCM.dtype))
    num_values = max(1, d.shape[1:].numel() // num_groups)
    means = []
    if centered:
        means = [_sum_groups(_sum_positions(d), num_groups) / num_values]
        d = d - _spread(means[0], d)
    var_NG = _sum_groups(_sum_positions(d.square()), num_groups) / num_values
    scale = _spread(torch.rsqrt(var_NG + eps), d)
    if weight_C is not None:
        scale = scale * weight_C.unsqueeze(1)
    if bias_C is None:
        return d * scale, var_NG, *means
    return d * scale + bias_C.unsqueeze(1), var_NG, *means


def _differentiate_piece(
    x_NCM: Tensor,
    g_NCM: Tensor,
    weight_C: Tensor | None,
    r_NG: Tensor,
    means: list[Tensor],
    grads_of_statistics: list[Tensor | None],
) -> tuple[Tensor, Tensor, Tensor]:
    """Return dx and the piece's share of dweight and dbias."""
    num_groups = r_NG.shape[1]
    d, g = x_NCM.to(r_NG.dtype), g_NCM.to(r_NG.dtype)
    num_values = d.shape[1:].numel() // num_groups
    if means:
        d = d - _spread(means[0], d)
    r = _spread(r_NG, d)
    p_NC, q_NC = _sum_positions(g), _sum_positions(g * d)
    weighted_p, weighted_q = (p_NC, q_NC) if weight_C is None else (p_NC * weight_C, q_NC * weight_C)
    of_d = r_NG.pow(3) * _sum_groups(weighted_q, num_groups) / -num_values
    if grads_of_statistics[0] is not None:
        of_d = of_d + 2 * grads_of_statistics[0] / num_values
    rest = d * _spread(of_d, d)
    if means:
        of_mean = r_NG * _sum_groups(weighted_p, num_groups) / -num_values
        if grads_of_statistics[1] is not None:
            of_mean = of_mean + grads_of_statistics[1] / num_values
        rest = rest + _spread(of_mean, d)
    dx = g * (r if weight_C is None else r * weight_C.unsqueeze(1)) + rest
    return dx, (q_NC * r.squeeze(2)).sum(0), p_NC.sum(0)


def _positions_joined(x_NCS: Tensor) -> Tensor:
    # reshape, not flatten or unflatten: those have no rule for a stack of incoming gradients
    return x_NCS.reshape(*x_NCS.shape[:2], x_NCS.shape[2:].numel())


def in_groups(x_NCS: Tensor, num_groups: int) -> Tensor:
    """Return x as (N, G, C/G, *S)."""
    num_samples, num_channels, *space = x_NCS.shape
    return x_NCS.reshape(num_samples, num_groups, num_channels // num_groups, *space)


def _sum_positions(x_NCM: Tensor) -> Tensor:
    return x_NCM.squeeze(2) if x_NCM.shape[2] == 1 else x_NCM.sum(2)


def _sum_groups(value_NC: Tensor, num_groups: int) -> Tensor:
    return in_groups(value_NC, num_groups).sum(2) if num_groups < value_NC.shape[1] else value_NC


def _spread(value_NG: Tensor, like_NCM: Tensor) -> Tensor:
    """Return one value per group as (N, C, 1), or (N, 1, 1) where one group is all.

    The values are copied: with the channels last, operations on an expanded axis are ten times slower.
    """
    num_samples, num_groups = value_NG.shape
    num_channels = like_NCM.shape[1]
    if num_groups in {1, num_channels}:
        return value_NG.unsqueeze(2)
    per_group = value_NG.unsqueeze(2).expand(-1, -1, num_channels // num_groups)
    return per_group.reshape(num_samples, num_channels, 1)


def _joined(values: tuple[Tensor, ...]) -> Tensor:
    return values[0] if len(values) == 1 else torch.cat(values)
