"""Random cases for the definitions of batch normalization: a batch, a layer's numbers, and formulas in numpy.

One channel of each case has a variance near eps, so that an eps at a wrong place shows; batches are small, so that an
unbiased variance does.

Shape letters: N batch, C channels, S any number of spatial axes.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

    from bnlab.norms.batch import BatchNorm

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """A random batch, and a layer's numbers.

    Attributes:
        x: (N, C, *S), N at least 2.
        gamma: (C,), never near 0.
        beta: (C,).
        eps: From 1e-5 to 1.
        momentum: The share of the old value that is kept, from 0.6 to 0.99.
    """

    x: Array
    gamma: Array
    beta: Array
    eps: float
    momentum: float

    @property
    def mean(self) -> Array:
        """The mean of each channel, (C,)."""
        rows = rows_of(self.x)
        return np.asarray(rows.sum(0) / len(rows))

    @property
    def variance(self) -> Array:
        """The biased variance of each channel, (C,)."""
        centered = rows_of(self.x) - self.mean
        return np.asarray((centered * centered).sum(0) / len(centered))

    @property
    def standardized(self) -> Array:
        """The article's xhat, one row for each sample and place."""
        return (rows_of(self.x) - self.mean) / np.sqrt(self.variance + self.eps)

    def layer(self) -> "BatchNorm":
        """Return bnlab's layer with these numbers, in float64."""
        import torch  # noqa: PLC0415  (studies are listed without torch)

        from bnlab.norms.batch import BatchNorm  # noqa: PLC0415

        layer = BatchNorm(len(self.gamma), eps=self.eps, momentum=self.momentum).double()
        layer.load_state_dict(
            {**layer.state_dict(), "weight": torch.from_numpy(self.gamma), "bias": torch.from_numpy(self.beta)}
        )
        return layer


def draw_case(rng: np.random.Generator, *, num_axes: int | None = None) -> Case:
    """Draw a case.

    Args:
        rng: Source of the random numbers of the case.
        num_axes: Number of spatial axes; None: 0 to 3.
    """
    num_axes = int(rng.integers(0, 4)) if num_axes is None else num_axes
    num_channels = int(rng.integers(2, 7))
    shape = (int(rng.integers(2, 17)), num_channels, *(int(size) for size in rng.integers(1, 5, num_axes)))
    eps = 10 ** rng.uniform(-5, 0)
    scale = 10 ** rng.uniform(-2, 2, num_channels)
    scale[0] = math.sqrt(eps) * rng.uniform(0.5, 2)
    offset = scale * rng.uniform(-100, 100, num_channels)
    per_channel = (-1,) + (1,) * num_axes
    x = offset.reshape(per_channel) + scale.reshape(per_channel) * rng.standard_normal(shape)
    gamma = rng.uniform(0.5, 2, num_channels) * rng.choice([-1, 1], num_channels)
    momentum = float(rng.choice([0.9, 0.99, rng.uniform(0.6, 0.99)]))
    return Case(x, gamma, rng.standard_normal(num_channels), float(eps), momentum)


def rows_of(x: Any) -> Array:
    """Return (m, C): all values of a channel in one column.

    Args:
        x: An array or a tensor (N, C, *S).
    """
    array = np.asarray(x.detach() if hasattr(x, "detach") else x)
    return np.moveaxis(array, 1, -1).reshape(-1, array.shape[1])


def tensor_of(x: Array) -> "Tensor":
    """Return a copy of an array as a tensor.

    Args:
        x: Of float64.
    """
    import torch  # noqa: PLC0415  (studies are listed without torch)

    return torch.from_numpy(x.copy())


def deviation(actual: Any, expected: Array, unit: Array | None = None) -> float:
    """Return the largest difference, in units of the largest expected value or of `unit`.

    Args:
        actual: An array or a tensor.
        expected: What it should be.
        unit: What a difference is divided by; broadcasts against it.

    Returns:
        At least 0; inf where a value is not finite or the shape is another one.
    """
    array = np.asarray(actual.detach() if hasattr(actual, "detach") else actual)
    if array.shape != expected.shape or not np.isfinite(array).all():
        return math.inf
    return float(np.max(np.abs(array - expected) / (np.abs(expected).max() if unit is None else unit)))
