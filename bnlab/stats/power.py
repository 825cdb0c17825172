"""How many seeds a verdict needs, told from a few."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bnlab.errors import StudyError
from bnlab.stats.estimate import FloatArray
from bnlab.stats.mean_interval import LEAST_SEEDS
from bnlab.stats.verdict import words_of

POWER = 0.8
"""The chance of a verdict that is usually asked for (Cohen 1988)."""

MOST_SEEDS = 1000
"""Seeds beyond which nobody goes on a laptop; the answer then is that there is none."""

_NUM_STUDIES = 4000
"""Simulated studies per number of seeds: the chance is known to 0.6 points (standard error at 80%)."""

_MOST_VALUES = 800_000
"""Values that are simulated per number of seeds, 6 MB: from 200 seeds on there are fewer studies, 800 with 1,000."""


@dataclass(frozen=True, slots=True)
class SeedsNeeded:
    """How many seeds a verdict needs.

    Attributes:
        seeds: The least number with the power that was asked for; None if 1,000 are not enough.
        power: The chance of ``supported`` with that many; with 1,000 where they are not enough.
        effect: The true effect that was assumed.
        deviation: Standard deviation of the differences over seeds, as the pilot has it.
        pilot: How many differences the pilot has.
    """

    seeds: int | None
    power: float
    effect: float
    deviation: float
    pilot: int


def seeds_needed(
    differences: Sequence[float], *, sesoi: float, effect: float | None = None, looks: int = 1, power: float = POWER
) -> SeedsNeeded:
    """Return how many seeds a study needs, so that an effect of a given size is likely found.

    Up to 4,000 studies are simulated per number of seeds, and judged by the very rule of `judge`. Their differences are
    normal, around ``effect``. Their deviation is drawn anew for each study from what the pilot leaves possible,
    s * sqrt(df / chi2(df)): a pilot of 3 seeds often has half the true deviation, and a plan that took it at its word
    would find the effect far less often than it says.

    Args:
        differences: Those of a pilot, first arm less second, one per seed, at least 3. Only their spread counts.
        sesoi: The smallest effect of interest, as in `judge`.
        effect: The true effect to plan for, above ``sesoi``; None: twice the smallest one of interest.
        looks: How often the data will be looked at, as in `judge`; the number is that of the last look.
        power: The chance of the verdict ``supported`` that is asked for, in (0, 1).

    Raises:
        StudyError: The pilot has fewer than 3 differences, or an argument is out of range.

    Source:
        Predictive power ("assurance"): O'Hagan, Stevens and Campbell 2005, Pharmaceutical Statistics 4.

    Example:
        >>> found = seeds_needed([0.01, 0.02, 0.03, 0.02, 0.01], sesoi=0.01)
        >>> found.effect, found.pilot, 5 < found.seeds < 20
        (0.02, 5, True)
    """
    x_S = np.asarray(differences, dtype=np.float64)
    if x_S.size < LEAST_SEEDS or not np.isfinite(x_S).all():
        raise StudyError(f"a pilot needs {LEAST_SEEDS} or more finite differences, got {list(differences)}")
    if not 0 < power < 1:
        raise StudyError(f"power must be above 0 and below 1, got {power}")
    effect = 2 * sesoi if effect is None else effect
    if not sesoi < effect < math.inf:
        raise StudyError(
            f"the effect to plan for must be above the smallest one of interest, {sesoi:g}, and finite, got {effect:g}"
        )
    deviation = float(x_S.std(ddof=1))
    chance = functools.cache(
        lambda n: _chance(n, deviation, x_S.size - 1, effect - sesoi, looks)  # only their distance matters
    )
    enough = LEAST_SEEDS
    while chance(enough) < power:
        if enough == MOST_SEEDS:
            return SeedsNeeded(None, chance(enough), effect, deviation, x_S.size)
        enough = min(2 * enough, MOST_SEEDS)
    too_few = max(enough // 2, LEAST_SEEDS - 1)
    while enough - too_few > 1:
        middle = (enough + too_few) // 2
        enough, too_few = (middle, too_few) if chance(middle) >= power else (enough, middle)
    return SeedsNeeded(enough, chance(enough), effect, deviation, x_S.size)


def _chance(n: int, deviation: float, df: int, distance: float, looks: int) -> float:
    """Return the share of simulated studies with n seeds that find an effect beyond the smallest one of interest."""
    rng = np.random.default_rng(n)  # of the simulation alone: the same pilot gets the same answer
    num = min(_NUM_STUDIES, _MOST_VALUES // n)
    sigma_R: FloatArray = deviation * np.sqrt(df / rng.chisquare(df, num))
    x_RS = distance + sigma_R[:, None] * rng.standard_normal((num, n))
    return float((words_of(x_RS, 0.0, looks) > 0).mean())
