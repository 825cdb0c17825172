"""The share of a layer's outputs where its activation is flat, so that no gradient passes; defined in several ways."""

from typing import ClassVar

from torch import Tensor

from bnlab.diagnostics.by_unit import means_by_unit, zero_or_nan
from bnlab.diagnostics.diagnostic import Observation, OfActivations, Ranges
from bnlab.diagnostics.flatness import (
    BOUNDS,
    MARGIN,
    STRICT_MARGIN,
    flat_by_unit,
    flat_slopes_by_unit,
    sides_by_unit,
    zeros_by_unit,
)
from bnlab.diagnostics.passes import Named

ONE_KIND = "activations that are modules of the network's own and all of one kind (norm=frn replaces them)"
TWO_BOUNDS = "an activation with a lower and an upper bound, such as sigmoid or tanh"
"""Why a diagnostic is undefined in some networks: it needs one of these."""


def _shares(by_unit: Named, seen: Observation) -> Named:
    odd = zero_or_nan(seen)
    return {role: share_U.mean() + odd[role] for role, share_U in by_unit.items()}


class Saturation(OfActivations):
    """How much of a layer's output lies where the activation is flat, so that no gradient passes.

    The share of all (image, unit, position) whose activation a is flat:

        sigmoid  a < 0.05 or a > 0.95        tanh  |a| > 0.9        relu  a = 0
        gelu, silu  |slope| < 0.1

    Unit:
        Share, 0 to 1. NaN as soon as one activation is NaN or infinite.

    Reading:
        For sigmoid and tanh, 0 is healthy; at 1 the layer cannot learn. For relu this is the share of zeros: about 0.5
        is healthy, since half of a centered input is negative.

    Cost:
        One forward pass on the probe batch, shared with the other diagnostics.

    Blind spots:
        With a centered input of variance 1, 14% of a tanh's outputs lie beyond 0.9: BatchNorm can raise this value
        though it helps. It is measured in training mode: a batch norm uses the probe batch's own statistics.
        A layer whose norm brings its own nonlinearity (norm=frn) has no separate activation, and is left out.

    Source:
        Bounded activations: Glorot & Bengio 2010 study the same flat regions by percentiles; the bounds are
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
    too_low = "hardly any output is flat: the layer is close to linear"
    too_high = "most outputs lie where the activation is flat, and little gradient passes"
    undefined = ONE_KIND

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the flat share per layer."""
        return _shares(flat_by_unit(seen), seen)


class SaturationStrict(OfActivations):
    """Saturation with a narrower margin: sigmoid a < 0.01 or a > 0.99, tanh |a| > 0.98.

    Unit:
        Share, 0 to 1. NaN as soon as one activation is NaN or infinite.

    Reading:
        Read it with `saturation`: outputs between the two margins may still leave the flat region.

    Cost:
        None of its own: it reads the shared pass.

    Blind spots:
        Those of `saturation`. Left out for activations without bounds.

    Source:
        Ours, as `saturation`.
    """

    name = "saturation_strict"
    unit = "share of activations"
    vectorizable = True
    undefined = TWO_BOUNDS

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the flat share per layer."""
        return _shares(flat_by_unit(seen, STRICT_MARGIN), seen) if seen.activation in BOUNDS else {}


class SaturationSides(OfActivations):
    """Saturation at the lower bound and at the upper bound, as two values.

        low   sigmoid a < 0.05    tanh a < -0.9
        high  sigmoid a > 0.95    tanh a > 0.9

    Unit:
        Share, 0 to 1; the two add up to `saturation`. NaN as soon as one activation is NaN or infinite.

    Reading:
        If only one side grows, the layer's inputs drift away from zero, as in the top layer of a deep sigmoid network,
        whose outputs go to 0. If both sides are equal, the inputs have become too wide.

    Cost:
        None of its own: it reads the shared pass.

    Blind spots:
        Units that stay at different bounds give the same values as units that change sides from image to image. See
        `saturated_units`. Left out for
        activations without bounds.

    Source:
        Glorot & Bengio 2010, figure 2: the top layer of a sigmoid network pinned near 0.
    """

    name = "saturation_sides"
    unit = "share of activations"
    vectorizable = True
    undefined = TWO_BOUNDS

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the share per layer and side."""
        if seen.activation not in BOUNDS:
            return {}
        sides = sides_by_unit(seen, MARGIN).items()
        odd = zero_or_nan(seen)
        low = {f"{role}/low": low_U.mean() + odd[role] for role, (low_U, _) in sides}
        return low | {f"{role}/high": high_U.mean() + odd[role] for role, (_, high_U) in sides}


