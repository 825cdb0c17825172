"""A learning-rate range test of one run: where its loss begins to fall, falls fastest, and breaks.

Shape letters: T steps, along which the learning rate rises by a constant factor.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bnlab.errors import StudyError
from bnlab.stats.censoring import Side
from bnlab.stats.estimate import FloatArray

SMOOTHED_OVER = 0.2
"""Decades: the window of the running median, centered, so that nothing is shifted as a running mean shifts it."""

BEGUN, BROKEN = 0.1, 0.5
"""Shares of what the loss gains in all: gained when it has begun to fall, lost again when it has broken."""

LEAST_GAIN = 0.1
"""Share of the loss at the start. A curve that gains less has learned nothing that could be told from noise."""


@dataclass(frozen=True, slots=True)
class RangeCurve:
    """Mini-batch losses of one run while the learning rate rises.

    Args:
        lrs: T learning rates, rising.
        losses: T losses, each of the batch after the update with that learning rate; the last may be anything.
        start_loss: Of the first batch, before any update.
        is_whole: The test came to the end of its range; it was not given up because the loss exploded.

    Raises:
        StudyError: The lengths differ.
    """

    lrs: tuple[float, ...]
    losses: tuple[float, ...]
    start_loss: float
    is_whole: bool = True

    def __post_init__(self) -> None:
        """Check the lengths.

        Raises:
            StudyError: The lengths differ.
        """
        if len(self.losses) != len(self.lrs):
            raise StudyError(
                "a range test has a loss for each learning rate, "
                f"got {len(self.lrs)} learning rates and {len(self.losses)} losses"
            )


@dataclass(frozen=True, slots=True)
class RangeFigures:
    """What a range test of one seed shows; learning rates, or None.

    Attributes:
        begins: Where the loss has made a tenth of its gain; None if it gained nothing.
        begins_side: ``at_most`` where that is the lowest rate of the range; ``unknown`` if it gained nothing.
        steepest: Where it falls fastest per decade.
        breaks: The first one beyond the lowest loss where half of the gain is lost again, or the loss is not finite.
        breaks_side: ``at_least`` where it had not broken at the end of the range; ``unknown`` if it gained nothing.
    """

    begins: float | None
    begins_side: Side
    steepest: float | None
    breaks: float | None
    breaks_side: Side


_NOTHING_LEARNED = RangeFigures(None, "unknown", None, None, "unknown")


def read_range(curve: RangeCurve) -> RangeFigures:
    """Return the figures of a range test.

    A screen, no measurement: the weights at a high rate have been prepared by the low ones before it, each rate has a
    few steps only to do its damage, and the figures move with the number of steps. It tends to overestimate what
    trains.

    Args:
        curve: The losses of the test, with their learning rates.

    Source:
        Smith 2015 (arXiv 1506.01186), there with a rate that rises linearly and an accuracy that is read by eye; the
        exponential rise is common practice. The thresholds are ours.

    Example:
        >>> lrs = tuple(10 ** (k / 10 - 3) for k in range(50))
        >>> losses = tuple(2.0 if lr < 0.01 else 1.0 if lr < 5 else 9.0 for lr in lrs)
        >>> found = read_range(RangeCurve(lrs, losses, start_loss=2.0))
        >>> [round(math.log10(lr), 1) for lr in (found.begins, found.breaks)]
        [-2.0, 0.7]
    """
    if len(curve.lrs) < 2:  # given up at once
        return _NOTHING_LEARNED
    lrs = np.asarray(curve.lrs)
    smooth_T = _smoothed(lrs, np.asarray(curve.losses, dtype=np.float64))
    start = curve.start_loss
    lowest = int(smooth_T.argmin())
    gain = start - float(smooth_T[lowest])
    if not gain > LEAST_GAIN * start:
        return _NOTHING_LEARNED
    begins = int((smooth_T <= start - BEGUN * gain).argmax())
    broken = np.flatnonzero(smooth_T[lowest:] > smooth_T[lowest] + BROKEN * gain)
    place = lowest + int(broken[0]) if broken.size else len(lrs) - 1
    return RangeFigures(
        begins=float(lrs[begins]),
        begins_side="exact" if begins else "at_most",
        steepest=float(lrs[_steepest(lrs, smooth_T, lowest)]),
        breaks=float(lrs[place]),
        breaks_side="at_least" if curve.is_whole and not broken.size else "exact",
    )


@dataclass(frozen=True, slots=True)
class RangeSpread:
    """Range tests of several seeds: the lowest and the highest of each figure, over the seeds that learned something.

    Attributes:
        begins: The lowest and the highest rate at which a loss begins to fall; None where no seed learned anything.
        begins_side: Of the lowest: ``at_most`` if a seed's loss fell at the lowest rate of the range already.
        steepest: The lowest and the highest of the steepest rates; None where no seed learned anything.
        breaks: The lowest and the highest of the rates that break; None where no seed learned anything.
        breaks_side: Of the highest: ``at_least`` if a seed's had not broken at the end of the range. The lowest is a
            bound too only where it is the same, since the end of the range is the highest rate of all.
        num_learned: How many seeds learned something.
        n: How many seeds were tested.
    """

    begins: tuple[float, float] | None
    begins_side: Side
    steepest: tuple[float, float] | None
    breaks: tuple[float, float] | None
    breaks_side: Side
    num_learned: int
    n: int


def spread(figures: Sequence[RangeFigures]) -> RangeSpread:
    """Return the spread of the range tests of several seeds.

    It has no mean and no interval: a screen should not look like a measurement.

    Args:
        figures: The figures of the test of each seed.

    Example:
        >>> broken = RangeFigures(0.01, "exact", 0.1, 1.0, "exact")
        >>> whole = RangeFigures(0.01, "exact", 0.1, 3.0, "at_least")
        >>> spread([broken, whole]).breaks, spread([broken, whole]).breaks_side
        ((1.0, 3.0), 'at_least')
    """
    return RangeSpread(
        begins=_span([one.begins for one in figures]),
        begins_side=_side_of_all([one.begins_side for one in figures], "at_most"),
        steepest=_span([one.steepest for one in figures]),
        breaks=_span([one.breaks for one in figures]),
        breaks_side=_side_of_all([one.breaks_side for one in figures], "at_least"),
        num_learned=sum(one.breaks is not None for one in figures),
        n=len(figures),
    )


def _span(values: Sequence[float | None]) -> tuple[float, float] | None:
    known = [value for value in values if value is not None]
    return (min(known), max(known)) if known else None


def _side_of_all(sides: Sequence[Side], bound: Side) -> Side:
    """Return whether an end of a spread is a bound; of seeds that learned nothing there is nothing to say."""
    known = set(sides) - {"unknown"}
    return "unknown" if not known else bound if bound in known else "exact"


def _half_window(lrs: FloatArray) -> int:
    decades = math.log10(lrs[-1] / lrs[0]) / (len(lrs) - 1)
    return max(1, round(SMOOTHED_OVER / 2 / decades))


def _smoothed(lrs: FloatArray, losses_T: FloatArray) -> FloatArray:
    """Return the running median; a loss that is not finite is taken as infinite, and stays at its place."""
    half = _half_window(lrs)
    finite_T = np.where(np.isfinite(losses_T), losses_T, np.inf)
    windows = [finite_T[max(0, i - half) : i + half + 1] for i in range(len(finite_T))]
    smooth_T = np.asarray([np.median(window) for window in windows])
    return np.where(np.isfinite(finite_T), smooth_T, np.inf)


def _steepest(lrs: FloatArray, smooth_T: FloatArray, lowest: int) -> int:
    half = _half_window(lrs)
    places = range(lowest + 1)
    return max(places, key=lambda i: smooth_T[max(0, i - half)] - smooth_T[min(lowest, i + half)])
