"""Units that give the same output for every image, in training and in eval mode, and units that are nearly always flat.

Shape letters: N batch, U units (channels, for a convolution), S any number of spatial axes.
"""

from typing import ClassVar

from torch import Tensor

from bnlab.diagnostics.by_unit import zero_or_nan
from bnlab.diagnostics.diagnostic import Observation, OfActivations, Ranges
from bnlab.diagnostics.distributions import moments_by_unit, unit_moments
from bnlab.diagnostics.flatness import flat_by_unit

SAME_OUTPUT_VARIANCE = 1e-6
"""A bounded unit whose variance over the probe batch is below this gives the same output for every image."""

SATURATED_SHARE = 0.95
"""A unit is saturated if more than this share of its outputs is flat."""


def _is_never_active(a_NUS: Tensor) -> Tensor:
    return a_NUS.amax([axis for axis in range(a_NUS.dim()) if axis != 1]) <= 0


def _share(of_units: Tensor, odd: Tensor) -> Tensor:
    return of_units.to(odd.dtype).mean() + odd


class DeadFraction(OfActivations):
    """The share of units that give the same output for every image of the probe batch, in training mode.

    For relu: the largest output over images and positions is 0. For other activations: the variance over images and
    positions is below 1e-6.

    Unit:
        Share of units, 0 to 1. A convolution's unit is a channel. NaN as soon as one activation is NaN or infinite.

    Reading:
        0 is healthy. A dead relu gets no gradient, and becomes active again only if the layers before it change its
        input.

    Cost:
        One forward pass on the probe batch, shared with the other diagnostics.

    Blind spots:
        A unit that is active for one image in a thousand looks dead on a probe batch of 256: set
        ``diagnostics.probe_size`` to 1,000 or more before you rely on a small value. Under a batch norm a unit can
        be alive in training mode, which is measured here, and dead in eval mode: see `dead_fraction_eval`.
        A layer whose norm brings its own nonlinearity (norm=frn) is left out.

    Source:
        The usual definition for relu; Ours for bounded activations.
    """

    name = "dead_fraction"
    unit = "share of units"
    vectorizable = True
    healthy: ClassVar[Ranges] = {"any": (0.0, 0.2)}
    too_high = "of the units give the same output for every image: they tell none apart"

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the share of dead units per layer."""
        odd = zero_or_nan(seen)
        if seen.activation == "relu":
            return {role: _share(_is_never_active(a), odd[role]) for role, a in seen.activations.items()}
        moments = moments_by_unit(seen)
        return {role: _share(var_U < SAME_OUTPUT_VARIANCE, odd[role]) for role, (_, var_U) in moments.items()}


class DeadFractionEval(OfActivations):
    """The share of units that give the same output for every image of the probe batch, in eval mode.

    Defined as `dead_fraction`, in the mode in which a trained network is used.

    Unit:
        Share of units, 0 to 1. A convolution's unit is a channel. NaN as soon as one activation is NaN or infinite.

    Reading:
        Compare it with `dead_fraction`: if this value is larger, the running statistics do not fit the weights.

    Cost:
        One forward pass in eval mode on the probe batch, shared with the other diagnostics.

    Blind spots:
        At step 0 running statistics still have their initial values. For small probe batches see `dead_fraction`.

    Source:
        As `dead_fraction`.
    """

    name = "dead_fraction_eval"
    unit = "share of units"
    needs = frozenset({"eval_mode"})
    vectorizable = True
    healthy: ClassVar[Ranges] = {"any": (0.0, 0.2)}
    too_high = "of the units give the same output for every image in eval mode"

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the share of dead units per layer."""
        is_relu = seen.activation == "relu"
        return {
            role: _share(_is_never_active(a) if is_relu else unit_moments(a)[1] < SAME_OUTPUT_VARIANCE, 0 * a.sum())
            for role, a in seen.eval_activations.items()
        }


class SaturatedUnits(OfActivations):
    """The share of units that are flat for nearly every image.

        share of units that are flat for more than 95% of all (image, position)

    Unit:
        Share of units, 0 to 1. A convolution's unit is a channel. NaN as soon as one activation is NaN or infinite.

    Reading:
        0 is healthy. `saturation` can be high while this is 0: then each unit is flat for many images, and learns from
        the others.

    Cost:
        None of its own: it reads the shared pass.

    Blind spots:
        A saturated unit is not a dead one: it may give 0 for half of the images and 1 for the others.

    Source:
        Ours.
    """

    name = "saturated_units"
    unit = "share of units"
    vectorizable = True
    healthy: ClassVar[Ranges] = {"any": (0.0, 0.2)}
    too_high = "of the units are flat for nearly every image, and let hardly any gradient through"

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the share of saturated units per layer."""
        odd = zero_or_nan(seen)
        return {role: _share(flat_U > SATURATED_SHARE, odd[role]) for role, flat_U in flat_by_unit(seen).items()}