class SaturationBySlope(OfActivations):
    """The share of a layer's activations that pass almost no gradient, by the activation's derivative.

        share of |phi'(z)| < 0.1 max phi'

    One definition for every activation, bounded or not; `saturation` goes by the output's value.

    Unit:
        Share, 0 to 1. NaN as soon as one activation is NaN or infinite.

    Reading:
        As `saturation`. A sigmoid's slope falls below a tenth of its largest beyond |z| = 3.6.

    Cost:
        None of its own: it reads the shared pass.

    Blind spots:
        Large weights in the next layer can compensate a small slope: read it with the gradient norms.

    Source:
        Ours.
    """

    name = "saturation_by_slope"
    unit = "share of activations"
    vectorizable = True
    undefined = ONE_KIND

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the flat share per layer."""
        return _shares(flat_slopes_by_unit(seen), seen)


class SaturationDegree(OfActivations):
    """The average distance of an activation's outputs from the middle of its range.

        rho_B = sum_b |g_b| f_b / sum_b f_b,    g_b = 2 (abar_b - low) / (high - low) - 1

    with B bins over the range (low, high), f_b outputs in bin b and abar_b their mean. For an even B, all outputs of a
    bin lie on one side of the middle, and rho_B is the mean of |g| for every such B: this mean is computed.

    Unit:
        Dimensionless, 0 to 1.

    Reading:
        0: all outputs in the middle; 0.5: spread evenly; 1: all at the bounds. Unlike `saturation`, it
        needs no choice of a margin.

    Cost:
        None of its own: it reads the shared pass.

    Blind spots:
        A layer with half of its outputs at the bounds and half in the middle has the same value as an even spread. Left
        out for activations without bounds.

    Source:
        Rakitianskaia & Engelbrecht 2015, "Measuring saturation in neural networks".
    """

    name = "saturation_degree"
    unit = "distance from the middle, share of the half range"
    vectorizable = True
    undefined = TWO_BOUNDS

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return rho per layer."""
        if seen.activation not in BOUNDS:
            return {}
        low, high = BOUNDS[seen.activation]
        middle, half = (low + high) / 2, (high - low) / 2

        def distance(a: Tensor) -> tuple[Tensor]:
            return ((a - middle).abs_(),)

        return {role: means_by_unit(distance, a)[0].mean() / half for role, a in seen.activations.items()}


class ZeroFraction(OfActivations):
    """The share of a relu's outputs that are exactly zero.

        share of a = 0

    Unit:
        Share, 0 to 1. NaN as soon as one activation is NaN or infinite.

    Reading:
        About 0.5 is healthy: half of a centered input is negative.

    Cost:
        None of its own: it reads the shared pass.

    Blind spots:
        If half of the units are dead and the others always active, the value is 0.5 too: read it with `dead_fraction`.
        Left out for every activation but relu.

    Source:
        The usual definition.
    """

    name = "zero_fraction"
    unit = "share of activations"
    vectorizable = True
    undefined = "the activation relu, whose zeros it counts"

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the share of zeros per layer."""
        if seen.activation != "relu":
            return {}
        return _shares(zeros_by_unit(seen), seen)
