"""A verdict on "the first arm is better by more than X", out of one difference per seed.

Shape letters: R studies, S seeds.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Literal, get_args

import numpy as np

from bnlab.errors import StudyError
from bnlab.stats.estimate import LEVEL, FloatArray
from bnlab.stats.mean_interval import LEAST_SEEDS, interval_of_means, level_for
from bnlab.stats.median_interval import interval_of_median
from bnlab.stats.sign_flip import sign_flip_p

Word = Literal["supported", "refuted", "inconclusive"]
Center = Literal["mean", "median"]
Bracket = tuple[float, float]
"""The least and the greatest value that a difference can have; equal where it is known, infinite where it is not."""

SHARED_OUT = 0.04
"""The error that several looks share, in place of 0.05: farther out in a long tail an interval corrects less of the
skewness. With exponential differences and looks after 3, 6, 12 and 24 seeds 0.05 gave 5.4% wrong verdicts (40,000
studies); docs/verdicts.md has what this gives."""

TIE = 1e-9
"""Relative distance below which an end of an interval equals the smallest effect: 0.91 - 0.9 is 0.01 and a rounding."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the differences of two arms say of a claim, and how sure that is.

    Attributes:
        verdict: ``supported``, ``refuted`` or ``inconclusive``.
        effect: The mean (or median) difference, first arm less second, larger is better; None without a difference, or
            where nothing is known of one.
        low: Lower end of its interval; None below 3 differences, or where one of them has no lower bound.
        high: Upper end, alike.
        n: How many differences it stands on.
        sesoi: The smallest effect of interest, the X of the claim.
        num_missing: How many seeds had no difference, since a run of the pair failed.
        looks: How often the data are looked at in all, by plan.
        level: How often Student's interval of normal differences would hold the mean: 0.98 below 9 seeds, 0.95 from
            there on, more with several looks; None without an interval. Of skewed differences it is 0.95 or so.
        p: Two-sided p of the exact sign-flip test of "the effect is X"; None above 20 differences, or where some are
            known between bounds only. It decides nothing.
        reason: Why it is inconclusive, or in what way the claim is refuted; one sentence.
    """

    verdict: Word
    effect: float | None
    low: float | None
    high: float | None
    n: int
    sesoi: float
    num_missing: int
    looks: int
    level: float | None
    p: float | None
    reason: str


def judge(
    differences: Sequence[float | None],
    *,
    sesoi: float,
    looks: int = 1,
    brackets: Sequence[Bracket] | None = None,
    center: Center = "mean",
) -> Verdict:
    """Return whether one arm is better than another by more than the smallest effect of interest.

        supported     the interval of the mean difference lies above sesoi
        refuted       it lies below sesoi, or all differences equal it
        inconclusive  it holds sesoi, or there are fewer than 3 differences

    A difference that is not significant is not "no difference": that is claimed only where the whole interval lies
    within -sesoi and sesoi, which is an equivalence test (TOST) at half the usual error.

    Looking more than once: with ``looks`` = K each look is allowed 1/K of the error, so that the chance of a wrong
    verdict at any of them is no larger than with one, whenever they are made (Bonferroni). Exact boundaries for normal
    differences are a little shorter, and hold for looks at the planned times alone.

    Brackets: the lower end of the interval is that of the least values that the differences can have, and the upper end
    that of the greatest. Both hold, since a mean does not fall where a value rises.

    Args:
        differences: First arm less second, one per seed, turned so that larger is better; None for a pair with a run
            that failed. A run that diverged did not fail: its outcome is its start.
        sesoi: The smallest effect of interest, at least 0, in the differences' unit.
        looks: How often the data are looked at in all, this time included, at least 1. To be fixed before the first.
        brackets: For each difference the least and the greatest value that it can have, as where the steps to a target
            are known to 20, or one run did not reach it (infinity); None: all are exact.
        center: What is asked about the differences: their ``mean``, or their ``median``.

    Raises:
        StudyError: An argument is out of range, or a difference is not finite.

    Source:
        The intervals: see `interval_of_means` and `interval_of_median`. Equivalence: Schuirmann 1987. Looks:
        Bonferroni; Pocock 1977 for normal differences and equal steps.

    Example:
        >>> judge([0.03, 0.04, 0.02, 0.05, 0.03, 0.04, 0.03, 0.04, 0.03], sesoi=0.01).verdict
        'supported'
        >>> judge([0.001, -0.002, 0.0, 0.001, 0.002], sesoi=0.01).reason
        'The arms differ by less than that either way.'
        >>> judge([0.03, None], sesoi=0.01).verdict
        'inconclusive'
    """
    known_S, least_S, greatest_S = _checked(differences, sesoi, looks, brackets)
    if center not in get_args(Center):
        raise StudyError(f"center must be mean or median, got {center!r}")
    n = known_S.size
    num_missing = len(differences) - n
    is_unknown = bool(n) and bool(np.isinf(least_S).any() and np.isinf(greatest_S).any())
    effect = None if n == 0 or is_unknown else _mean(known_S) if center == "mean" else float(np.median(known_S))
    is_exact = bool(n) and np.array_equal(least_S, greatest_S)
    p = sign_flip_p((known_S - sesoi).tolist()) if is_exact else None
    if n < LEAST_SEEDS:
        reason = f"A verdict needs {LEAST_SEEDS} or more seeds with both runs, there {'is' if n == 1 else 'are'} {n}."
        return Verdict("inconclusive", effect, None, None, n, sesoi, num_missing, looks, None, p, reason)
    low, high = _ends(least_S, greatest_S, center, level_of_look(looks), n)
    word, reason = _word(low, high, sesoi)
    has_ends = low is not None or high is not None
    level = (level_for(n, level_of_look(looks)) if center == "mean" else level_of_look(looks)) if has_ends else None
    return Verdict(word, effect, low, high, n, sesoi, num_missing, looks, level, p, reason)


def without_each(
    differences: Sequence[float], *, sesoi: float, looks: int = 1, brackets: Sequence[Bracket] | None = None
) -> list[Word]:
    """Return the verdicts that would have been reached without each of the seeds in turn.

    Their intervals have the level that all seeds together have: with 9 seeds it is 95%, and one seed less would widen
    it for that reason alone.

    Args:
        differences: As in `judge`, at least 4, none of them missing.
        sesoi: As in `judge`.
        looks: As in `judge`.
        brackets: As in `judge`.

    Raises:
        StudyError: There are fewer than 4 differences, or an argument is out of range.
    """
    known_S, least_S, greatest_S = _checked(differences, sesoi, looks, brackets)
    n = known_S.size
    if n <= LEAST_SEEDS or n < len(differences):
        raise StudyError(f"leaving one seed out needs {LEAST_SEEDS + 1} or more differences, got {n}")
    words = []
    for place in range(n):
        least, greatest = np.delete(least_S, place), np.delete(greatest_S, place)
        words.append(_word(*_ends(least, greatest, "mean", level_of_look(looks), n), sesoi)[0])
    return words


def level_of_look(looks: int) -> float:
    """Return the level of each interval: 0.95 for one look, 1 - 0.04 / looks for several."""
    return LEVEL if looks == 1 else 1 - SHARED_OUT / looks


def words_of(differences_RS: FloatArray, sesoi: float, looks: int = 1) -> FloatArray:
    """Return (R,): the verdicts of many studies at once: 1 supported, -1 refuted, 0 inconclusive.

    Args:
        differences_RS: One row of S exact differences per study, S at least 3.
        sesoi: As in `judge`.
        looks: As in `judge`.
    """
    low_R, high_R = interval_of_means(differences_RS, level_of_look(looks))
    above_R = (low_R > sesoi) & ~np.isclose(low_R, sesoi, rtol=TIE, atol=0)
    below_R = (high_R < sesoi) | np.isclose(high_R, sesoi, rtol=TIE, atol=0)
    return above_R.astype(np.float64) - below_R


def _mean(known_S: FloatArray) -> float:
    """Return the mean, of equal values exactly theirs."""
    is_flat = bool((known_S == known_S[0]).all())
    return float(known_S[0]) if is_flat else math.fsum(x / known_S.size for x in known_S.tolist())


def _ends(
    least_S: FloatArray, greatest_S: FloatArray, center: Center, level: float, level_of: int
) -> tuple[float | None, float | None]:
    """Return the ends of the interval; None for one that some difference leaves open.

    Args:
        least_S: The least values that the differences can have.
        greatest_S: The greatest ones.
        center: What the interval is of.
        level: How often it should hold that.
        level_of: The number of seeds by which the error at each end is chosen.
    """
    ends: list[float | None] = []
    for place, values_S in enumerate((least_S, greatest_S)):
        if not np.isfinite(values_S).all():
            ends.append(None)
        elif center == "mean":
            ends.append(float(interval_of_means(values_S[None, :], level, level_of)[place][0]))
        else:
            ends.append(interval_of_median(values_S.tolist(), level)[1 + place])
    return ends[0], ends[1]


def _word(low: float | None, high: float | None, sesoi: float) -> tuple[Word, str]:
    if low is not None and low > sesoi and not math.isclose(low, sesoi, rel_tol=TIE):
        return "supported", ""
    if high is not None and (high < sesoi or math.isclose(high, sesoi, rel_tol=TIE)):
        if low == high == 0:
            return "refuted", "The arms gave the same figure with every seed."
        if high < -sesoi:
            return "refuted", "The second arm is better, by more than that."
        if low is not None and low > -sesoi:
            return "refuted", "The arms differ by less than that either way."
        return "refuted", "The first arm is not better by that much."
    if low is None or high is None:
        return "inconclusive", "Of some pairs only a bound is known, or nothing."
    return "inconclusive", "The interval holds the smallest effect of interest."


def _checked(
    differences: Sequence[float | None], sesoi: float, looks: int, brackets: Sequence[Bracket] | None
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the differences that are there, and the least and the greatest values that they can have.

    Raises:
        StudyError: An argument is out of range, or a difference is not finite.
    """
    if not (isinstance(sesoi, Real) and math.isfinite(sesoi) and sesoi >= 0):
        raise StudyError(f"sesoi must be a finite number, at least 0, got {sesoi}")
    if isinstance(looks, bool) or not isinstance(looks, int | np.integer) or looks < 1:
        raise StudyError(f"looks must be a whole number, at least 1, got {looks}")
    if isinstance(differences, Mapping | str):
        raise StudyError(f"differences must be one number per seed, got a {type(differences).__name__}")
    given = list(differences)
    for number, each in enumerate(given):
        if each is not None and not (isinstance(each, Real) and math.isfinite(each)):
            raise StudyError(
                f"differences must be finite numbers, number {number + 1} is {each}. A run that diverged counts with "
                "the figure of its start; None is for a run that failed."
            )
    around = [(0.0, 0.0) if each is None else (each, each) for each in given] if brackets is None else list(brackets)
    if len(around) != len(given):
        raise StudyError(f"brackets must be one per difference, got {len(around)} for {len(given)}")
    kept = [(float(each), *of) for each, of in zip(given, around, strict=True) if each is not None]
    for each, least, greatest in kept:
        if not least <= each <= greatest:
            raise StudyError(f"a bracket must hold its difference, got {each} and ({least}, {greatest})")
    columns = np.array(kept, dtype=np.float64).reshape(-1, 3).T
    return columns[0], columns[1], columns[2]
