"""Censored figures: where a grid ends too early, only a lower or an upper bound of a figure is known."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bnlab.errors import StudyError
from bnlab.stats.estimate import ANYWHERE, Scale, mean_over_seeds

Side = Literal["exact", "at_least", "at_most", "unknown"]

_OPPOSITE: dict[Side, Side] = {
    "exact": "exact",
    "at_least": "at_most",
    "at_most": "at_least",
    "unknown": "unknown",
}


@dataclass(frozen=True, slots=True)
class Bounded:
    """A figure, or a bound on it, with its interval.

    Attributes:
        value: The figure or the bound; None where nothing is known.
        low: Lower end of the interval; None: there is none.
        high: Upper end; None: there is none.
        n: How many seeds it stands on.
        side: ``exact``; ``at_least`` (the truth may be above: censored on the right); ``at_most`` (censored on the
            left); ``unknown``.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    side: Side = "exact"


def combined(first: Side, second: Side) -> Side:
    """Return what is known of a sum (or a product) of two figures.

    Example:
        >>> combined("exact", "at_least"), combined("at_least", "at_most")
        ('at_least', 'unknown')
    """
    if first == "exact" or first == second:
        return second
    return first if second == "exact" else "unknown"


def opposite(side: Side) -> Side:
    """Return what is known of a figure's negative (or inverse)."""
    return _OPPOSITE[side]


def bounded_mean(
    values: Sequence[float | None],
    sides: Sequence[Side],
    scale: Scale = "plain",
    within: tuple[float, float] = ANYWHERE,
) -> Bounded:
    """Return the mean over seeds of figures some of which are bounds.

    A bound enters with its value. One that is ``at_least`` makes the mean a lower bound and leaves the interval no
    upper end. The lower end holds: it is that of the mean of min(x, edge), which is no larger than the mean of x. The
    mirror image holds for ``at_most``. Where the bounds point both ways, or one value is unknown, nothing is known: the
    mean of the others would be that of the seeds for which it went well.

    Args:
        values: One figure or bound per seed; None where it is unknown.
        sides: For each of the values, whether it is exact or a bound.
        scale: Where the mean is taken, ``plain`` or ``log``, as in `mean_over_seeds`.
        within: The least and the greatest value that the true mean can have, as in `mean_over_seeds`.

    Raises:
        StudyError: There are no values, some cannot be averaged, or a value is None and its side is not ``unknown``.

    Source:
        Ours; as the mean survival time restricted to the time observed is a lower bound of the mean.

    Example:
        >>> bounded_mean([1.0, 3.0, 3.0], ["exact", "at_least", "at_least"]).side
        'at_least'
        >>> bounded_mean([1.0, None], ["exact", "unknown"]).value is None
        True
    """
    if len(sides) != len(values):
        raise StudyError(f"a mean of bounds needs one side per value, got {len(values)} values, {len(sides)} sides")
    side: Side = "exact"
    for each in sides:
        side = combined(side, each)
    if side == "unknown":
        return Bounded(None, None, None, len(values), side)
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        raise StudyError(f"a value that is None needs the side unknown, got {list(values)} with {list(sides)}")
    mean = mean_over_seeds(known, scale, within=within)
    low = None if side == "at_most" else mean.low
    high = None if side == "at_least" else mean.high
    return Bounded(mean.value, low, high, mean.n, side)
