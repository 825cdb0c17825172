"""What the activations do: how much of a layer sits where its nonlinearity is flat.

Shape letters: N batch, U units (channels, for a convolution), S any number of spatial axes.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from bnlab.diagnostics.diagnostic import Diagnostic, Observation

SIGMOID_MARGIN = 0.05
"""A sigmoid's output closer than this to 0 or 1 is flat: there its slope is below 19% of its largest."""

TANH_BOUND = 0.9
"""A tanh's output beyond this is flat: there its slope is below 19% of its largest."""

SLOPE_BOUND = 0.1
"""For gelu and silu, whose slope tends to 1 on one side: a slope closer to 0 than this is flat."""

SAME_OUTPUT_VARIANCE = 1e-6
"""A bounded unit whose variance over the probe batch is below this gives the same output for every image."""


def _flat_sigmoid(_: Tensor, a: Tensor) -> Tensor:
    return (a < SIGMOID_MARGIN) | (a > 1 - SIGMOID_MARGIN)


def _flat_tanh(_: Tensor, a: Tensor) -> Tensor:
    return a.abs() > TANH_BOUND


def _flat_relu(_: Tensor, a: Tensor) -> Tensor:
    return a == 0


def _flat_gelu(z: Tensor, _: Tensor) -> Tensor:
    below: Tensor = torch.special.ndtr(z)
    density = torch.exp(-0.5 * z.square()) / math.sqrt(2 * math.pi)
    return (below + z * density).abs() < SLOPE_BOUND


def _flat_silu(z: Tensor, _: Tensor) -> Tensor:
    gate = torch.sigmoid(z)
    return (gate * (1 + z * (1 - gate))).abs() < SLOPE_BOUND


FLAT_REGIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "sigmoid": _flat_sigmoid,
    "tanh": _flat_tanh,
    "relu": _flat_relu,
    "gelu": _flat_gelu,
    "silu": _flat_silu,
}


class Saturation(Diagnostic):
    """How much of a layer's output lies where the activation is flat, so that no gradient passes.

    The share of all (image, unit, position) whose activation a is flat:

        sigmoid  a < 0.05 or a > 0.95        tanh  |a| > 0.9        relu  a = 0
        gelu, silu  |slope| < 0.1

    For sigmoid and tanh, 0 is healthy and 1 is stuck. For relu this is the share of zeros: about 0.5 is healthy,
    since half of a centered input is negative.

    Unit:
        Share, 0 to 1. NaN as soon as one activation is NaN.

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

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the flat share per layer."""
        flat = FLAT_REGIONS[seen.activation]
        return {role: _share(flat(seen.preactivations[role], a), a) for role, a in seen.activations.items()}


class DeadFraction(Diagnostic):
    """How many units of a layer say the same for every image of the probe batch.

    relu: the largest output over images and positions is 0. The others: the variance over images and positions
    is below 1e-6.

    Unit:
        Share of units, 0 to 1. A convolution's unit is a channel. NaN as soon as one activation is NaN.

    Cost:
        One forward pass on the probe batch, shared with the other diagnostics.

    Blind spots:
        A unit that wakes for one image in a thousand looks dead to a probe batch of 256: raise
        ``diagnostics.probe_size`` to 1,000 or more before counting on a small number. Under a batch norm a unit can
        be alive in training mode, which is measured here, and dead in eval mode.
        A layer whose norm brings its own nonlinearity (norm=frn) is left out.

    Source:
        The usual definition for relu; Ours for bounded activations.
    """

    name = "dead_fraction"
    unit = "share of units"
    vectorizable = True

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the share of dead units per layer."""
        return {role: _share(_dead(a, seen.activation), a) for role, a in seen.activations.items()}


def _dead(a_NUS: Tensor, activation: str) -> Tensor:
    a_UM = a_NUS.transpose(0, 1).flatten(1)
    if activation == "relu":
        return a_UM.amax(1) <= 0
    return a_UM.float().var(1, correction=0) < SAME_OUTPUT_VARIANCE


def _share(flags: Tensor, a_NUS: Tensor) -> Tensor:
    # A comparison with NaN is false: without this a network full of NaN would look healthy.
    share = flags.float().mean()
    return torch.where(a_NUS.isnan().any(), torch.nan, share)
