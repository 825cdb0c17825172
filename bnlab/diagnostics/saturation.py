"""How much of a layer sits where its nonlinearity is flat, so that no gradient passes; said in several ways.

Shape letters: N batch, U units (channels, for a convolution), S any number of spatial axes, M = N times positions.
"""

import math
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from bnlab.diagnostics.diagnostic import Diagnostic, Observation, Ranges

MARGIN, STRICT_MARGIN = 0.05, 0.01
"""A sigmoid's output closer than this to 0 or 1 is flat: there its slope is below 19% (4%) of its largest. A tanh is a
sigmoid stretched to (-1, 1), so that its margin is twice as wide: |a| > 0.9 (0.98)."""

SLOPE_SHARE = 0.1
"""A slope below this share of the nonlinearity's largest is flat."""

SATURATED_SHARE = 0.95
"""A unit is saturated if more than this share of its outputs is flat."""

BOUNDS = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0)}
"""Of the nonlinearities that have two of them."""


def _sigmoid_slope(_: Tensor, a: Tensor) -> Tensor:
    return a * (1 - a)


def _tanh_slope(_: Tensor, a: Tensor) -> Tensor:
    return 1 - a.square()


def _relu_slope(z: Tensor, _: Tensor) -> Tensor:
    return (z > 0).to(z.dtype)


def _gelu_slope(z: Tensor, _: Tensor) -> Tensor:
    below: Tensor = torch.special.ndtr(z)
    return below + z * torch.exp(-0.5 * z.square()) / math.sqrt(2 * math.pi)


def _silu_slope(z: Tensor, _: Tensor) -> Tensor:
    gate = torch.sigmoid(z)
    return gate * (1 + z * (1 - gate))


SLOPES: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], float]] = {
    "sigmoid": (_sigmoid_slope, 0.25),
    "tanh": (_tanh_slope, 1.0),
    "relu": (_relu_slope, 1.0),
    "gelu": (_gelu_slope, 1.1289042),  # at z = sqrt(2)
    "silu": (_silu_slope, 1.0998393),  # at z = 2.3993573
}
"""Nonlinearity -> (its slope out of input and output, the largest slope)."""


def flat(activation: str, z: Tensor, a: Tensor, margin: float = MARGIN) -> Tensor:
    """Return where an activation is flat.

    Args:
        activation: Its name.
        z: What goes into it.
        a: What comes out.
        margin: Distance to the bounds, as a share of the range between them; without meaning where there are none.
    """
    if activation in BOUNDS:
        low, high = _sides(activation, a, margin)
        return low | high
    if activation == "relu":
        return a == 0
    return SLOPES[activation][0](z, a).abs() < SLOPE_SHARE


def _sides(activation: str, a: Tensor, margin: float) -> tuple[Tensor, Tensor]:
    low, high = BOUNDS[activation]
    width = (high - low) * margin
    return a < low + width, a > high - width


def share(flags: Tensor, a_NUS: Tensor) -> Tensor:
    """Return the share of true flags; NaN as soon as one activation is NaN.

    A comparison with NaN is false: without this a network full of NaN would look healthy.

    Args:
        flags: Of anything that was derived from the activations.
        a_NUS: The activations.
    """
    return torch.where(a_NUS.isnan().any(), torch.nan, flags.float().mean())


class Saturation(Diagnostic):
    """How much of a layer's output lies where the activation is flat, so that no gradient passes.

    The share of all (image, unit, position) whose activation a is flat:

        sigmoid  a < 0.05 or a > 0.95        tanh  |a| > 0.9        relu  a = 0
        gelu, silu  |slope| < 0.1

    Unit:
        Share, 0 to 1. NaN as soon as one activation is NaN.

    Reading:
        For sigmoid and tanh, 0 is healthy and 1 is stuck. For relu this is the share of zeros: about 0.5 is healthy,
        since half of a centered input is negative.

    Cost:
        One forward pass on the probe batch, shared with the other diagnostics.

    Blind spots:
        A centered input of variance 1 puts 14% of a tanh's outputs beyond 0.9: BatchNorm can raise this number
        while it helps. Measured in training mode, with the probe batch's own statistics under a batch norm.
        A layer whose norm brings its own nonlinearity (norm=frn) has no activation to look at, and is left out.

    Source:
        Bounded activations: Glorot & Bengio 2010 look at the same flat regions by percentiles; the bounds are
        Ours. Not to be confused with the "layer saturation" of Richter et al. 2020, which is a rank.
    """

    name = "saturation"
    unit = "share of activations"
    vectorizable = True
    healthy: ClassVar[Ranges] = {
        "sigmoid": (0.0, 0.3),
        "tanh": (0.0, 0.5),
        "relu": (0.02, 0.9),
        "gelu": (0.0, 0.95),
        "silu": (0.0, 0.95),
    }
    too_low = "nearly every output is in use: the layer is close to linear"
    too_high = "most outputs lie where the activation is flat, and little gradient passes"

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the flat share per layer."""
        return {
            role: share(flat(seen.activation, seen.preactivations[role], a), a) for role, a in seen.activations.items()
        }


class SaturationStrict(Diagnostic):
    """Saturation with a narrower margin: sigmoid a < 0.01 or a > 0.99, tanh |a| > 0.98.

    Unit:
        Share, 0 to 1. NaN as soon as one activation is NaN.

    Reading:
        Beside `saturation`: units between the two margins may still come back.

    Cost:
        Reads what the others read.

    Blind spots:
        Those of `saturation`. Left out for activations without bounds.

    Source:
        Ours, as `saturation`.
    """

    name = "saturation_strict"
    unit = "share of activations"
    vectorizable = True

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the flat share per layer."""
        if seen.activation not in BOUNDS:
            return {}
        return {
            role: share(flat(seen.activation, seen.preactivations[role], a, STRICT_MARGIN), a)
            for role, a in seen.activations.items()
        }


