"""The median over seeds with an interval that holds for every distribution."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import bdtr

from bnlab.stats.estimate import LEVEL


def interval_of_median(values: Sequence[float], level: float = LEVEL) -> tuple[float, float | None, float | None]:
    """Return the median and the ends of its interval, two of the sorted values; None for ends that no two can be.

        from the k-th least to the k-th greatest value, with the greatest k for which
        2 * P(Binomial(n, 1/2) <= k - 1) <= 1 - level

    Even the least and the greatest of n values hold the median in 1 - 2^(1 - n) of the cases only: 94% with 5 seeds,
    75% with 3. Where that is less than the level there is no interval.

    Args:
        values: One per seed, at least 1; finite.
        level: How often the interval should hold the median, in (0, 1).

    Source:
        Thompson 1936, Annals of Mathematical Statistics. It is the sign test, turned round.

    Example:
        >>> interval_of_median([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 70.0])
        (4.0, 1.0, 70.0)
        >>> interval_of_median([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 90.0])
        (5.0, 2.0, 8.0)
    """
    x_S = np.sort(np.asarray(values, dtype=np.float64))
    n = x_S.size
    rank = 0
    while 2 * float(bdtr(rank, n, 0.5)) <= 1 - level:
        rank += 1
    if rank == 0:
        return float(np.median(x_S)), None, None
    return float(np.median(x_S)), float(x_S[rank - 1]), float(x_S[n - rank])


def least_seeds_for_median(level: float = LEVEL) -> int:
    """Return the number of seeds from which on a median has an interval of a level.

    Example:
        >>> least_seeds_for_median(0.95), least_seeds_for_median(1 - 0.04 / 3)
        (6, 8)
    """
    return math.ceil(1 - math.log2(1 - level))
