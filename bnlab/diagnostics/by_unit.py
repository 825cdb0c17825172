"""Samples, means and sums of a layer's values by unit, and a check that all are finite; many diagnostics use them.

However large a layer is, only a part of a stated size is copied at a time.

Shape letters: N batch, U units (channels, for a convolution), S any number of spatial axes, P positions (all of S in
one axis), M values per unit.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from bnlab.diagnostics.diagnostic import Observation
from bnlab.diagnostics.passes import Named

MOST_PER_UNIT = 4096
"""Values of a unit that are used, at most: all of 1,000 images; of a convolution's positions, every few."""

PART = 2**19
"""Values computed at a time: 2 MB in float32, which stay in a core's cache. On a CNN's first layers this is four times
faster than all at once."""


def wide_type(x: Tensor) -> torch.dtype:
    """Return float64; float32 on a device without it."""
    return torch.float32 if x.device.type == "mps" else torch.float64


def bounded(x_NUS: Tensor, most: int = MOST_PER_UNIT) -> Tensor:
    """Return values by unit, (U, M), with a fixed stride over images and positions that keeps M at ``most`` or below.

    The stride has no factor in common with the number of positions: a stride of 64 over images of 32x32 would only
    take values at their left edge, where a convolution's padding makes them different from those inside.

    Args:
        x_NUS: Inputs or outputs of a layer, (N, U, *S).
        most: Largest number M of values per unit, 1 or more.

    Example:
        >>> bounded(torch.arange(6.0).view(3, 2)).tolist()
        [[0.0, 2.0, 4.0], [1.0, 3.0, 5.0]]
        >>> bounded(torch.arange(6.0).view(3, 2), most=2).tolist()
        [[0.0, 4.0], [1.0, 5.0]]
    """
    if x_NUS.dim() == 2:
        return x_NUS[:: stride_for(len(x_NUS), 1, most)].T
    x_NUP = x_NUS.flatten(2)
    num_images, _, num_positions = x_NUP.shape
    places = torch.arange(
        0,
        num_images * num_positions,
        stride_for(num_images * num_positions, num_positions, most),
        device=x_NUS.device,
    )
    return x_NUP[places // num_positions, :, places % num_positions].T


def stride_for(num_values: int, num_positions: int, most: int) -> int:
    """Return the least stride that keeps at most ``most`` values and shares no factor with the number of positions.

    Args:
        num_values: Values of a unit: images times positions.
        num_positions: Positions of an image; 1 without spatial axes.
        most: Largest number of values to keep.

    Example:
        >>> stride_for(256 * 1024, 1024, 4096)
        65
    """
    stride = -(-num_values // most)
    while math.gcd(stride, num_positions) > 1:
        stride += 1
    return stride


def means_by_unit(of: Callable[..., tuple[Tensor, ...]], *tensors_NUS: Tensor) -> tuple[Tensor, ...]:
    """Return means over images and positions, (U,) each, in a wide type; computed in parts of the batch.

    Args:
        of: Function from the values of some images to the tensors to average, each of the same shape.
        *tensors_NUS: The values, (N, U, *S), one or more tensors of one shape, passed to ``of`` together.
    """
    first = tensors_NUS[0]
    but_units = [axis for axis in range(first.dim()) if axis != 1]
    images_at_once = max(1, PART // max(1, first[0].numel()))
    parts = zip(*(torch.split(x, images_at_once) for x in tensors_NUS), strict=True)
    sums_of_parts = [[values.sum(but_units).to(wide_type(first)) for values in of(*part)] for part in parts]
    num_values = first.numel() // first.shape[1]
    return tuple(torch.stack(sums_U).sum(0) / num_values for sums_U in zip(*sums_of_parts, strict=True))


def sums(seen: Observation) -> Named:
    """Return the sum of each layer's activations, computed once for all diagnostics of a step."""
    return seen.derived("sums", lambda seen: {role: a.sum() for role, a in seen.activations.items()})


def zero_or_nan(seen: Observation) -> Named:
    """Return per layer 0, or NaN if an activation is NaN or infinite; added to values that would not show it.

    A comparison with NaN is false: without this, a network full of NaN would look healthy.
    """
    return {role: 0 * total for role, total in sums(seen).items()}
