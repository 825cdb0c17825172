"""Means and variances over named axes, and running averages of them.

Shape letters: N batch, C channels, S any number of spatial axes (none, W, HW, DHW).
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from bnlab.errors import ConfigError

CHUNK_ELEMENTS = 1 << 18
"""Elements per pass of the chunked sums: 1 MiB of float32, which stays in a core's L2 cache.

Measured on 2 cores at (256, 32, 32, 32): 2^16 and 2^20 were both slower than 2^18, up to 2x."""


def wide_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the type that statistics are computed in: float32, or wider where the input is.

    Example:
        >>> wide_dtype(torch.bfloat16), wide_dtype(torch.float64)
        (torch.float32, torch.float64)
    """
    return torch.promote_types(dtype, torch.float32)


def per_channel(value_C: Tensor, like: Tensor) -> Tensor:
    """Return one value per channel, shaped to broadcast against (N, C, *S)."""
    return value_C if like.dim() == 2 else value_C.view((1, -1) + (1,) * (like.dim() - 2))


def widened(values: Tensor) -> Tensor:
    """Return values in float32, or wider where they are; the same tensor if it is that already."""
    wide = wide_dtype(values.dtype)
    return values if values.dtype == wide else values.to(wide)


def narrowed(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Return values in a type; the same tensor if it is that already."""
    return values if values.dtype == dtype else values.to(dtype)


def channels_are_innermost(x_NCS: Tensor) -> bool:
    """Return whether a position's channels lie side by side in memory: rows (N, C), or images in channels_last."""
    return x_NCS.stride(1) == 1


def check_input(x_NCS: Tensor, num_channels: int) -> None:
    """Check that a tensor has the axes that a norm takes statistics over.

    Args:
        x_NCS: What came.
        num_channels: C, the size that its axis 1 must have.

    Raises:
        ConfigError: It is not (N, C, *S) of a floating-point type.
    """
    if x_NCS.dim() < 2 or x_NCS.shape[1] != num_channels:
        raise ConfigError(
            f"a norm of {num_channels} channels takes (N, {num_channels}) or (N, {num_channels}, *spatial), "
            f"got {tuple(x_NCS.shape)}"
        )
    if not x_NCS.is_floating_point():  # the output has the input's type, and would be cut to whole numbers
        raise ConfigError(f"a norm takes a floating-point tensor, got {x_NCS.dtype}. Use x.float().")


def check_has_variance(x_NCS: Tensor, num_values: int | None = None) -> None:
    """Check that each channel has more than one value over the batch and space; none at all passes, as in torch.

    Args:
        x_NCS: What came.
        num_values: Values per channel, where other processes have some too; None: those of x.

    Raises:
        ConfigError: Exactly one value per channel.
    """
    if (x_NCS.numel() == x_NCS.shape[1]) if num_values is None else num_values == 1:
        raise ConfigError(
            "batch normalization needs more than one value per channel in training mode, got "
            f"{tuple(x_NCS.shape)}: its output would be the bias, whatever the input. "
            "Use a larger train.batch_size, or norm=layer."
        )


def axes_but_channel(x_NCS: Tensor) -> list[int]:
    """Return the axes that a statistic per channel is taken over: all but axis 1."""
    return [axis for axis in range(x_NCS.dim()) if axis != 1]


def chunks(x_NCS: Tensor) -> tuple[Tensor, ...]:
    """Return x cut along the batch into pieces that fit a cache; views, not copies."""
    num_samples = x_NCS.shape[0]
    if fits_cache(x_NCS) or num_samples <= 1:
        return (x_NCS,)
    return torch.split(x_NCS, max(1, CHUNK_ELEMENTS * num_samples // x_NCS.numel()))


def fits_cache(x_NCS: Tensor) -> bool:
    """Return whether all of x is one piece: on the CPU if it is small, elsewhere always (a GPU likes one large one)."""
    return x_NCS.numel() <= CHUNK_ELEMENTS or not x_NCS.is_cpu


def channels_at_once(x_NCS: Tensor) -> int:
    """Return how many channels of x make a piece that fits a cache."""
    return max(1, CHUNK_ELEMENTS * x_NCS.shape[1] // x_NCS.numel())


def empty_in_layout_of(x_NCS: Tensor, piece: Tensor) -> Tensor:
    """Return room for a tensor of x's shape, its channels innermost if x's are, of a piece's type.

    Made from a piece of the result, not of x: under vmap the result may have an axis of runs that x has not.
    """
    if channels_are_innermost(x_NCS):
        return piece.new_empty((x_NCS.shape[0], *x_NCS.shape[2:], x_NCS.shape[1])).movedim(-1, 1)
    return piece.new_empty(x_NCS.shape)


def joined_samples(x_NCS: Tensor, pieces: Iterable[Tensor]) -> Tensor:
    """Return the whole of what was made of `chunks` of x, in x's type and layout.

    Each piece is copied to its place while it is still in the cache; `torch.cat` would need them all at once.
    """
    whole: Tensor | None = None
    done = 0
    for piece in pieces:
        if piece.shape[0] == x_NCS.shape[0]:
            return narrowed(piece, x_NCS.dtype)
        if whole is None:
            whole = empty_in_layout_of(x_NCS, piece.new_empty(0, dtype=x_NCS.dtype))
        whole[done : done + piece.shape[0]].copy_(piece)
        done += piece.shape[0]
    assert whole is not None
    return whole


def channel_moments(x_NCS: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance of each channel, over the batch and space.

        mean_c = 1/m sum x,    var_c = 1/m sum (x - mean_c)^2,    m = N * prod(S)

    Two passes, never E[x^2] - E[x]^2, which cancels at large offsets. A large input is taken
    chunk by chunk, and the chunks' moments are merged as if it had been done at once.

    Args:
        x_NCS: (N, C, *S), at least one value per channel.

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
        values = chunk.to(wide)
        count = chunk.numel() // chunk.shape[1]
        mean_C = values.sum(axes) / count
        counts.append(count)
        means.append(mean_C)
        squares.append((values - per_channel(mean_C, values)).square().sum(axes))
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
    """Return scale and shift, (C,) each, such that normalizing by these statistics is scale * x + shift."""
    scale_C = torch.rsqrt(var_C + eps)
    if weight_C is not None:
        scale_C = scale_C * weight_C
    shift_C = -mean_C * scale_C
    if bias_C is not None:
        shift_C = shift_C + bias_C
    return scale_C, shift_C


def scale_and_shift(x_NCS: Tensor, scale_C: Tensor, shift_C: Tensor) -> Tensor:
    """Return scale * x + shift per channel in x's type, rounded once.

    Args:
        x_NCS: (N, C, *S) of any float type.
        scale_C: (C,) in float32 or wider.
        shift_C: (C,) in float32 or wider.
    """
    scale, shift = per_channel(scale_C, x_NCS), per_channel(shift_C, x_NCS)
    if x_NCS.dtype == scale_C.dtype:
        return times_plus(x_NCS, scale, shift)
    return joined_samples(x_NCS, (times_plus(widened(piece), scale, shift) for piece in chunks(x_NCS)))


def times_plus(x_NCS: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Return scale * x + shift, which broadcast against x."""
    if channels_are_innermost(x_NCS):
        return torch.addcmul(shift, x_NCS, scale)
    return x_NCS * scale + shift  # where a factor stays the same along a row, addcmul is not vectorized: 4x slower


def kept_share(momentum: float | None, num_batches_tracked: Tensor, dtype: torch.dtype) -> float | Tensor:
    """Return the share of the old running value that stays once this batch is counted.

    Args:
        momentum: That share, or None for the plain average over all batches seen.
        num_batches_tracked: Batches seen, this one included.
        dtype: Of the running value: a float32 share would blur a float64 average.

    Example:
        >>> kept_share(None, torch.tensor(4), torch.float32)
        tensor(0.7500)
    """
    return 1 - 1 / num_batches_tracked.to(wide_dtype(dtype)) if momentum is None else momentum


def update_running(running: Tensor, value: Tensor, kept: float | Tensor) -> None:
    """Move a running average in place: running = kept * running + (1 - kept) * value.

    Args:
        running: The buffer.
        value: What was seen in this batch, same shape.
        kept: Share of the old value that stays, in [0, 1]: the article's momentum. A tensor where it
            depends on the number of batches seen.
    """
    # mul_ and add_, not lerp_: lerp_ with a scalar has no vmap rule
    if isinstance(kept, Tensor):
        running.mul_(kept).add_((1 - kept) * value.detach())
    else:
        running.mul_(kept).add_(value.detach(), alpha=1 - kept)
