"""The distribution of a layer's values over time: means, variances, quantiles.

Means and variances use all values. Quantiles use at most 4,096 values per unit, with a fixed stride, so that memory is
bounded, there are no random draws, and each step uses the same places: all values of 1,000 images in a perceptron,
a part of a convolution's positions.

Shape letters: N batch, U units (channels, for a convolution), S any number of spatial axes, M values per unit.
"""

import torch
from torch import Tensor

from bnlab.diagnostics.by_unit import bounded, means_by_unit, sums, zero_or_nan
from bnlab.diagnostics.diagnostic import Observation, OfActivations
from bnlab.diagnostics.passes import Named
from bnlab.diagnostics.sorting import sorted_rows

PERCENTS = (2, 15, 50, 85, 98)
"""15, 50 and 85 are those of Ioffe & Szegedy's figure 1; 2 and 98 mark the tails, as Glorot & Bengio do."""


def sorted_preactivations(seen: Observation) -> Named:
    """Return the pre-activations of each layer, sorted by unit, (U, M), sorted once for all diagnostics of a step."""
    return seen.derived(
        "sorted pre-activations",
        lambda seen: {role: sorted_rows(_wide(bounded(z))) for role, z in seen.preactivations.items()},
    )


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def quantiles_of_sorted(x_UM: Tensor, percents: tuple[int, ...]) -> Tensor:
    """Return quantiles by linear interpolation, (percents, U).

    Args:
        x_UM: Values of each unit, sorted along the last axis.
        percents: The quantiles to return, in percent, 0 to 100.

    Example:
        >>> quantiles_of_sorted(torch.tensor([[0.0, 1.0, 4.0]]), (25, 50)).tolist()
        [[0.5], [1.0]]
    """
    last = x_UM.shape[1] - 1
    quantiles = []
    for percent in percents:
        place = percent * last / 100
        below = min(int(place), max(last - 1, 0))
        low, high = x_UM[:, below], x_UM[:, min(below + 1, last)]
        quantiles.append(low + (place - below) * (high - low))
    # sorting puts NaN and infinities at the ends, where quantiles would not see them
    return torch.stack(quantiles) + 0 * (x_UM[:, 0] + x_UM[:, last])


def unit_moments(a_NUS: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and the variance of each unit over images and positions, (U,) each.

    Computed from distances to the unit's first value, so that a unit that hardly varies keeps all its digits.

    Args:
        a_NUS: Outputs of a layer, (N, U, *S).
    """
    first_U = a_NUS[0].flatten(1)[:, 0] if a_NUS.dim() > 2 else a_NUS[0]
    origin_U1 = first_U.view(-1, *(1 for _ in a_NUS.shape[2:]))

    def distances(part: Tensor) -> tuple[Tensor, Tensor]:
        distance = part - origin_U1
        return distance, distance.square()

    mean_U, square_U = means_by_unit(distances, a_NUS)
    return first_U + mean_U, square_U - mean_U.square()


def moments_by_unit(seen: Observation) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the mean and the variance of each layer's units, computed once for all diagnostics of a step."""
    return seen.derived("moments by unit", lambda seen: {role: unit_moments(a) for role, a in seen.activations.items()})


def _facets(x_NUS: Tensor, role: str, odd: Tensor) -> dict[str, Tensor]:
    quantiles = quantiles_of_sorted(sorted_rows(_wide(bounded(x_NUS)).T.flatten())[None], PERCENTS)[:, 0] + odd
    return {f"{role}/q{percent:02}": q for percent, q in zip(PERCENTS, quantiles, strict=True)}


class ActivationMean(OfActivations):
    """The mean of a layer's outputs, over images, units and positions.

        mean_l = mean of a over N, U and S

    Unit:
        Units of the activation.

    Reading:
        A steady mean is healthy. If it moves away from the middle of a bounded activation (sigmoid, tanh), the layer
        saturates.

    Cost:
        None of its own: it reads the shared pass.

    Blind spots:
        Units that move in opposite directions do not change it: see `preactivation_drift`.

    Source:
        Glorot & Bengio 2010, figure 2.
    """

    name = "activation_mean"
    unit = "units of the activation"
    vectorizable = True

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the mean per layer."""
        return {role: total / seen.activations[role].numel() for role, total in sums(seen).items()}


class ActivationVariance(OfActivations):
    """The variance of a layer's outputs, over images, units and positions.

        var_l = mean of (a - mean_l)^2 over N, U and S

    Unit:
        Squared units of the activation.

    Reading:
        About equal in all layers is healthy. If it shrinks or grows with depth, the signal vanishes or explodes.

    Cost:
        None of its own: it reads the shared pass.

    Blind spots:
        It does not tell differences between images from differences between units: a layer with the same output for
        every image can have any variance. See `mean_cosine`.

    Source:
        Glorot & Bengio 2010, figures 2 and 3 (its square root).
    """

    name = "activation_variance"
    unit = "squared units of the activation"
    vectorizable = True

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the variance per layer."""
        moments = moments_by_unit(seen)
        return {role: var_U.mean() + mean_U.var(correction=0) for role, (mean_U, var_U) in moments.items()}


class ActivationQuantiles(OfActivations):
    """The 2nd, 15th, 50th, 85th and 98th percentile of a layer's outputs.

    Over images, units and positions together, by linear interpolation; of at most 4,096 values per unit.

    Unit:
        Units of the activation.

    Reading:
        Over time the percentiles look like a fan. Outer percentiles at the bounds of an activation: it is saturated. A
        fan that closes: units give the same output for every image.

    Cost:
        Sorts the values of each layer: 0.3 ms for 100 units and 1,000 images.

    Blind spots:
        All units are taken together: a fan can be wide though each unit is constant.

    Source:
        Glorot & Bengio 2010, figure 3 (98th percentile).
    """

    name = "activation_quantiles"
    unit = "units of the activation"
    vectorizable = True

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return five quantiles per layer."""
        odd = zero_or_nan(seen)
        return {
            name: value for role, a in seen.activations.items() for name, value in _facets(a, role, odd[role]).items()
        }


class PreactivationQuantiles(OfActivations):
    """The 2nd, 15th, 50th, 85th and 98th percentile of an activation's inputs.

    Over images, units and positions together, by linear interpolation; of at most 4,096 values per unit. If a
    norm stands before the activation, these are the norm's outputs.

    Unit:
        Units of the pre-activation.

    Reading:
        Over time the percentiles look like a fan. Behind a batch norm with a steady scale it stays in place; without a
        norm it drifts and widens while the layers before it learn.

    Cost:
        Sorts the values of each layer: 0.3 ms for 100 units and 1,000 images.

    Blind spots:
        Ioffe & Szegedy show one typical unit, this all of them: single units can move while the fan stays. See
        `preactivation_drift`.

    Source:
        Ioffe & Szegedy 2015, arXiv:1502.03167, figure 1 (b, c): 15th, 50th and 85th percentile.
    """

    name = "preactivation_quantiles"
    unit = "units of the pre-activation"
    vectorizable = True

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return five quantiles per layer."""
        return {
            name: value
            for role, z in seen.preactivations.items()
            for name, value in _facets(z, role, 0 * z.sum()).items()
        }