class SaturationSides(Diagnostic):
    """Saturation at the lower and at the upper bound, apart.

        low   sigmoid a < 0.05    tanh a < -0.9
        high  sigmoid a > 0.95    tanh a > 0.9

    Unit:
        Share, 0 to 1; the two add up to `saturation`. NaN as soon as one activation is NaN.

    Reading:
        One side alone, growing: the layer's inputs drift away from zero, as the top layer of a deep sigmoid network
        does towards 0. Both alike: the inputs have grown too wide.

    Cost:
        Reads what the others read.

    Blind spots:
        Units that are stuck at different bounds look like units that swing. See `saturated_units`. Left out for
        activations without bounds.

    Source:
        Glorot & Bengio 2010, figure 2: the top layer of a sigmoid network pinned near 0.
    """

    name = "saturation_sides"
    unit = "share of activations"
    vectorizable = True

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the share per layer and side."""
        if seen.activation not in BOUNDS:
            return {}
        shares: dict[str, Tensor] = {}
        for role, a in seen.activations.items():
            low, high = _sides(seen.activation, a, MARGIN)
            shares |= {f"{role}/low": share(low, a), f"{role}/high": share(high, a)}
        return shares


class SaturationBySlope(Diagnostic):
    """How much of a layer passes next to no gradient, by the activation's derivative.

        share of |phi'(z)| < 0.1 max phi'

    The same question for every activation, bounded or not; `saturation` asks it by the output's value.

    Unit:
        Share, 0 to 1. NaN as soon as one activation is NaN.

    Reading:
        As `saturation`. A sigmoid's slope falls below a tenth of its largest beyond |z| = 3.6.

    Cost:
        Reads what the others read.

    Blind spots:
        A small slope can be made up for by large weights behind it: read it next to the gradient norms.

    Source:
        Ours.
    """

    name = "saturation_by_slope"
    unit = "share of activations"
    vectorizable = True

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the flat share per layer."""
        slope, largest = SLOPES[seen.activation]
        return {
            role: share(slope(seen.preactivations[role], a).abs() < SLOPE_SHARE * largest, a)
            for role, a in seen.activations.items()
        }


class SaturatedUnits(Diagnostic):
    """How many units are flat for nearly every image.

        share of units that are flat for more than 95% of all (image, position)

    Unit:
        Share of units, 0 to 1. A convolution's unit is a channel. NaN as soon as one activation is NaN.

    Reading:
        0 is healthy. `saturation` can be high with none of these: then every unit swings between its bounds, and
        learns from the few images in between.

    Cost:
        Reads what the others read.

    Blind spots:
        A saturated unit is not a dead one: it may give 0 for half of the images and 1 for the others.

    Source:
        Ours.
    """

    name = "saturated_units"
    unit = "share of units"
    vectorizable = True
    healthy: ClassVar[Ranges] = {"any": (0.0, 0.2)}
    too_high = "of the units are flat for nearly every image, and hardly learn"

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the share of saturated units per layer."""
        found = {}
        for role, a_NUS in seen.activations.items():
            flat_NUS = flat(seen.activation, seen.preactivations[role], a_NUS)
            flat_U = flat_NUS.transpose(0, 1).flatten(1).float().mean(1)
            found[role] = share(flat_U > SATURATED_SHARE, a_NUS)
        return found


class SaturationRho(Diagnostic):
    """How far from the middle of its range an activation's outputs lie, on average.

        rho_B = sum_b |g_b| f_b / sum_b f_b,    g_b = 2 (abar_b - low) / (high - low) - 1

    with B bins over the range (low, high), f_b outputs in bin b and abar_b their mean. For an even B no bin spans the
    middle, all of a bin's outputs lie on one side of it, and rho_B is the mean of |g| whatever B: that is computed.

    Unit:
        Dimensionless, 0 to 1.

    Reading:
        0: all outputs in the middle; 0.5: spread evenly; 1: all at the bounds. Unlike `saturation` it has no margin
        to choose.

    Cost:
        Reads what the others read.

    Blind spots:
        A layer with half of its units stuck and half of them near zero looks like one that is spread evenly. Left
        out for activations without bounds.

    Source:
        Rakitianskaia & Engelbrecht 2015, "Measuring saturation in neural networks".
    """

    name = "saturation_rho"
    unit = "distance from the middle, share of the half range"
    vectorizable = True

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return rho per layer."""
        if seen.activation not in BOUNDS:
            return {}
        low, high = BOUNDS[seen.activation]
        return {role: (2 * (a.float() - low) / (high - low) - 1).abs().mean() for role, a in seen.activations.items()}


class ZeroFraction(Diagnostic):
    """How many of a relu's outputs are exactly zero.

        share of a = 0

    Unit:
        Share, 0 to 1. NaN as soon as one activation is NaN.

    Reading:
        About 0.5 is healthy: half of a centered input is negative.

    Cost:
        Reads what the others read.

    Blind spots:
        Half of the units dead and the others always on gives 0.5 too: read it next to `dead_fraction`. Left out for
        every activation but relu.

    Source:
        The usual definition.
    """

    name = "zero_fraction"
    unit = "share of activations"
    vectorizable = True

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the share of zeros per layer."""
        if seen.activation != "relu":
            return {}
        return {role: share(a == 0, a) for role, a in seen.activations.items()}
