"""How far a norm's running statistics are from those of the training images, which they should stand for.

Shape letters: C channels.
"""

from typing import ClassVar

from torch import Tensor

from bnlab.diagnostics.diagnostic import Diagnostic, Observation, Ranges
from bnlab.diagnostics.passes import Named
from bnlab.diagnostics.population_statistics import VARIANCE_FLOOR, Population, population
from bnlab.norms.moments import widened


class RunningMeanDistance(Diagnostic):
    """How far each norm's running mean is from the population's.

        distance = mean over C of |running_mean_c - mean_c| / sqrt(var_c + 1e-5)

    Unit:
        Standard deviations of the population.

    Reading:
        0: it stands for the population. At step t a share momentum^t of it still is the start, mean 0 and variance 1:
        a distance that falls like that only needs more steps or a smaller momentum. One that stays while the loss has
        settled points at noise, one that follows the learning rate at an average that trails the weights.

    Cost:
        A pass over the training batches, shared with `accuracy_by_statistics`.

    Blind spots:
        The population's mean is an estimate from ``population_size`` images: do not read below 1/sqrt of their number.
        A channel that hardly varies (a dead one before this layer) counts like the others, in its own small units.

    Source:
        Ours; precise statistics: Wu & Johnson 2021, arXiv:2105.07576.
    """

    name = "running_mean_distance"
    unit = "standard deviations"
    cost = "heavy"
    vectorizable = True
    healthy: ClassVar[Ranges] = {"any": (0.0, 0.5)}
    too_high = "standard deviations lie between its running mean and the population's"

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the distance per norm that keeps a mean."""
        found = {}
        for role, pool, own in _compared(seen):
            if "running_mean" in own:
                deviation_C = (widened(pool.moments["running_var"]) + VARIANCE_FLOOR).sqrt()
                apart_C = widened(own["running_mean"]) - widened(pool.statistics["running_mean"])
                found[role] = (apart_C.abs() / deviation_C).mean()
        return found


class RunningVarianceDistance(Diagnostic):
    """How far each norm's running variance is from the population's.

        distance = mean over C of |log((running_var_c + 1e-5) / (var_c + 1e-5))|

    Where a norm keeps a deviation instead (l1_batch), of its square; the population's is then the batches' average.

    Unit:
        Natural logarithm of a factor: 0.69 is a factor of two.

    Reading:
        As `running_mean_distance`. The average of biased variances of n values is (n - 1)/n of the population's: log 2
        away at two values per channel.

    Cost:
        A pass over the training batches, shared with `accuracy_by_statistics`.

    Blind spots:
        Too large and too small look alike.

    Source:
        Ours; precise statistics: Wu & Johnson 2021, arXiv:2105.07576.
    """

    name = "running_variance_distance"
    unit = "log factor"
    cost = "heavy"
    vectorizable = True
    healthy: ClassVar[Ranges] = {"any": (0.0, 0.5)}
    too_high = "in natural logarithms lie between its running variance and the population's"

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
