"""Where activations are flat, and the share of each unit's outputs there; computed once for all diagnostics of a step.

Shape letters: N batch, U units (channels, for a convolution), S any number of spatial axes.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from bnlab.diagnostics.by_unit import means_by_unit
from bnlab.diagnostics.diagnostic import Observation
from bnlab.diagnostics.passes import Named

MARGIN, STRICT_MARGIN = 0.05, 0.01
"""A sigmoid's output closer than this to 0 or 1 is flat: there its slope is below 19% (4%) of its largest. A tanh is a
sigmoid stretched to (-1, 1), so that its margin is twice as wide: |a| > 0.9 (0.98)."""

SLOPE_SHARE = 0.1
"""A slope below this share of the activation's largest slope counts as flat."""

SLOPE_MARGIN = (1 - math.sqrt(1 - SLOPE_SHARE)) / 2
"""The margin that corresponds to `SLOPE_SHARE` for a sigmoid, whose slope is a (1 - a), and for a tanh."""

BOUNDS = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0)}
"""Activation -> lower and upper bound, for activations that have both."""


def _gelu_slope(z: Tensor) -> Tensor:
    below: Tensor = torch.special.ndtr(z)
    return below + z * torch.exp(-0.5 * z.square()) / math.sqrt(2 * math.pi)


def _silu_slope(z: Tensor) -> Tensor:
    gate = torch.sigmoid(z)
    return gate * (1 + z * (1 - gate))


SLOPES: dict[str, tuple[Callable[[Tensor], Tensor], float]] = {
    "gelu": (_gelu_slope, 1.1289042),  # at z = sqrt(2)
    "silu": (_silu_slope, 1.0998393),  # at z = 2.3993573
}
"""Activation -> its slope as a function, and the largest slope, for activations that are neither bounded nor relu."""

Sides = dict[str, tuple[Tensor, Tensor]]
"""Role -> share of each unit's outputs, (U,), near the lower bound, and the same near the upper bound."""


def sides_by_unit(seen: Observation, margin: float) -> Sides:
    """Return the shares of each unit's outputs near the lower and near the upper bound of a bounded activation.

    Args:
        seen: The observation of a network whose activation is in `BOUNDS`.
        margin: Largest distance from a bound that counts as near, as a share of the range between the bounds.
    """
    low, high = BOUNDS[seen.activation]
    width = (high - low) * margin

    def beyond(a: Tensor) -> tuple[Tensor, Tensor]:
        return _is_positive(low + width - a), _is_positive(a - (high - width))

    return seen.derived(f"sides at {margin}", lambda seen: {role: _two(beyond, a) for role, a in _layers(seen)})


def knows_where_it_is_flat(seen: Observation) -> bool:
    """Return whether the network has one kind of activation, and one that is flat somewhere."""
    return seen.activation == "relu" or seen.activation in BOUNDS or seen.activation in SLOPES


def flat_by_unit(seen: Observation, margin: float = MARGIN) -> Named:
    """Return the flat share of each unit's outputs, (U,): near a bound, zero (relu), or of small slope (gelu, silu).

    Nothing for a network without activations, with several kinds of them, or with one whose flat part is not known.

    Args:
        seen: The observation of a network with any activation, or without.
        margin: For bounded activations, the margin of `sides_by_unit`; not used for others.
    """
    if not knows_where_it_is_flat(seen):
        return {}
    if seen.activation in BOUNDS:
        return {role: low_U + high_U for role, (low_U, high_U) in sides_by_unit(seen, margin).items()}
    if seen.activation in SLOPES:
        return _small_slopes_by_unit(seen, SLOPE_SHARE)
    return zeros_by_unit(seen)  # of relu: no other is left


def flat_slopes_by_unit(seen: Observation) -> Named:
    """Return the share of each unit's outputs, (U,), with a slope below a tenth of the activation's largest."""
    if seen.activation in SLOPES:
        return _small_slopes_by_unit(seen, SLOPE_SHARE * SLOPES[seen.activation][1])
    return flat_by_unit(seen, SLOPE_MARGIN)


def zeros_by_unit(seen: Observation) -> Named:
    """Return the share of each unit's outputs that are exactly 0, (U,)."""
    return seen.derived(
        "zeros", lambda seen: {role: 1 - means_by_unit(lambda a: (a.sign().abs_(),), a)[0] for role, a in _layers(seen)}
    )


def _is_positive(x: Tensor) -> Tensor:
    """Return 1 or 0 as floats, which are summed three times faster than bools. The input is overwritten."""
    return x.sign_().relu_()


def _small_slopes_by_unit(seen: Observation, bound: float) -> Named:
    slope, _ = SLOPES[seen.activation]

    def is_small(z: Tensor) -> tuple[Tensor]:
        return (_is_positive(bound - slope(z).abs()),)

    return seen.derived(
        f"slopes below {bound}",
        lambda seen: {role: means_by_unit(is_small, seen.preactivations[role])[0] for role, _ in _layers(seen)},
    )


def _layers(seen: Observation) -> list[tuple[str, Tensor]]:
    return list(seen.activations.items())


def _two(of: Callable[[Tensor], tuple[Tensor, Tensor]], a_NUS: Tensor) -> tuple[Tensor, Tensor]:
    low_U, high_U = means_by_unit(of, a_NUS)
    return low_U, high_U
