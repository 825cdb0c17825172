"""How much the outcome depends on the learning rate: the figures of one arm.

Shape letters: S seeds, L learning rates, in rising order.
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np

from bnlab.errors import StudyError
from bnlab.stats.censoring import Bounded, Side, bounded_mean
from bnlab.stats.estimate import Estimate, FloatArray, mean_over_seeds, share_of
from bnlab.stats.response import RANGE, Metric, ResponseCurve, place_of_least
from bnlab.stats.trainable import Rule, TrainableRange, trainable_range

TOLERANCE: dict[Metric, float] = {"loss": 0.1, "accuracy": 0.02}
"""A share of the best that is given away. Less would be hidden by the noise between seeds: on 500 images that of an
accuracy is 1 to 2 points."""

EVEN = 1.3
"""Largest step of a grid over its smallest, in decades, that still passes as even: 1, 3, 10, 30 has 1.10."""


@dataclass(frozen=True, slots=True)
class BestLR:
    """The LR with the best outcome.

    Attributes:
        value: The LR whose mean over seeds is best, the lowest among equals; None if no run beat its start.
        outcome: The metric there, over seeds. Optimistic: the LR was chosen by the same images, as the best of L.
        of_seeds: Geometric mean of each seed's own best LR, with its interval; ``at_least`` where a seed's is the
            highest of the grid, ``at_most`` where it is the lowest, ``unknown`` where no run of a seed beat its start.
        at_edge: ``highest`` or ``lowest`` of the grid, if it is: then a better one may lie outside.
    """

    value: float | None
    outcome: Estimate
    of_seeds: Bounded
    at_edge: str | None


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """All figures of one arm.

    Attributes:
        lrs: The learning rates of the grid, rising.
        seeds: The seeds that the figures are computed from.
        loss_sensitivity: See `lr_sensitivity`; in units of the loss.
        accuracy_sensitivity: The same of the accuracy; a share.
        best_by_loss: The LR with the lowest validation loss.
        best_by_accuracy: The LR with the highest validation accuracy.
        trainable: From which LR to which it trains.
        tolerance_width: See `tolerance_width`; in decades.
        diverged: Share of all runs that diverged or ended with a loss that is not finite. Its interval takes them for
            independent draws, which runs at one LR are not: it is too narrow.
    """

    lrs: tuple[float, ...]
    seeds: tuple[int, ...]
    loss_sensitivity: Estimate
    accuracy_sensitivity: Estimate
    best_by_loss: BestLR
    best_by_accuracy: BestLR
    trainable: TrainableRange
    tolerance_width: Bounded
    diverged: Estimate

    def best(self, by: Metric) -> BestLR:
        """Return the best LR by one or the other figure."""
        return self.best_by_loss if by == "loss" else self.best_by_accuracy


def lr_sensitivity(curve: ResponseCurve, metric: Metric = "loss") -> Estimate:
    """Return how much worse than the best LR the LRs of the grid are on average.

        sensitivity = E over LRs of ( min(l(LR), l0) - l* )        l* = the least over the LRs

    0: every LR is as good as the best. The expectation is the plain mean over the points of the grid, so the grid
    should be evenly spaced in log LR, and be the same for all that are compared: it depends on where the grid ends.

    It is taken for each seed alone and then averaged. l* of a seed is the least of L noisy values, and so a little
    lower than the least of the mean curve: with few images or seeds this adds a little to every arm.

    Not comparable where arms mean different things by an LR. BatchNorm's weights have no scale, so that their
    effective LR adapts by itself: look at the trainable width and the maximal LR too.

    Args:
        curve: The outcomes of the arm over the grid.
        metric: ``accuracy`` takes the mirror image: a* - max(a, a0).

    Source:
        Wortsman et al. 2023 (arXiv 2309.14322), there over 7 LRs from 3e-4 to 3e-1. Of the accuracy, ours.

    Example:
        >>> curve = ResponseCurve(lrs=(0.1, 1.0, 10.0), seeds=(0,), loss=((0.5, 0.2, 9.0),), start_loss=(2.3,),
        ...                       accuracy=((0.8, 0.9, 0.1),), start_accuracy=(0.1,), diverged=((False,) * 3,))
        >>> round(lr_sensitivity(curve).value, 3), round(((0.5 - 0.2) + 0 + (2.3 - 0.2)) / 3, 3)
        (0.8, 0.8)
    """
    return mean_over_seeds(sensitivity_by_seed(curve, metric).tolist(), within=RANGE[metric])


def sensitivity_by_seed(curve: ResponseCurve, metric: Metric) -> FloatArray:
    """Return (S,): each seed's own LR sensitivity."""
    return np.asarray(curve.regret(metric).mean(1))


def best_lr(curve: ResponseCurve, metric: Metric = "loss") -> BestLR:
    """Return the LR with the best outcome.

    Args:
        curve: The outcomes of the arm over the grid.
        metric: The figure whose mean over seeds decides.
    """
    outcome_SL, start_S = curve.outcome(metric), curve.start(metric)
    best = place_of_least(curve.badness(metric).mean(0))
    own = [place_of_least(row_L) for row_L in curve.badness(metric)]
    sides = [
        _side(curve, best, bool((row_L == l0).all())) for best, row_L, l0 in zip(own, outcome_SL, start_S, strict=True)
    ]
    is_known = not (outcome_SL == start_S[:, None]).all()
    return BestLR(
        value=curve.lrs[best] if is_known else None,
        outcome=mean_over_seeds(outcome_SL[:, best].tolist(), within=RANGE[metric]),
        of_seeds=bounded_mean([curve.lrs[place] for place in own], sides, "log"),
        at_edge={0: "lowest", len(curve.lrs) - 1: "highest"}.get(best) if is_known else None,
    )


