"""A norm's own values over time: its scale gamma, its shift beta, and the noise of its batch statistics.

Shape letters: C channels, K batches, or parts of them.
"""

from typing import ClassVar

import torch
from torch import Tensor

from bnlab.diagnostics.diagnostic import Diagnostic, Observation, OfRunningStatistics, Ranges
from bnlab.diagnostics.distributions import quantiles_of_sorted
from bnlab.diagnostics.population_statistics import VARIANCE_FLOOR, population
from bnlab.norms.moments import widened

PERCENTS = (15, 50, 85)

NEAR_ZERO = 0.01
"""A scale below this in absolute value counts as near zero; scales start at 1."""


LEARNED_SCALE = "norms with a learned scale per channel"
"""Why a diagnostic is undefined in some networks: it needs this."""


def _vectors(seen: Observation, name: str) -> dict[str, Tensor]:
    """Return a parameter of each norm that has it, one value per channel, by role."""
    assert seen.passes is not None
    found = {role: seen.passes.tensors_of(norm).get(name) for role, norm in seen.norms.items()}
    return {role: widened(value.flatten()) for role, value in found.items() if value is not None}


def _summary(role: str, x_C: Tensor) -> dict[str, Tensor]:
    quantiles = quantiles_of_sorted(x_C.sort().values[None], PERCENTS)[:, 0]
    facets = {f"{role}/q{percent}": q for percent, q in zip(PERCENTS, quantiles, strict=True)}
    return {f"{role}/mean": x_C.mean(), **facets}


class NormScale(Diagnostic):
    """The size of each norm's learned scale: mean and quantiles of |gamma| over channels.

    Unit:
        Dimensionless; 1 at the start.

    Reading:
        It falls in layers that matter less, and with weight decay. A wide range between the quantiles: the norm favors
        some channels.

    Cost:
        Reads the norms' parameters.

    Blind spots:
        A relu passes a positive scale on: gamma can shrink while the next layer's weights grow, without any effect.

    Source:
        Ioffe & Szegedy 2015, arXiv:1502.03167 (gamma); the summary is Ours.
    """

    name = "norm_scale"
    unit = "gamma"
    vectorizable = True
    undefined = LEARNED_SCALE

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return mean and quantiles per norm."""
        found: dict[str, Tensor] = {}
        for role, gamma_C in _vectors(seen, "weight").items():
            found |= _summary(role, gamma_C.abs())
        return found


class NormShift(Diagnostic):
    """Each norm's learned shift: mean and quantiles of beta over channels.

    Unit:
        Units of the norm's output; 0 at the start.

    Reading:
        In front of a relu, a beta far below 0 makes a channel mostly 0; far above 0, nearly linear.

    Cost:
        Reads the norms' parameters.

    Blind spots:
        Its unit is that of the output, whose scale is gamma: read it with `norm_scale`.

    Source:
        Ioffe & Szegedy 2015, arXiv:1502.03167 (beta); the summary is Ours.
    """

    name = "norm_shift"
    unit = "beta"
    vectorizable = True
    undefined = "norms with a learned shift per channel"

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return mean and quantiles per norm."""
        found: dict[str, Tensor] = {}
        for role, beta_C in _vectors(seen, "bias").items():
            found |= _summary(role, beta_C)
        return found


class NearZeroChannels(Diagnostic):
    """The share of a norm's channels with a scale near zero.

        share of |gamma_c| < 0.01

    Unit:
        Share of channels, 0 to 1.

    Reading:
        Such channels give nearly a constant, and could be pruned.

    Cost:
        Reads the norms' parameters.

    Blind spots:
        The next layer's weights matter too: a small gamma with large weights is an ordinary channel.

    Source:
        Liu et al. 2017, arXiv:1708.06519, prune by gamma; the bound is Ours.
    """

    name = "near_zero_channels"
    unit = "share of channels"
    vectorizable = True
    healthy: ClassVar[Ranges] = {"any": (0.0, 0.5)}
    too_high = "of its channels have a scale near zero, and give nearly a constant"
    undefined = LEARNED_SCALE

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the share per norm."""
        return {
            role: torch.where(gamma_C.isnan().any(), torch.nan, (gamma_C.abs() < NEAR_ZERO).float().mean())
            for role, gamma_C in _vectors(seen, "weight").items()
        }


class BatchStatisticsNoise(OfRunningStatistics):
    """How much a norm's batch statistics differ from batch to batch.

        mean      mean over C of sd over K of mean_kc / sqrt(var_c + 1e-5),    var_c the population's
        variance  mean over C of sd over K of log(var_kc + 1e-5)

    over K batches of training images, as large as in training, at the present weights; if a norm cuts a batch (ghosts,
    devices), over the parts, each as large as the smallest.

    Unit:
        ``mean``: standard deviations of the population. ``variance``: log factor.

    Reading:
        It is the noise that BatchNorm adds to training. For n independent values per channel, ``mean`` is sqrt(1/n),
        and ``variance`` about sqrt(2/n) for normal ones. Larger values: values of one image are correlated, as in a
        convolution.

    Cost:
        A pass over the training batches, shared with `accuracy_by_statistics`.

    Blind spots:
        With K batches, the relative error of the estimate is about 1 / sqrt(2K). A norm with another measure of spread
        (l1_batch) is measured by mean and variance like the others.

    Source:
        Ours; the noise as regularizer: Luo et al. 2019, arXiv:1809.00846.
    """

    name = "batch_statistics_noise"
    unit = "standard deviations; log factor"
    cost = "heavy"
    vectorizable = True

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return both per norm that keeps running statistics."""
        if seen.passes is None or seen.probe is None:
            return {}
        found: dict[str, Tensor] = {}
        for role, pool in population(seen).items():
            mean_KC, var_KC = (widened(torch.cat(parts)) for parts in zip(*pool.parts, strict=True))
            if len(mean_KC) > 1:
                deviation_C = (widened(pool.moments["running_var"]) + VARIANCE_FLOOR).sqrt()
                found[f"{role}/mean"] = (mean_KC.std(0) / deviation_C).mean()
                found[f"{role}/variance"] = (var_KC + VARIANCE_FLOOR).log().std(0).mean()
        return found
