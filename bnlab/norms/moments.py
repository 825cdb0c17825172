"""Means and variances over named axes, and running averages of them.

Shape letters: N batch, C channels, S any number of spatial axes (none, W, HW, DHW).
"""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from bnlab.errors import ConfigError

CHUNK_ELEMENTS = 1 << 18
"""Number of values per piece of a large input: 1 MiB of float32, which stays in a core's L2 cache.

Measured on 2 cores at (256, 32, 32, 32): 2^16 and 2^20 were both slower than 2^18, up to 2x."""

_OLDER_VMAP = torch._C._dispatch_key_parse("VmapMode")  # once: parsing the name takes longer than a small operation


def wide_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the type that statistics are computed in: float32, or wider where the input is.

    Example:
        >>> wide_dtype(torch.bfloat16), wide_dtype(torch.float64)
        (torch.float32, torch.float64)
    """
    return torch.promote_types(dtype, torch.float32)


def is_transformed() -> bool:
    """Return whether vmap, another transform or a compiler is active, so that tensors may have hidden axes."""
    if torch.compiler.is_compiling():
        return True
    # torch has no public name for it: what its own autograd.Function asks, then the older vmap of is_grads_batched=True
    active: bool = torch._C._are_functorch_transforms_active()
    return active or torch._C._dispatch_tls_is_dispatch_key_included(_OLDER_VMAP)


def per_channel(value_C: Tensor, like: Tensor) -> Tensor:
    """Return one value per channel, shaped to broadcast against (N, C, *S)."""
    return value_C if like.dim() == 2 else value_C.view((1, -1) + (1,) * (like.dim() - 2))


def widened(values: Tensor, buffer: Tensor | None = None) -> Tensor:
    """Return values in float32, or in their own type if it is wider; the same tensor if the type does not change.

    Values that change their type are written into ``buffer``, if given.
    """
    if values.dtype is torch.float32 or values.dtype is torch.float64:  # faster than asking for the wider of two types
        return values
    return values.to(wide_dtype(values.dtype)) if buffer is None else buffer.copy_(values)


def narrowed(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Return values in a type; the same tensor if it has this type already."""
    return values if values.dtype == dtype else values.to(dtype)


def channels_are_innermost(x_NCS: Tensor) -> bool:
    """Return whether the channels of a position are neighbors in memory: rows (N, C), or images in channels_last."""
    return x_NCS.stride(1) == 1


def check_input(x_NCS: Tensor, num_channels: int) -> None:
    """Check that a tensor has the axes that a norm takes statistics over.

    Args:
        x_NCS: The input of a norm.
        num_channels: C, the size that axis 1 of the input must have.

    Raises:
        ConfigError: The input is not (N, C, *S) of a floating-point type.
    """
    if x_NCS.dim() < 2 or x_NCS.shape[1] != num_channels:
        raise ConfigError(
            f"a norm of {num_channels} channels takes (N, {num_channels}) or (N, {num_channels}, *spatial), "
            f"got {tuple(x_NCS.shape)}"
        )
    if not x_NCS.is_floating_point():  # the output has the input's type: integers would lose its fractions
        raise ConfigError(f"a norm takes a floating-point tensor, got {x_NCS.dtype}. Use x.float().")


def check_has_variance(x_NCS: Tensor, num_values: int | None = None) -> None:
    """Check that each channel has more than one value over batch and positions, or none, which torch accepts too.

    Args:
        x_NCS: The input of a norm.
        num_values: Number of values per channel in all processes that share the batch; None: those of x.

    Raises:
        ConfigError: There is exactly one value per channel.
    """
    if (x_NCS.numel() == x_NCS.shape[1]) if num_values is None else num_values == 1:
        raise ConfigError(
            "batch normalization needs more than one value per channel in training mode, got "
            f"{tuple(x_NCS.shape)}: its output would be the bias, whatever the input. "
            "Use a larger train.batch_size, or norm=layer."
        )


def axes_but_channel(x_NCS: Tensor) -> list[int]:
    """Return the axes that a statistic per channel reduces: all but axis 1."""
    return [0, *range(2, x_NCS.dim())]