def tolerance_width(curve: ResponseCurve, metric: Metric = "loss", tolerance: float | None = None) -> Bounded:
    """Return over how many decades of LR the outcome stays within some percent of the best.

        loss      l <= (1 + tolerance) * l*       accuracy   a >= (1 - tolerance) * a*

    without a gap around the best LR. Between two points of the grid the curve is taken as straight in log LR, down
    to a diverged run too, whose outcome is its start; for each seed alone, then averaged. ``at_least`` where a seed's
    stretch reaches an edge of the grid; ``unknown`` where a seed's start is within the tolerance already: a run that
    learns nothing, or diverges, would be as good as any, and the width that of the whole grid.

    Args:
        curve: The outcomes of the arm over the grid.
        metric: The figure that the tolerance is a share of.
        tolerance: A share of the best, in (0, 1); None: 0.1 of the loss, 0.02 of the accuracy. A loss near 0 makes the
            width narrow and noisy: then ask for the accuracy.

    Raises:
        StudyError: The tolerance is out of range.
    """
    tolerance = TOLERANCE[metric] if tolerance is None else tolerance
    if not 0 < tolerance < 1:
        raise StudyError(f"tolerance must be above 0 and below 1, a share of the best, got {tolerance}")
    decades_L = np.log10(np.asarray(curve.lrs))
    found: list[tuple[float | None, Side]] = []
    for row_L, regret_L, start in zip(curve.outcome(metric), curve.regret(metric), curve.start(metric), strict=True):
        best = place_of_least(regret_L)
        allowed = tolerance * abs(float(row_L[best]))
        if abs(float(start - row_L[best])) <= allowed:
            found.append((None, "unknown"))
            continue
        left, reaches_left = _stretch(decades_L[best::-1], regret_L[best::-1], allowed)
        right, reaches_right = _stretch(decades_L[best:], regret_L[best:], allowed)
        side: Side = "at_least" if reaches_left or reaches_right else "exact"
        found.append((left + right, side))
    return bounded_mean([width for width, _ in found], [side for _, side in found], within=(0, math.inf))


def measure_sensitivity(
    curve: ResponseCurve,
    rule: Rule | None = None,
    best: float | None = None,
    by: Metric = "loss",
    tolerance: float | None = None,
) -> Sensitivity:
    """Return all figures of one arm.

    Args:
        curve: The outcomes of the arm over the grid.
        rule: When a run is trained; None: the usual rule.
        best: The accuracy from which the rule derives its bar; None: the arm's own best.
        by: The metric of the tolerance width.
        tolerance: A share of the best, in (0, 1), as in `tolerance_width`; None: its default for the metric.
    """
    diverged_SL = curve.has_diverged()
    return Sensitivity(
        lrs=curve.lrs,
        seeds=curve.seeds,
        loss_sensitivity=lr_sensitivity(curve, "loss"),
        accuracy_sensitivity=lr_sensitivity(curve, "accuracy"),
        best_by_loss=best_lr(curve, "loss"),
        best_by_accuracy=best_lr(curve, "accuracy"),
        trainable=trainable_range(curve, rule, best),
        tolerance_width=tolerance_width(curve, by, tolerance),
        diverged=share_of(int(diverged_SL.sum()), diverged_SL.size),
    )


def grid_step(lrs: tuple[float, ...]) -> float:
    """Return the largest ratio of two neighbors of a grid: how well any LR of it is known.

    Example:
        >>> grid_step((0.1, 1.0, 10.0))
        10.0
    """
    return max(high / low for low, high in itertools.pairwise(lrs))


def is_even(lrs: tuple[float, ...]) -> bool:
    """Return whether a grid is evenly spaced in log LR, or nearly so.

    Example:
        >>> is_even((0.1, 0.3, 1.0, 3.0)), is_even((0.1, 0.2, 1.0))
        (True, False)
    """
    steps = [math.log(high / low) for low, high in itertools.pairwise(lrs)]
    return max(steps) <= EVEN * min(steps)


def _side(curve: ResponseCurve, best: int, is_flat: bool) -> Side:
    """Return whether a best LR at a place of the grid is exact, or only a bound of the true one."""
    if is_flat:
        return "unknown"
    return "at_most" if best == 0 else "at_least" if best == len(curve.lrs) - 1 else "exact"


def _stretch(decades_L: FloatArray, regret_L: FloatArray, allowed: float) -> tuple[float, bool]:
    """Return how far from its first point a curve stays within the tolerance, and whether it does so to its end."""
    for place in range(1, len(regret_L)):
        if regret_L[place] > allowed:
            inside, outside = regret_L[place - 1], regret_L[place]
            share = (allowed - inside) / (outside - inside)
            reached = decades_L[place - 1] + share * (decades_L[place] - decades_L[place - 1])
            return abs(float(reached - decades_L[0])), False
    return abs(float(decades_L[-1] - decades_L[0])), True
