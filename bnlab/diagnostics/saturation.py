"""How much of a layer sits where its nonlinearity is flat, so that no gradient passes; said in several ways."""

from typing import ClassVar

from torch import Tensor

from bnlab.diagnostics.by_unit import means_by_unit, zero_or_nan
from bnlab.diagnostics.diagnostic import Diagnostic, Observation, Ranges
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


def _shares(by_unit: Named, seen: Observation) -> Named:
    odd = zero_or_nan(seen)
    return {role: share_U.mean() + odd[role] for role, share_U in by_unit.items()}


class Saturation(Diagnostic):
    """How much of a layer's output lies where the activation is flat, so that no gradient passes.

    The share of all (image, unit, position) whose activation a is flat:

        sigmoid  a < 0.05 or a > 0.95        tanh  |a| > 0.9        relu  a = 0
        gelu, silu  |slope| < 0.1

    Unit:
        Share, 0 to 1. NaN as soon as one activation is NaN or infinite.

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
        return _shares(flat_by_unit(seen), seen)


class SaturationStrict(Diagnostic):
    """Saturation with a narrower margin: sigmoid a < 0.01 or a > 0.99, tanh |a| > 0.98.

    Unit:
        Share, 0 to 1. NaN as soon as one activation is NaN or infinite.

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
        return _shares(flat_by_unit(seen, STRICT_MARGIN), seen) if seen.activation in BOUNDS else {}


class SaturationSides(Diagnostic):
    """Saturation at the lower and at the upper bound, apart.

        low   sigmoid a < 0.05    tanh a < -0.9
        high  sigmoid a > 0.95    tanh a > 0.9

    Unit:
        Share, 0 to 1; the two add up to `saturation`. NaN as soon as one activation is NaN or infinite.

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
        sides = sides_by_unit(seen, MARGIN).items()
        odd = zero_or_nan(seen)
        low = {f"{role}/low": low_U.mean() + odd[role] for role, (low_U, _) in sides}
        return low | {f"{role}/high": high_U.mean() + odd[role] for role, (_, high_U) in sides}


class SaturationBySlope(Diagnostic):
    """How much of a layer passes next to no gradient, by the activation's derivative.

        share of |phi'(z)| < 0.1 max phi'

    The same question for every activation, bounded or not; `saturation` asks it by the output's value.

    Unit:
        Share, 0 to 1. NaN as soon as one activation is NaN or infinite.

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
        return _shares(flat_slopes_by_unit(seen), seen)


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
        middle, half = (low + high) / 2, (high - low) / 2

        def distance(a: Tensor) -> tuple[Tensor]:
            return ((a - middle).abs_(),)

        return {role: means_by_unit(distance, a)[0].mean() / half for role, a in seen.activations.items()}


class ZeroFraction(Diagnostic):
    """How many of a relu's outputs are exactly zero.

        share of a = 0

    Unit:
        Share, 0 to 1. NaN as soon as one activation is NaN or infinite.

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
        return _shares(zeros_by_unit(seen), seen)
