"""Batch normalization as one differentiable operation, with derivatives written by hand.

Shape letters: N batch, C channels, S any number of spatial axes (none, W, HW, DHW).
"""

import inspect
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from bnlab.norms.moments import (
    Workspace,
    affine_map,
    axes_but_channel,
    channel_moments,
    channels_are_innermost,
    channels_at_once,
    chunks,
    empty_in_layout_of,
    fits_cache,
    is_transformed,
    joined_samples,
    narrowed,
    per_channel,
    scale_and_shift,
    times_plus,
    widened,
)

SMALL = 1 << 15
"""Number of values up to which a new buffer costs less than the call that avoids it."""


class NormalizeBatch(torch.autograd.Function):
    """Batch normalization with derivatives written by hand: fewer passes over memory.

    With r = 1/sqrt(var + eps), xhat = (x - mean) r and incoming gradients g of y, gm of mean, gv of var:

        dbias = sum g,    dweight = sum g xhat
        dx = weight r (g - dbias/m - xhat dweight/m) + gm/m + 2 gv (x - mean)/m

    Per channel that is dx = a g + b x + c. All operations are differentiable, so that there
    are second derivatives; mean and var are differentiable outputs (marking them non-differentiable makes the second
    derivative wrong).

    Large inputs are processed in pieces that fit the cache. Channels are independent: if the values of a channel are
    contiguous in memory (images in torch's default layout), a piece is a few channels, which stay in the cache from the
    first sum to the last product. If channels are innermost (rows, channels_last), a piece is a few samples, and x is
    read once for the sums and once for the result.

    Source: the first line is Ioffe & Szegedy 2015, section 3; the closed form is the usual one.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        x_NCS: Tensor, weight_C: Tensor | None, bias_C: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return output, mean and variance."""
        return _normalize(x_NCS, weight_C, bias_C, eps, reuse=False)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
        """Save the input and the statistics for the derivatives, and nothing else of x's size."""
        x_NCS, weight_C, bias_C, ctx.eps = inputs
        _, mean_C, var_C = output
        ctx.has_bias = bias_C is not None
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x_NCS, weight_C, mean_C, var_C)
        ctx.save_for_forward(x_NCS, weight_C, mean_C, var_C)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        """Return the gradients of x, weight, bias and eps; the last is None."""
        return _differentiate(ctx, grads, reuse=False)

    @staticmethod
    def jvp(
        ctx: Any, dx_NCS: Tensor | None, dweight_C: Tensor | None, dbias_C: Tensor | None, _: None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the directional derivatives of output, mean and variance, for forward-mode differentiation."""
        x_NCS, weight_C, mean_C, var_C = ctx.saved_tensors
        centered = widened(x_NCS) - per_channel(mean_C, x_NCS)
        dx = torch.zeros_like(centered) if dx_NCS is None else widened(dx_NCS)
        axes, num_values = axes_but_channel(dx), dx.numel() // dx.shape[1]
        dmean_C = dx.sum(axes) / num_values
        dvar_C = (centered * dx).sum(axes) * (2 / num_values)
        inv_std_C = torch.rsqrt(var_C + ctx.eps)
        scale_C = inv_std_C if weight_C is None else inv_std_C * weight_C
        dscale_C = scale_C * dvar_C * inv_std_C.square() / -2
        if dweight_C is not None:
            dscale_C = dscale_C + inv_std_C * dweight_C
        dy = (dx - per_channel(dmean_C, dx)) * per_channel(scale_C, dx) + centered * per_channel(dscale_C, dx)
        if dbias_C is not None:
            dy = dy + per_channel(dbias_C, dx)
        return narrowed(dy, x_NCS.dtype), dmean_C, dvar_C


# torch binds the arguments at each call, and derives the signature each time unless it is stored: 5 of 40 us
NormalizeBatch.forward.__signature__ = inspect.signature(NormalizeBatch.forward)  # type: ignore[attr-defined]


class NormalizeBatchAlone(torch.autograd.Function):
    """`NormalizeBatch` where no transform of torch.func is active: in place, and called with less overhead.

    torch calls a function without `setup_context` in a third of the time, but transforms cannot take it. All pieces of
    an input share a few buffers, which stay in the cache. Where the backward must be differentiable, or is transformed,
    it is that of `NormalizeBatch`.
    """

    @staticmethod
    def forward(
        ctx: Any, x_NCS: Tensor, weight_C: Tensor | None, bias_C: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return output, mean and variance."""
        output = _normalize(x_NCS, weight_C, bias_C, eps, reuse=True)
        NormalizeBatch.setup_context(ctx, (x_NCS, weight_C, bias_C, eps), output)
        return output

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        """Return the gradients of x, weight, bias and eps; the last is None."""
        return _differentiate(ctx, grads, reuse=not torch.is_grad_enabled() and not is_transformed())

    jvp = NormalizeBatch.jvp


def _normalize(
    x_NCS: Tensor, weight_C: Tensor | None, bias_C: Tensor | None, eps: float, *, reuse: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return output, mean and variance; ``reuse``: with operations in place."""
    workspace = Workspace(reuse=reuse and x_NCS.numel() > SMALL)
    if fits_cache(x_NCS):
        y, mean_C, var_C = _normalize_piece(workspace, eps, x_NCS, weight_C, bias_C)
        return narrowed(y, x_NCS.dtype), mean_C, var_C
    if channels_are_innermost(x_NCS):
        mean_C, var_C = channel_moments(x_NCS, workspace)
        scale_C, shift_C = affine_map(mean_C, var_C, weight_C, bias_C, eps)
        return scale_and_shift(x_NCS, scale_C, shift_C, workspace), mean_C, var_C
    pieces: Iterable[Any] = zip(*_by_channels(x_NCS, weight_C, bias_C), strict=True)
    return _put_together(x_NCS, (_normalize_piece(workspace, eps, *p) for p in pieces))


def _differentiate(ctx: Any, grads: tuple[Tensor | None, ...], *, reuse: bool) -> tuple[Tensor | None, ...]:
    """Return the gradients of x, weight, bias and eps; ``reuse``: with operations in place."""
    grad_y, grad_mean_C, grad_var_C = grads
    x_NCS, weight_C, mean_C, var_C = ctx.saved_tensors
    if grad_y is None:
        grad_y = torch.zeros_like(x_NCS)
    workspace = Workspace(reuse=reuse and x_NCS.numel() > SMALL)
    inv_std_C = torch.rsqrt(var_C + ctx.eps)
    a_C = inv_std_C if weight_C is None else inv_std_C * weight_C
    arguments = x_NCS, grad_y, mean_C, inv_std_C, a_C, grad_mean_C, grad_var_C
    if fits_cache(x_NCS):
        dx, dweight_C, dbias_C = _gradients_of_piece(workspace, *arguments)
        dx_NCS = narrowed(dx, x_NCS.dtype)
    elif channels_are_innermost(x_NCS):
        dx_NCS, dweight_C, dbias_C = _gradients_by_samples(workspace, *arguments)
    else:
        pieces: Iterable[Any] = zip(*_by_channels(*arguments), strict=True)
        dx_NCS, dweight_C, dbias_C = _put_together(x_NCS, (_gradients_of_piece(workspace, *p) for p in pieces))
    return dx_NCS, None if weight_C is None else dweight_C, dbias_C if ctx.has_bias else None, None


def _normalize_piece(
    workspace: Workspace, eps: float, x_NCS: Tensor, weight_C: Tensor | None, bias_C: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return output, in the wide type, mean and variance of an input that fits the cache."""
    buffer = workspace.like(x_NCS, "x")
    x = widened(x_NCS, buffer)
    axes, num_values = axes_but_channel(x), x.numel() // x.shape[1]
    mean_C = x.mean(axes)
    centered = torch.sub(x, per_channel(mean_C, x), out=buffer)
    var_C = sum_of_squares(centered, workspace.like(x_NCS, "squares")) / num_values
    scale_C = torch.rsqrt(var_C + eps)
    if weight_C is not None:
        scale_C = scale_C * weight_C
    scale = per_channel(scale_C, x)
    if bias_C is None:
        return torch.mul(centered, scale, out=buffer), mean_C, var_C
    return times_plus(centered, scale, per_channel(bias_C, x), out=buffer), mean_C, var_C


def sum_of_squares(x_NCS: Tensor, buffer: Tensor | None) -> Tensor:
    """Return the sum of squares of each channel, (C,); ``buffer`` is for the squares, if given.

    The norm of an image's positions is one pass instead of two. It adds up without a tree of sums, which is as exact
    (1e-7) up to 2^14 positions.
    """
    if not channels_are_innermost(x_NCS) and 1 < x_NCS.shape[2:].numel() <= 1 << 14:
        norm_NC: Tensor = torch.linalg.vector_norm(x_NCS.flatten(2), 2, 2)
        return norm_NC.square().sum(0)
    return torch.mul(x_NCS, x_NCS, out=buffer).sum(axes_but_channel(x_NCS))


def _gradients_of_piece(
    workspace: Workspace,
    x_NCS: Tensor,
    grad_y: Tensor,
    mean_C: Tensor,
    inv_std_C: Tensor,
    a_C: Tensor,
    grad_mean_C: Tensor | None,
    grad_var_C: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of x, weight and bias for an input that fits the cache, in the wide type."""
    buffer, work = workspace.like(x_NCS, "x"), workspace.like(x_NCS, "dx")
    g, x = widened(grad_y, workspace.like(grad_y, "g")), widened(x_NCS, buffer)
    centered = torch.sub(x, per_channel(mean_C, x), out=buffer)
    axes, num_values = axes_but_channel(x), x.numel() // x.shape[1]
    dbias_C, dweight_C = g.sum(axes), torch.mul(g, centered, out=work).sum(axes) * inv_std_C
    # a (g - (dbias + (x - mean) dweight / std) / m): fewer operations than with the coefficients b and c
    m_times = times_plus(centered, per_channel(dweight_C * inv_std_C, x), per_channel(dbias_C, x), out=work)
    dx = torch.mul(torch.sub(g, m_times, alpha=1 / num_values, out=work), per_channel(a_C, x), out=work)
    if grad_mean_C is not None:
        dx = dx + per_channel(grad_mean_C / num_values, x)
    if grad_var_C is not None:
        dx = dx + centered * per_channel(grad_var_C * (2 / num_values), x)
    return dx, dweight_C, dbias_C


def _gradients_by_samples(
    workspace: Workspace,
    x_NCS: Tensor,
    grad_y: Tensor,
    mean_C: Tensor,
    inv_std_C: Tensor,
    a_C: Tensor,
    grad_mean_C: Tensor | None,
    grad_var_C: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of x, weight and bias, a few samples at a time."""
    axes, num_values = axes_but_channel(x_NCS), x_NCS.numel() // x_NCS.shape[1]
    mean = per_channel(mean_C, x_NCS)
    dbias_C, dweight_C = torch.zeros_like(mean_C), torch.zeros_like(mean_C)
    for x_piece, g_piece in zip(chunks(x_NCS), chunks(grad_y), strict=True):
        buffer = workspace.like(x_piece, "x")
        g, x = widened(g_piece, workspace.like(g_piece, "g")), widened(x_piece, buffer)
        dbias_C = dbias_C + g.sum(axes)
        dweight_C = dweight_C + torch.mul(g, torch.sub(x, mean, out=buffer), out=buffer).sum(axes)
    dweight_C = dweight_C * inv_std_C
    share_C = a_C / -num_values
    b_C, c_C = share_C * inv_std_C * dweight_C, share_C * dbias_C
    if grad_var_C is not None:
        b_C = b_C + grad_var_C * (2 / num_values)
    if grad_mean_C is not None:
        c_C = c_C + grad_mean_C / num_values
    # c - b mean, so that x need not be centered again: one more rounding of x, where its offset is large
    a, b, c = (per_channel(value, x_NCS) for value in (a_C, b_C, c_C - b_C * mean_C))

    def gradients() -> Iterator[Tensor]:
        for x_piece, g_piece in zip(chunks(x_NCS), chunks(grad_y), strict=True):
            buffer = workspace.like(x_piece, "x")
            g, x = widened(g_piece, workspace.like(g_piece, "g")), widened(x_piece, buffer)
            yield torch.addcmul(times_plus(x, b, c, out=buffer), g, a, out=buffer)

    return joined_samples(x_NCS, gradients()), dweight_C, dbias_C


def _by_channels(x_NCS: Tensor, *others: Tensor | None) -> list[Iterable[Any]]:
    """Return x and other tensors, divided along the channels into pieces that fit a cache; views, not copies.

    Args:
        x_NCS: The input (N, C, *S).
        *others: Tensors of the same shape or (C,), or None, which stays None in each piece.
    """
    at_once = channels_at_once(x_NCS)
    num_pieces = -(-x_NCS.shape[1] // at_once)
    return [
        itertools.repeat(None, num_pieces) if whole is None else torch.split(whole, at_once, dim=int(whole.dim() > 1))
        for whole in (x_NCS, *others)
    ]


def _put_together(x_NCS: Tensor, pieces: Iterable[tuple[Tensor, Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
    """Join the results of pieces of the channels of x: one tensor like x, in its type, and two of shape (C,)."""
    whole: Tensor | None = None
    done, firsts, seconds = 0, [], []
    for like_x, first_C, second_C in pieces:
        if whole is None:
            whole = empty_in_layout_of(x_NCS, like_x)
        whole[:, done : done + like_x.shape[1]].copy_(like_x)
        done += like_x.shape[1]
        firsts.append(first_C)
        seconds.append(second_C)
    assert whole is not None
    return whole, torch.cat(firsts), torch.cat(seconds)