def chunks(x_NCS: Tensor) -> tuple[Tensor, ...]:
    """Return x divided along the batch into pieces that fit a cache; views, not copies."""
    num_samples = x_NCS.shape[0]
    if fits_cache(x_NCS) or num_samples <= 1:
        return (x_NCS,)
    return torch.split(x_NCS, max(1, CHUNK_ELEMENTS * num_samples // x_NCS.numel()))


def fits_cache(x_NCS: Tensor) -> bool:
    """Return whether x needs no pieces: on the CPU if it is small, on other devices always."""
    return x_NCS.numel() <= CHUNK_ELEMENTS or not x_NCS.is_cpu


def channels_at_once(x_NCS: Tensor) -> int:
    """Return the number of channels of x in a piece that fits a cache."""
    return max(1, CHUNK_ELEMENTS * x_NCS.shape[1] // x_NCS.numel())


class Workspace:
    """Buffers in the size of a piece, used again by each next piece, so that they stay in the cache.

    Operations write into them by ``out=``. Autograd and vmap refuse that: without ``reuse`` each buffer is None, which
    makes the same operations return new tensors.
    """

    def __init__(self, *, reuse: bool) -> None:
        self._buffers: dict[str, Tensor] | None = {} if reuse else None

    def like(self, piece: Tensor, use: str) -> Tensor | None:
        """Return the buffer for one use, in the shape of a piece that is no larger than the first, in the wide type."""
        if self._buffers is None:
            return None
        if use not in self._buffers:
            self._buffers[use] = torch.empty_like(piece, dtype=wide_dtype(piece.dtype))
        buffer = self._buffers[use]
        return buffer if buffer.shape == piece.shape else buffer[: piece.shape[0], : piece.shape[1]]


NO_WORKSPACE = Workspace(reuse=False)


def empty_in_layout_of(x_NCS: Tensor, piece: Tensor) -> Tensor:
    """Return an empty tensor of x's shape, type and memory layout.

    Under vmap it is created from a piece of the result, not from x: the result may have a replica axis that x lacks.
    Elsewhere it is no view: autograd lets nobody change a view in place, as a ReLU behind the norm may do.
    """
    if not is_transformed():
        return torch.empty_like(x_NCS, requires_grad=False)
    if channels_are_innermost(x_NCS):
        shape = (x_NCS.shape[0], *x_NCS.shape[2:], x_NCS.shape[1])
        return piece.new_empty(shape, dtype=x_NCS.dtype).movedim(-1, 1)
    return piece.new_empty(x_NCS.shape, dtype=x_NCS.dtype)


def joined_samples(x_NCS: Tensor, pieces: Iterable[Tensor]) -> Tensor:
    """Return the results of the `chunks` of x as one tensor, in x's type and layout.

    Each piece is copied while it is still in the cache; `torch.cat` would need all pieces at once.
    """
    whole: Tensor | None = None
    done = 0
    for piece in pieces:
        if piece.shape[0] == x_NCS.shape[0]:
            return narrowed(piece, x_NCS.dtype)
        if whole is None:
            whole = empty_in_layout_of(x_NCS, piece)
        whole[done : done + piece.shape[0]].copy_(piece)
        done += piece.shape[0]
    assert whole is not None
    return whole


def channel_moments(x_NCS: Tensor, workspace: Workspace = NO_WORKSPACE) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance of each channel, over the batch and space.

        mean_c = 1/m sum x,    var_c = 1/m sum (x - mean_c)^2,    m = N * prod(S)

    Two passes, never E[x^2] - E[x]^2, which cancels at large offsets. A large input is processed piece by piece, and
    the moments of the pieces are merged exactly.

    Args:
        x_NCS: (N, C, *S), at least one value per channel.
        workspace: Buffers for the pieces, if any.

    Returns:
        mean (C,) and variance (C,), in float32 or wider.

    Source:
        Merging: Chan, Golub & LeVeque 1979, "Updating formulae and a pairwise algorithm for
        computing sample variances", equation 2.1.

    Example:
        >>> channel_moments(torch.tensor([[0.0, 5.0], [4.0, 5.0]]))
        (tensor([2., 5.]), tensor([4., 0.]))
    """
    axes = axes_but_channel(x_NCS)
    wide = wide_dtype(x_NCS.dtype)
    counts, means, squares = [], [], []
    for chunk in chunks(x_NCS):
        buffer = workspace.like(chunk, "x")
        values = widened(chunk, buffer)
        count = chunk.numel() // chunk.shape[1]
        mean_C = values.sum(axes) / count
        counts.append(count)
        means.append(mean_C)
        centered = torch.sub(values, per_channel(mean_C, values), out=buffer)
        squares.append(torch.mul(centered, centered, out=buffer).sum(axes))
    if len(counts) == 1:
        return means[0], squares[0] / counts[0]
    count_K1 = torch.tensor(counts, dtype=wide, device=x_NCS.device).unsqueeze(1)
    mean_KC = torch.stack(means)
    num_values = sum(counts)
    mean_C = (count_K1 * mean_KC).sum(0) / num_values
    between_C = (count_K1 * (mean_KC - mean_C).square()).sum(0)
    return mean_C, (torch.stack(squares).sum(0) + between_C) / num_values


def affine_map(
    mean_C: Tensor, var_C: Tensor, weight_C: Tensor | None, bias_C: Tensor | None, eps: float
) -> tuple[Tensor, Tensor]:
    """Return scale and shift, (C,) each, for which scale * x + shift normalizes x by these statistics."""
    scale_C = torch.rsqrt(var_C + eps)
    if weight_C is not None:
        scale_C = scale_C * weight_C
    shift_C = -mean_C * scale_C
    if bias_C is not None:
        shift_C = shift_C + bias_C
    return scale_C, shift_C


def scale_and_shift(x_NCS: Tensor, scale_C: Tensor, shift_C: Tensor, workspace: Workspace = NO_WORKSPACE) -> Tensor:
    """Return scale * x + shift per channel in x's type, rounded once.

    Args:
        x_NCS: (N, C, *S) of any float type.
        scale_C: (C,) in float32 or wider.
        shift_C: (C,) in float32 or wider.
        workspace: Buffers for the pieces, if any.
    """
    scale, shift = per_channel(scale_C, x_NCS), per_channel(shift_C, x_NCS)
    if x_NCS.dtype == scale_C.dtype:
        return times_plus(x_NCS, scale, shift)

    def outputs() -> Iterator[Tensor]:
        for chunk in chunks(x_NCS):
            buffer = workspace.like(chunk, "x")
            yield times_plus(widened(chunk, buffer), scale, shift, out=buffer)

    return joined_samples(x_NCS, outputs())


def times_plus(x_NCS: Tensor, scale: Tensor, shift: Tensor, out: Tensor | None = None) -> Tensor:
    """Return scale * x + shift, where scale and shift broadcast against x; in ``out``, if given."""
    if channels_are_innermost(x_NCS):
        return torch.addcmul(shift, x_NCS, scale, out=out)
    # addcmul is not vectorized if a factor is constant along a row: 4x slower
    return torch.add(torch.mul(x_NCS, scale, out=out), shift, out=out)


def kept_share(momentum: float | None, num_batches_tracked: Tensor, dtype: torch.dtype) -> float | Tensor:
    """Return the share of the old running value that this batch keeps.

    Args:
        momentum: The share itself; None: the share of the plain average over all batches.
        num_batches_tracked: Number of training batches, this one included.
        dtype: Data type of the running value: a float32 share would make a float64 average inexact.

    Example:
        >>> kept_share(None, torch.tensor(4), torch.float32)
        tensor(0.7500)
    """
    return 1 - 1 / num_batches_tracked.to(wide_dtype(dtype)) if momentum is None else momentum


def update_running(running: Tensor, value: Tensor, kept: float | Tensor) -> None:
    """Update a running average in place: running = kept * running + (1 - kept) * value.

    Args:
        running: The buffer that holds the running average.
        value: The statistic of this batch, of the same shape.
        kept: Share of the old value that is kept, in [0, 1]: the article's momentum. A tensor if it depends on the
            number of batches.
    """
    # mul_ and add_, not lerp_: lerp_ with a scalar has no vmap rule, and makes NaN of two infinities
    if isinstance(kept, Tensor):
        running.mul_(kept).add_((1 - kept) * value.detach())
    else:
        running.mul_(kept).add_(value.detach(), alpha=1 - kept)
