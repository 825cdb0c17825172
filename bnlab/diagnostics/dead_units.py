"""Units that say the same for every image, in training and in eval mode.

Shape letters: N batch, U units (channels, for a convolution), S any number of spatial axes, M = N times positions.
"""

from typing import ClassVar

from torch import Tensor

from bnlab.diagnostics.diagnostic import Diagnostic, Observation, Ranges
from bnlab.diagnostics.saturation import share

SAME_OUTPUT_VARIANCE = 1e-6
"""A bounded unit whose variance over the probe batch is below this gives the same output for every image."""


def _dead(a_NUS: Tensor, activation: str) -> Tensor:
    a_UM = a_NUS.transpose(0, 1).flatten(1)
    if activation == "relu":
        return a_UM.amax(1) <= 0
    return a_UM.float().var(1, correction=0) < SAME_OUTPUT_VARIANCE


class DeadFraction(Diagnostic):
    """How many units of a layer say the same for every image of the probe batch, in training mode.

    relu: the largest output over images and positions is 0. The others: the variance over images and positions
    is below 1e-6.

    Unit:
        Share of units, 0 to 1. A convolution's unit is a channel. NaN as soon as one activation is NaN.

    Reading:
        0 is healthy. A dead relu gets no gradient, and comes back only if the layers before it move its input.

    Cost:
        One forward pass on the probe batch, shared with the other diagnostics.

    Blind spots:
        A unit that wakes for one image in a thousand looks dead to a probe batch of 256: raise
        ``diagnostics.probe_size`` to 1,000 or more before counting on a small number. Under a batch norm a unit can
        be alive in training mode, which is measured here, and dead in eval mode: see `dead_fraction_eval`.
        A layer whose norm brings its own nonlinearity (norm=frn) is left out.

    Source:
        The usual definition for relu; Ours for bounded activations.
    """

    name = "dead_fraction"
    unit = "share of units"
    vectorizable = True
    healthy: ClassVar[Ranges] = {"any": (0.0, 0.2)}
    too_high = "of the units say the same for every image: they no longer learn"

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the share of dead units per layer."""
        return {role: share(_dead(a, seen.activation), a) for role, a in seen.activations.items()}


class DeadFractionEval(Diagnostic):
    """How many units of a layer say the same for every image of the probe batch, in eval mode.

    As `dead_fraction`, in the mode in which the network is used.

    Unit:
        Share of units, 0 to 1. A convolution's unit is a channel. NaN as soon as one activation is NaN.

    Reading:
        Beside `dead_fraction`: a larger number here points at running statistics that do not fit the weights.

    Cost:
        One forward pass in eval mode on the probe batch, shared with the other diagnostics.

    Blind spots:
        At step 0 running statistics know nothing of the data. For small probe batches see `dead_fraction`.

    Source:
        As `dead_fraction`.
    """

    name = "dead_fraction_eval"
    unit = "share of units"
    needs = frozenset({"eval_mode"})
    vectorizable = True
    healthy: ClassVar[Ranges] = {"any": (0.0, 0.2)}
    too_high = "of the units say the same for every image in eval mode"

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the share of dead units per layer."""
        return {role: share(_dead(a, seen.activation), a) for role, a in seen.eval_activations.items()}
