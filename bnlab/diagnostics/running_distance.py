"""The distance of a norm's running statistics from the population's, which they should estimate.

Shape letters: C channels.
"""

from typing import ClassVar

from torch import Tensor

from bnlab.diagnostics.diagnostic import Observation, OfRunningStatistics, Ranges
from bnlab.diagnostics.passes import Named
from bnlab.diagnostics.population_statistics import VARIANCE_FLOOR, Population, population
from bnlab.norms.moments import widened


class RunningMeanDistance(OfRunningStatistics):
    """The distance of each norm's running mean from the population's mean.

        distance = mean over C of |running_mean_c - mean_c| / sqrt(var_c + 1e-5)

    Unit:
        Standard deviations of the population.

    Reading:
        0: the running mean is right. At step t, a share momentum^t of it still is the start, mean 0 and variance 1: a
        distance that falls like momentum^t only needs more steps or a smaller momentum. If it stays while the loss is
        constant, batches are noisy; if it follows the learning rate, the average lags behind the weights.

    Cost:
        A pass over the training batches, shared with `accuracy_by_statistics`.

    Blind spots:
        The population's mean is an estimate from ``population_size`` images: values below 1/sqrt of their number are
        noise. A channel that hardly varies (behind a dead unit) counts like the others, relative to its own spread.

    Source:
        Ours; population statistics: Wu & Johnson 2021, arXiv:2105.07576.
    """

    name = "running_mean_distance"
    unit = "standard deviations"
    cost = "heavy"
    vectorizable = True
    healthy: ClassVar[Ranges] = {"any": (0.0, 0.5)}
    too_high = "standard deviations between the running mean and the population's"

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the distance per norm that keeps a mean."""
        found = {}
        for role, pool, own in _compared(seen):
            if "running_mean" in own:
                deviation_C = (widened(pool.moments["running_var"]) + VARIANCE_FLOOR).sqrt()
                apart_C = widened(own["running_mean"]) - widened(pool.statistics["running_mean"])
                found[role] = (apart_C.abs() / deviation_C).mean()
        return found


class RunningVarianceDistance(OfRunningStatistics):
    """The distance of each norm's running variance from the population's variance.

        distance = mean over C of |log((running_var_c + 1e-5) / (var_c + 1e-5))|

    For a norm that keeps a deviation instead (l1_batch), its square is compared; the population's is then the mean over
    batches.

    Unit:
        Natural logarithm of a factor: 0.69 is a factor of two.

    Reading:
        As `running_mean_distance`. The average of biased variances of n values is (n - 1)/n of the population's: log 2
        away at two values per channel.

    Cost:
        A pass over the training batches, shared with `accuracy_by_statistics`.

    Blind spots:
        Too large and too small a variance give the same value.

    Source:
        Ours; population statistics: Wu & Johnson 2021, arXiv:2105.07576.
    """

    name = "running_variance_distance"
    unit = "log factor"
    cost = "heavy"
    vectorizable = True
    healthy: ClassVar[Ranges] = {"any": (0.0, 0.5)}
    too_high = "in natural logarithm between the running variance and the population's"

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the distance per norm that keeps a variance or a deviation."""
        found = {}
        for role, pool, own in _compared(seen):
            for name, power in (("running_var", 1), ("running_deviation", 2)):
                if name in own and name in pool.statistics:
                    ours, theirs = (widened(x[name]) ** power + VARIANCE_FLOOR for x in (own, pool.statistics))
                    found[role] = (ours / theirs).log().abs().mean()
        return found


def _compared(seen: Observation) -> list[tuple[str, Population, Named]]:
    """Return role, the population's statistics and a norm's own buffers, for the norms that can be compared."""
    if seen.passes is None or seen.probe is None:
        return []
    return [(role, pool, seen.passes.tensors_of(seen.norms[role])) for role, pool in population(seen).items()]
