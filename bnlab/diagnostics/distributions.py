"""How the values of a layer are distributed, over time: means, variances, quantiles.

Memory is bounded: of each unit at most 4,096 values are looked at, of each layer's quantiles at most 16,384, by fixed
strides, so that nothing is drawn and each step looks at the same places.

Shape letters: N batch, U units (channels, for a convolution), S any number of spatial axes, M values per unit, V of a
layer.
"""

import torch
from torch import Tensor

from bnlab.diagnostics.diagnostic import Diagnostic, Observation
from bnlab.diagnostics.passes import Named
from bnlab.diagnostics.sorting import sorted_rows

MOST_PER_UNIT = 4096
"""Values of a unit that are looked at: those of 1,000 images, all; of a convolution's positions, every so many."""

MOST_PER_LAYER = 16384
"""Values of a layer that are sorted for its quantiles. A quantile of so many is sure to 0.4% of rank."""

PERCENTS = (2, 15, 50, 85, 98)
"""15, 50 and 85 are those of Ioffe & Szegedy's figure 1; 2 and 98 mark the tails, as Glorot & Bengio do."""


def bounded(x_NUS: Tensor, most: int = MOST_PER_UNIT) -> Tensor:
    """Return values by unit, (U, M), at most so many of each, by a fixed stride over images and positions.

    Args:
        x_NUS: What a layer sees or gives.
        most: M at most.

    Example:
        >>> bounded(torch.arange(6.0).view(3, 2)).tolist()
        [[0.0, 2.0, 4.0], [1.0, 3.0, 5.0]]
        >>> bounded(torch.arange(6.0).view(3, 2), most=2).tolist()
        [[0.0, 4.0], [1.0, 5.0]]
    """
    x_NSU = x_NUS.reshape(*x_NUS.shape[:2], -1).transpose(1, 2)
    num_images, num_positions, num_units = x_NSU.shape
    num_values = num_images * num_positions
    stride = -(-num_values // most)
    if stride == 1:
        return x_NSU.reshape(num_values, num_units).T
    # gathered, not sliced: to lay all values out by unit would copy a whole convolution's output
    places = torch.arange(0, num_values, stride, device=x_NUS.device)
    return x_NSU[places // num_positions, places % num_positions].T


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
        x_UM: Sorted along its last axis.
        percents: Which.

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
    # sorting puts NaN last, where quantiles would not see it
    return torch.where(x_UM[:, -1].isnan(), torch.nan, torch.stack(quantiles))


def _layer_quantiles(x_NUS: Tensor) -> Tensor:
    x_V = bounded(x_NUS).flatten()
    x_V = sorted_rows(_wide(x_V[:: -(-len(x_V) // MOST_PER_LAYER)]))
    return quantiles_of_sorted(x_V[None], PERCENTS)[:, 0]


def _facets(values: Named) -> dict[str, Tensor]:
    return {
        f"{role}/q{percent:02}": quantile
        for role, x in values.items()
        for percent, quantile in zip(PERCENTS, _layer_quantiles(x), strict=True)
    }


class ActivationMean(Diagnostic):
    """The mean of what a layer gives, over images, units and positions.

        mean_l = mean of a over N, U and S

    Unit:
        Units of the activation.

    Reading:
        Steady is healthy. A mean that runs away from the middle of a bounded activation leads to saturation.

    Cost:
        Reads what the others read.

    Blind spots:
        Units that move apart leave it where it is: see `preactivation_drift`.

    Source:
        Glorot & Bengio 2010, figure 2.
    """

    name = "activation_mean"
    unit = "units of the activation"
    vectorizable = True

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the mean per layer."""
        return {role: a.float().mean() for role, a in seen.activations.items()}


class ActivationVariance(Diagnostic):
    """The variance of what a layer gives, over images, units and positions.

        var_l = mean of (a - mean_l)^2 over N, U and S

    Unit:
        Squared units of the activation.

    Reading:
        Alike from layer to layer is healthy: a signal that shrinks or grows with depth vanishes or explodes.

    Cost:
        Reads what the others read.

    Blind spots:
        Says nothing of how much differs between images: a layer that gives each image the same, unit by unit, can
        have any variance. See `mean_cosine`.

    Source:
        Glorot & Bengio 2010, figures 2 and 3 (its square root).
    """

    name = "activation_variance"
    unit = "squared units of the activation"
    vectorizable = True

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the variance per layer."""
        return {role: a.float().var(correction=0) for role, a in seen.activations.items()}


class ActivationQuantiles(Diagnostic):
    """The 2nd, 15th, 50th, 85th and 98th percentile of what a layer gives.

    Over images, units and positions together, by linear interpolation; of at most 16,384 values.

    Unit:
        Units of the activation.

    Reading:
        A fan over time. Outer percentiles at an activation's bounds: it is saturated. A fan that closes: units say
        the same for every image.

    Cost:
        Sorts 16,384 values per layer.

    Blind spots:
        Units are thrown together: a fan can be wide though each unit is constant.

    Source:
        Glorot & Bengio 2010, figure 3 (98th percentile).
    """

    name = "activation_quantiles"
    unit = "units of the activation"
    vectorizable = True

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return five quantiles per layer."""
        return _facets(dict(seen.activations))


class PreactivationQuantiles(Diagnostic):
    """The 2nd, 15th, 50th, 85th and 98th percentile of what an activation sees.

    Over images, units and positions together, by linear interpolation; of at most 16,384 values. Behind the norm,
    where one stands before the activation.

    Unit:
        Units of the pre-activation.

    Reading:
        A fan over time. It stays where it is under a batch norm with a steady scale; without one it drifts and widens
        as the layers before it learn.

    Cost:
        Sorts 16,384 values per layer.

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
        return _facets(dict(seen.preactivations))
