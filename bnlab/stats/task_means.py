"""One figure for several tasks: the interquartile mean over runs and tasks, its bootstrap interval, and a profile.

A task is a data set, a network, a batch size: whatever the same arms were tried on. Its runs are replicates of each
other, those of another task are not: the bootstrap draws seeds within each task, and the tasks stay as they are. What
it says is therefore about these tasks.

Shape letters: N all runs of all tasks, B draws, T thresholds.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bnlab.errors import StudyError
from bnlab.stats.estimate import LEVEL, FloatArray

NUM_DRAWS = 2000
"""Draws of a bootstrap: the ends of an interval then move by 2% of its width from one stream of draws to another."""

LEAST_SEEDS = 10
"""Seeds of each task below which no interval is given; see `mean_of_tasks` for what it would hold."""


@dataclass(frozen=True)
class TaskMean:
    """An interquartile mean over runs and tasks.

    Attributes:
        value: The mean.
        low: Lower end of its interval; None where a task has fewer than LEAST_SEEDS seeds.
        high: Upper end, likewise.
        num_tasks: Number of tasks.
        least_seeds: Number of seeds of the task that has the fewest.
    """

    value: float
    low: float | None
    high: float | None
    num_tasks: int
    least_seeds: int


@dataclass(frozen=True)
class Profile:
    """The share of all runs that are better than each of some thresholds.

    Attributes:
        thresholds: T thresholds, rising.
        shares: T shares, each task weighing the same.
    """

    thresholds: tuple[float, ...]
    shares: tuple[float, ...]


def interquartile_mean(values_N: Sequence[float] | FloatArray) -> float:
    """Return the mean of the middle half of some values.

    A quarter of the values is left out at each end. Where a quarter is no whole number of values, the value at the edge
    enters with the share of it that belongs to the middle: of three values, all enter, the outer two with a weight of
    1/4. A trimmed mean that rounds the number of values down, as in scipy and rliable, is the plain mean there.

    Args:
        values_N: N finite values, N at least 1.

    Raises:
        StudyError: There are none, or one is not finite.

    Source:
        Agarwal et al. 2021, arXiv:2108.13264, for the use; the weights at the edges are the usual ones.

    Example:
        >>> interquartile_mean([0.0, 1.0, 5.0])
        1.5
        >>> interquartile_mean([0.0, 1.0, 3.0, 100.0])
        2.0
    """
    values = np.asarray(values_N, dtype=float)
    if not values.size or not np.isfinite(values).all():
        raise StudyError(
            "an interquartile mean needs 1 or more values, all of them finite. "
            "Give a run that failed the value of a failure."
        )
    return float(_of_rows(values[None])[0])


def mean_of_tasks(
    differences: Mapping[str, Sequence[float]], *, level: float = LEVEL, seed: int = 0, num_draws: int = NUM_DRAWS
) -> TaskMean:
    """Return the interquartile mean of paired differences over runs and tasks, with a stratified bootstrap interval.

    Seeds are drawn with replacement within each task. The interval is that of percentiles of the means of the draws.

    Fails: With few seeds the interval is too narrow, as a drawn sample has (n - 1)/n of the variance. Simulated, 1,000
    times, 5 tasks, nominal 95%, it holds the truth with n seeds

        n              3     5    10    20
        normal       87%   90%   93%   94%
        exponential  88%   91%   93%   94%
        Student t3   86%   92%   92%   94%

    so that there is none below LEAST_SEEDS seeds; no verdict is reached by it.

    Args:
        differences: Task -> the first arm less the second, one per seed; of one scale in all tasks.
        level: Of the interval, in (0, 1).
        seed: Seed of the random draws; the same seed gives the same numbers.
        num_draws: Number of samples drawn with replacement, 1 or more.

    Raises:
        StudyError: There is no task, a task has no difference, or a difference is not finite.

    Source:
        Agarwal et al. 2021, arXiv:2108.13264, section 4.
    """
    tasks = [np.asarray(values, dtype=float) for values in differences.values()]
    if not tasks or any(not values.size for values in tasks):
        raise StudyError("a mean over tasks needs 1 or more tasks with 1 or more seeds each. Leave out a task without.")
    value = interquartile_mean(np.concatenate(tasks))
    least = min(map(len, tasks))
    if least < LEAST_SEEDS:
        return TaskMean(value, None, None, len(tasks), least)
    low, high = percentile_interval(tasks, level, seed, num_draws)
    return TaskMean(value, low, high, len(tasks), least)


def percentile_interval(tasks: Sequence[FloatArray], level: float, seed: int, num_draws: int) -> tuple[float, float]:
    """Return the ends of the interval of `mean_of_tasks`, also for few seeds.

    Args:
        tasks: The differences of each task.
        level: Of the interval, in (0, 1).
        seed: Seed of the random draws; the same seed gives the same numbers.
        num_draws: Number of samples drawn with replacement, 1 or more.
    """
    rng = np.random.default_rng(seed)
    drawn_BN = np.concatenate([values[rng.integers(0, len(values), (num_draws, len(values)))] for values in tasks], 1)
    low, high = np.quantile(_of_rows(drawn_BN), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def performance_profile(scores: Mapping[str, Sequence[float]], thresholds: Sequence[float]) -> Profile:
    """Return which share of runs has a score above each threshold, as a mean over tasks.

    Args:
        scores: Task -> one score per seed, larger is better; a run that failed has the score of a failure.
        thresholds: Scores at which the share of runs above is asked for, rising.

    Raises:
        StudyError: There is no task, a task has no score, or the thresholds do not rise.

    Source:
        Dolan & More 2002, doi:10.1007/s101070100263; by the share of runs, Agarwal et al. 2021, arXiv:2108.13264.

    Example:
        >>> performance_profile({"digits": [0.9, 0.7], "mnist": [0.8, 0.6]}, [0.65, 0.85]).shares
        (0.75, 0.25)
    """
    if not scores or any(not len(values) for values in scores.values()):
        raise StudyError("a profile needs 1 or more tasks with 1 or more scores each. Leave out a task without.")
    edges_T = np.asarray(thresholds, dtype=float)
    if not (np.diff(edges_T) > 0).all():
        raise StudyError(f"the thresholds of a profile must rise, got {', '.join(map(str, thresholds))}. Sort them.")
    shares = [(np.asarray(values, dtype=float)[:, None] > edges_T).mean(0) for values in scores.values()]
    return Profile(tuple(edges_T.tolist()), tuple(np.mean(shares, 0).tolist()))


def _of_rows(values_BN: FloatArray) -> FloatArray:
    """Return the interquartile mean of each row."""
    number = values_BN.shape[1]
    quarter = number / 4
    whole = math.floor(quarter)
    weights = np.ones(number)
    weights[:whole] = weights[number - whole :] = 0
    weights[whole] -= quarter - whole
    weights[number - 1 - whole] -= quarter - whole
    return np.asarray(np.sort(values_BN, axis=1) @ weights / weights.sum())
