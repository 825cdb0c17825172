"""The interval of a mean by which verdicts are reached. It holds for skewed values too.

Shape letters: R studies, simulated or one alone; S seeds.

Why not Student's interval alone. It is exact for normal differences, too wide for heavy tails, and too short where
the differences are skewed, as they are when one arm now and then fails to train: of exponential differences its worse
end misses the mean in 8 to 11% of the cases at 3 to 20 seeds, where 2.5% are promised. BCa misses it more often still
below 12. docs/verdicts.md has the figures, by scripts/simulate_verdicts.py.
"""

from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit

from bnlab.stats.estimate import ANYWHERE, LEVEL, Estimate, FloatArray

FEW = 9
"""Below this number of seeds the skewness of a sample says too little, and each end is allowed less.

From 9 on, no end misses the mean of exponential values in more than 5% of the cases; with 8 it would be 5.05% (500,000
samples), with 3 7.2%. Exponential, with a skewness of 2, is as skewed as we promise to hold."""

SHARE_OF_ERROR_IF_FEW = 0.4
"""Share of the error that each end is allowed below `FEW` seeds: 1% for 2.5%. Each end then misses the mean of
exponential values in at most 4.4% of the cases."""

LEAST_SEEDS = 3
"""Seeds without which there is no skewness, and so no interval that promises anything."""


def interval_of_means(
    x_RS: FloatArray, level: float = LEVEL, level_of: int | None = None
) -> tuple[FloatArray, FloatArray]:
    """Return (R,), (R,): the ends of the interval of the mean of each row.

    The hull of two intervals, with the error (1 - level) / 2 at each end, or 0.4 of that below 9 seeds:

        Student     m -+ t * s / sqrt(n)
        Hall        m - s * g(t / sqrt(n)),  m - s * g(-t / sqrt(n))
                    g(u) = 3 / k * ((1 + k * (u - k / (6 n)))^(1/3) - 1),  k the skewness

    Hall's moves and stretches towards the long tail; with k = 0 it is Student's.

    Args:
        x_RS: One row of S values per study, S at least 3; finite.
        level: How often the interval should hold the mean, in (0, 1).
        level_of: The number of seeds by which the error at each end is chosen; None: S.

    Blind spots:
        A tail of which no seed has been seen leaves no trace. Where one run in ten ends far below the others, one end
        misses in a quarter of the studies with 5 to 10 seeds. No method that looks at these values alone can know.

    Source:
        Student 1908. Hall 1992, "On the removal of skewness by transformation", Journal of the Royal Statistical
        Society, series B, with Student's quantile in place of the normal one. The hull and its levels: ours.

    Example:
        >>> low, high = interval_of_means(np.array([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]]))
        >>> low.round(3).tolist(), high.round(3).tolist()
        ([2.895], [7.105])
    """
    n = x_RS.shape[1]
    # around 0 and of size 1, since cubes of 1e-200 or 1e200 are 0 and infinity; a power of 2 rounds nothing
    exponent_R = np.frexp(np.abs(x_RS).max(1))[1]
    scaled_RS = np.ldexp(x_RS, -exponent_R[:, None])
    is_flat_R = (x_RS == x_RS[:, :1]).all(1)
    center_R = np.where(is_flat_R, scaled_RS[:, 0], scaled_RS.mean(1))  # the mean of equal values may be a rounding off
    size_R = np.where(is_flat_R, 1.0, np.abs(scaled_RS - center_R[:, None]).max(1))
    d_RS = (scaled_RS - center_R[:, None]) / size_R[:, None]
    s_R = d_RS.std(1, ddof=1)
    t = stdtrit(n - 1, 1 - _error_at_an_end(n if level_of is None else level_of, level))
    k_R = _skewness(d_RS, s_R)
    half_R = s_R * t / np.sqrt(n)
    low_R = np.minimum(-half_R, -s_R * _hall(t / np.sqrt(n), k_R, n))
    high_R = np.maximum(half_R, -s_R * _hall(-t / np.sqrt(n), k_R, n))
    low_R, high_R = (np.ldexp(center_R + size_R * end_R, exponent_R) for end_R in (low_R, high_R))
    return low_R, high_R


def mean_of_differences(
    differences: Sequence[float], level: float = LEVEL, within: tuple[float, float] = ANYWHERE
) -> Estimate:
    """Return the mean of differences, one per seed, with the interval by which verdicts are reached.

    Args:
        differences: One per seed, at least 1; finite.
        level: How often the interval should hold the mean, in (0, 1).
        within: Where the true mean must lie; the interval ends there at the latest, which costs no coverage.

    Returns:
        Below 3 seeds there is no interval.

    Example:
        >>> mean_of_differences([0.01, 0.03]).low is None
        True
        >>> mean_of_differences([-1.0, 0.5, 1.0], within=(-1.0, 1.0)).high
        1.0
    """
    x_S = np.asarray(differences, dtype=np.float64)
    mean, n = float(x_S[0] if (x_S == x_S[0]).all() else x_S.mean()), x_S.size
    if n < LEAST_SEEDS:
        return Estimate(mean, None, None, n)
    low_R, high_R = interval_of_means(x_S[None], level)
    return Estimate(mean, max(float(low_R[0]), within[0]), min(float(high_R[0]), within[1]), n)


def level_for(n: int, level: float = LEVEL) -> float:
    """Return the level at which both parts of the interval are taken: that asked for, or more below 9 seeds.

    Example:
        >>> level_for(9), round(level_for(5), 6)
        (0.95, 0.98)
    """
    return level if n >= FEW else 1 - 2 * _error_at_an_end(n, level)


def _error_at_an_end(n: int, level: float) -> float:
    return (1 - level) / 2 * (SHARE_OF_ERROR_IF_FEW if n < FEW else 1.0)


def _skewness(d_RS: FloatArray, s_R: FloatArray) -> FloatArray:
    """Return (R,): the sample skewness with the usual correction of its bias, Fisher and Pearson's G1."""
    n = d_RS.shape[1]
    spread_R = np.where(s_R > 0, s_R, 1.0) * np.sqrt((n - 1) / n)
    g_R = (d_RS * d_RS * d_RS).mean(1) / spread_R**3  # d_RS**3 takes twenty times as long
    return np.asarray(g_R * np.sqrt(n * (n - 1)) / (n - 2))


def _hall(u: float, k_R: FloatArray, n: int) -> FloatArray:
    """Return (R,): the inverse of Hall's transformation, 3 / k * ((1 + k * v)^(1/3) - 1) with v = u - k / (6 n)."""
    v_R = u - k_R / (6 * n)
    safe_R = np.where(np.abs(k_R) < _ALMOST_SYMMETRIC, 1.0, k_R)
    return np.where(np.abs(k_R) < _ALMOST_SYMMETRIC, v_R, 3 / safe_R * (np.cbrt(1 + safe_R * v_R) - 1))


_ALMOST_SYMMETRIC = 1e-6
"""Skewness below which the difference of the cube root from 1 is lost in rounding, and its limit is taken: the error
of the limit is k * v^2 / 3."""
