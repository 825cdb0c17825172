"""A mean, or a share, over a few seeds, with its interval.

The unit of replication is the seed. Never hand in steps, learning rates or test images as if they were replicates.
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from bnlab.errors import StudyError

Scale = Literal["plain", "log"]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

LEVEL = 0.95
"""How often an interval should hold the truth."""

ANYWHERE = (-math.inf, math.inf)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its interval.

    Attributes:
        value: The mean or the share.
        low: Lower end of its interval; None where there is none, as with one seed.
        high: Upper end of its interval; None where there is none.
        n: How many seeds (or, for a share, runs) it is computed from.
    """

    value: float
    low: float | None
    high: float | None
    n: int


def mean_over_seeds(
    values: Sequence[float], scale: Scale = "plain", level: float = LEVEL, within: tuple[float, float] = ANYWHERE
) -> Estimate:
    """Return the mean over seeds with its interval.

        plain   m = mean of x                 m -+ t(n - 1) * s / sqrt(n)
        log     the same of log x, and then exp of all three: a geometric mean, for ratios and learning rates

    The interval is Student's: 95% for normal values at any number of seeds, less for skewed ones. BCa, which is
    often recommended from 15 seeds on, holds the mean of normal values less often, and that of skewed ones only
    from 15 on more often (docs/verdicts.md). Verdicts are reached by `interval_of_means`, which holds both.

    One seed has no interval. Seeds that all agree have one of no width: that is what they say, and it does not mean
    that the next seed must agree, least of all where values lie on a grid.

    Args:
        values: One per seed; finite, and above 0 on the log scale.
        scale: Where the mean is taken, and where the interval is symmetric.
        level: How often the interval should hold the true mean, in (0, 1).
        within: Where the true mean must lie, such as (0, 1) for an accuracy; the interval ends there at the latest.

    Raises:
        StudyError: There are no values, or some cannot be averaged.

    Source:
        Student 1908, "The probable error of a mean".

    Example:
        >>> estimate = mean_over_seeds([1.0, 2.0, 3.0])
        >>> estimate.value, round(estimate.low, 3), round(estimate.high, 3)
        (2.0, -0.484, 4.484)
        >>> round(mean_over_seeds([1.0, 100.0], scale="log").value, 9)
        10.0
        >>> mean_over_seeds([0.93])
        Estimate(value=0.93, low=None, high=None, n=1)
    """
    x_S = _checked(values, scale)
    if scale == "log":
        ends = (math.log10(within[0]) if within[0] > 0 else -math.inf, math.log10(within[1]))
        inner = mean_over_seeds([math.log10(x) for x in values], "plain", level, ends)
        low = None if inner.low is None else 10.0**inner.low
        # two seeds far apart can say nothing of the upper end, not even in the range of floats
        high = None if inner.high is None or inner.high > sys.float_info.max_10_exp else 10.0**inner.high
        return Estimate(10.0**inner.value, low, high, inner.n)
    return _mean(x_S, level, within)


def share_of(num_hits: int, num_all: int, level: float = LEVEL) -> Estimate:
    """Return a share with Wilson's interval, which stays within 0 and 1 and has a width even at 0 of n.

    For shares of runs that failed or diverged: there, mean and t would give 0 -+ 0 for 0 of 5.

    Args:
        num_hits: How many runs failed or diverged, from 0 to ``num_all``.
        num_all: How many runs there are in all; at least 1.
        level: How often the interval should hold the true share, in (0, 1).

    Raises:
        StudyError: The counts are impossible.

    Source:
        Wilson 1927, "Probable inference, the law of succession, and statistical inference"; by scipy.stats.binomtest.

    Example:
        >>> estimate = share_of(0, 5)
        >>> estimate.value, estimate.low, round(estimate.high, 3)
        (0.0, 0.0, 0.434)
    """
    if not 0 <= num_hits <= num_all or num_all == 0:
        raise StudyError(f"a share needs 0 to n hits out of n >= 1, got {num_hits} of {num_all}")
    from scipy import stats  # noqa: PLC0415  (it takes half a second, and few tables need it)

    interval = stats.binomtest(num_hits, num_all).proportion_ci(confidence_level=level, method="wilson")
    return Estimate(num_hits / num_all, float(interval.low), float(interval.high), num_all)


def _checked(values: Sequence[float], scale: Scale) -> FloatArray:
    """Return values that can be averaged.

    Raises:
        StudyError: There are none, or some cannot.
    """
    x_S = np.asarray(values, dtype=np.float64)
    if x_S.size == 0:
        raise StudyError("a mean needs at least 1 value, got none")
    if not np.isfinite(x_S).all():
        wrong = float(x_S[~np.isfinite(x_S)][0])
        raise StudyError(f"a mean needs finite values, got {wrong}. The outcome of a diverged run is its start.")
    if scale == "log" and (x_S <= 0).any():
        raise StudyError(f"a mean on the log scale needs values above 0, got {float(x_S[x_S <= 0][0])}")
    return x_S


def _mean(x_S: FloatArray, level: float, within: tuple[float, float]) -> Estimate:
    if x_S.size == 1:
        return Estimate(float(x_S[0]), None, None, 1)
    if (x_S == x_S[0]).all():  # exactly: the mean of equal values may be off by a rounding
        return Estimate(float(x_S[0]), float(x_S[0]), float(x_S[0]), x_S.size)
    # Around 0 and of size 1, since squares of 1e-200 or 1e200 are 0 and infinity; a power of 2 rounds nothing.
    exponent = int(np.frexp(np.abs(x_S).max())[1])
    scaled_S = np.ldexp(x_S, -exponent)
    center = float(scaled_S.mean())
    spread = float(np.abs(scaled_S - center).max())
    low, high = _student((scaled_S - center) / spread, level)
    value, low, high = (float(np.ldexp(center + spread * z, exponent)) for z in (0.0, low, high))
    return Estimate(value, max(low, within[0]), min(high, within[1]), x_S.size)


def _student(z_S: FloatArray, level: float) -> tuple[float, float]:
    error = z_S.std(ddof=1) / np.sqrt(z_S.size)
    mean, half = float(z_S.mean()), float(stdtrit(z_S.size - 1, (1 + level) / 2) * error)
    return mean - half, mean + half
