"""The figures of two arms and their differences, seed by seed."""

import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass

from bnlab.errors import StudyError
from bnlab.stats.verdict import Bracket
from bnlab.studies.quantity import Scale
from bnlab.studies.run_values import Figure


@dataclass(frozen=True)
class Pairs:
    """The differences of two arms under one analysis.

    Attributes:
        seeds: The seeds that either arm has, rising.
        first: The figure of the first arm for each of them; None where it has none.
        second: The figure of the second arm, alike.
        differences: First less second, or the log of their ratio, turned so that larger is better; None where either
            has no figure.
        brackets: The least and the greatest value that each difference can have.
        rates: The learning rates of the first and the second arm; None for a figure of the whole grid.
    """

    seeds: tuple[int, ...]
    first: tuple[Figure | None, ...]
    second: tuple[Figure | None, ...]
    differences: tuple[float | None, ...]
    brackets: tuple[Bracket, ...]
    rates: tuple[float, float] | None


def paired(
    first: Mapping[int, Figure | None],
    second: Mapping[int, Figure | None],
    scale: Scale,
    lrs: tuple[float, float] | None,
    *,
    less_is_better: bool,
) -> Pairs:
    """Return the figures of two arms and their differences, seed by seed.

    Args:
        first: Seed -> figure of the first arm; None where it has none.
        second: Seed -> figure of the second arm, alike.
        scale: Whether the arms are compared by a difference or by a ratio.
        lrs: The learning rates of both; None for a figure of the whole grid.
        less_is_better: Whether the arm with the lower figure is the better one.

    Raises:
        StudyError: Values that are compared by their ratio are not above 0.
    """
    difference = _log_ratio if scale == "ratio" else operator.sub
    seeds = tuple(sorted({*first, *second}))
    differences: list[float | None] = []
    brackets: list[Bracket] = []
    for seed in seeds:
        one, other = first.get(seed), second.get(seed)
        better, worse = (other, one) if less_is_better else (one, other)
        if better is None or worse is None:
            differences.append(None)
            brackets.append((0.0, 0.0))
        elif not (better.is_known and worse.is_known):
            differences.append(0.0)
            brackets.append((-math.inf, math.inf))
        else:
            differences.append(difference(better.value, worse.value))
            brackets.append((difference(better.least, worse.greatest), difference(better.greatest, worse.least)))
    of_first, of_second = (tuple(of.get(seed) for seed in seeds) for of in (first, second))
    return Pairs(seeds, of_first, of_second, tuple(differences), tuple(brackets), lrs)


def _log_ratio(one: float, other: float) -> float:
    """Return the log of a ratio of two values above 0, of which one may be infinite.

    Raises:
        StudyError: A value is not above 0.
    """
    if min(one, other) <= 0:
        raise StudyError(f"a ratio needs values above 0, the runs have {min(one, other):g}. Compare by the difference.")
    return math.inf if math.isinf(one) else -math.inf if math.isinf(other) else math.log(one / other)
