"""Test inputs: small ones with small whole numbers, from the smallest up, and random ones.

Shape letters: N batch, C channels, S any number of spatial axes (none, W, HW, DHW).
"""

import torch
from torch import Tensor

SPACES: dict[int, tuple[int, ...]] = {2: (), 3: (3,), 4: (3, 5), 5: (3, 5, 2)}
"""Number of axes -> sizes of the spatial axes, which differ from each other, from N and from C."""

NUM_SAMPLES = 7


def general_shape(num_axes: int, num_channels: int) -> tuple[int, ...]:
    """Return a shape whose axes all differ in size, so that a layer that confuses two axes fails."""
    return NUM_SAMPLES, num_channels, *SPACES[num_axes]


def square_shape(num_axes: int, num_channels: int) -> tuple[int, ...]:
    """Return a shape whose axes all have the same size: a layer that confuses two axes runs on it too."""
    return (num_channels,) * num_axes


def random_input(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """Return random values; each channel and each sample has its own mean and its own scale."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator, dtype=torch.float64)
    for axis in (0, 1):
        steps = steps_along(axis, shape)
        x = x * (1 + 0.3 * steps) + 0.5 * torch.cos(steps + 1)
    return x


def steps_along(axis: int, shape: tuple[int, ...]) -> Tensor:
    """Return 0, 1, 2, ... along an axis of a shape, with as many axes."""
    return along(axis, torch.arange(shape[axis], dtype=torch.float64), len(shape))


def along(axis: int, values: Tensor, num_axes: int) -> Tensor:
    """Return values along one of several axes; the others have size 1."""
    return values.view([-1 if at == axis else 1 for at in range(num_axes)])


def small_input(shape: tuple[int, ...]) -> Tensor:
    """Return whole numbers from -3 to 5; no channel and no sample repeats a number if it has at most eight values.

    Multiples of 3 modulo 8 take all eight values before one comes again.
    """
    count = torch.Size(shape).numel()
    steps = torch.arange(count, dtype=torch.float64)
    values = torch.remainder(3 * steps + torch.div(steps, 8, rounding_mode="floor"), 8) - 3
    values[-1] += 1  # so that the sums differ
    return values.view(shape)


def small_shapes(num_axes: int, unit: int, *, square: bool) -> list[tuple[int, ...]]:
    """Return shapes of small inputs, the smallest first.

    Args:
        num_axes: Number of axes of the input, 2 to 5.
        unit: The smallest number of channels that the layer can have.
        square: Whether to return only shapes whose axes all have the same size.
    """
    num_spaces = num_axes - 2
    if square:
        return [(size,) * num_axes for size in (2, 3, 4) if size % unit == 0]
    shapes = [
        (num_samples, num_channels, *(size,) * num_spaces)
        for num_samples, size in ((2, 2), (3, 2))
        for num_channels in (unit, 2 * unit, 3 * unit)
    ]
    return sorted(shapes, key=lambda shape: torch.Size(shape).numel())
