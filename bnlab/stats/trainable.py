"""From which learning rate to which an arm trains.

Shape letters: S seeds, L learning rates, in rising order.
"""

import math
from dataclasses import dataclass

import numpy as np

from bnlab.errors import StudyError
from bnlab.stats.censoring import Bounded, Side, bounded_mean
from bnlab.stats.estimate import BoolArray, FloatArray
from bnlab.stats.response import Metric, ResponseCurve, place_of_least

MARGIN = 0.05
"""5 points of accuracy below the best: more than the noise of a validation set of 500 images (1 to 2 points)."""

QUOTA = 2 / 3
"""Share of the seeds that must be trained. With all of them, the maximum would fall with every seed added."""

LOSS_SHARE = 0.5
"""Share of the loss at the start, for a rule that asks the loss instead of the accuracy."""

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Rule:
    """When a run is trained, and when an LR is trainable.

        accuracy  a >= max(best - margin, a0 + margin), and it did not diverge
        loss      l < 0.5 * l0, and it did not diverge

    ``best`` is one bar for all arms, the best accuracy that any of them reached (the mean over seeds at one LR): with a
    bar of its own, an arm that learns nothing would "train" everywhere. a0 + margin is for the case that none learns.

    By the accuracy, a run that is still on its first plateau, as deep sigmoid nets are, is not trained: where the
    range ends on the left depends on the number of steps.

    Args:
        by: The metric that decides: accuracy or loss.
        margin: How far below the best is still trained, and how far above the start: a share, in (0, 1).
        quota: Share of the seeds that must be trained for an LR to be trainable, in (0, 1].

    Raises:
        StudyError: A margin or a quota out of range.
    """

    by: Metric = "accuracy"
    margin: float = MARGIN
    quota: float = QUOTA

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            StudyError: A margin or a quota out of range.
        """
        if not 0 < self.margin < 1:
            raise StudyError(f"margin must be above 0 and below 1, a share of the images, got {self.margin}")
        if not 0 < self.quota <= 1:
            raise StudyError(f"quota must be above 0 and at most 1, a share of the seeds, got {self.quota}")


@dataclass(frozen=True, slots=True)
class TrainableRange:
    """The LRs around the best one at which an arm trains, without a gap.

    Maximal LR, of the quota: the largest LR of the grid such that it, and each LR from the best one up to it, trains on
    the quota's share of the seeds. Of a seed: the same for that seed alone. The best one has the highest accuracy
    (``rule.by``), the lowest LR among equals.

    All of them lie on the grid: the truth is up to one step of the grid higher.

    Attributes:
        max_lr: Of the quota. ``at_least`` at the grid's highest LR. ``unknown`` where no LR is trainable: what trains
            may lie below the grid, above it, between two of its points, or nowhere.
        min_lr: Of the quota, the other end. ``at_most`` at the grid's lowest LR; ``unknown`` where none is trainable.
        max_lr_of_seeds: Geometric mean over seeds of each seed's own, with its interval; ``unknown`` where a seed
            trains nowhere on the grid.
        width_of_seeds: Mean over seeds of log10(max / min), in decades, with its interval; ``at_least`` where a
            seed's range reaches an edge of the grid, ``unknown`` where a seed trains nowhere on it. One with a single
            LR has the width 0.
        max_lr_by_seed: Each seed's own maximal LR; None where it is unknown.
        max_side_by_seed: Whether each seed's maximal LR is exact, a bound, or unknown.
        width_by_seed: Each seed's width, in decades; None where it is unknown.
        width_side_by_seed: Whether each seed's width is exact, a bound, or unknown.
        beyond_gap: LRs that are trainable too, but beyond one that is not.
    """

    max_lr: Bounded
    min_lr: Bounded
    max_lr_of_seeds: Bounded
    width_of_seeds: Bounded
    max_lr_by_seed: tuple[float | None, ...]
    max_side_by_seed: tuple[Side, ...]
    width_by_seed: tuple[float | None, ...]
    width_side_by_seed: tuple[Side, ...]
    beyond_gap: tuple[float, ...]


def trained(curve: ResponseCurve, rule: Rule, best: float | None = None) -> BoolArray:
    """Return (S, L): which runs are trained, by a rule.

    Args:
        curve: The outcomes of the arm over the grid.
        rule: When a run is trained.
        best: The accuracy from which the rule derives its bar; None: the arm's own best.
    """
    if rule.by == "loss":
        well_SL = curve.outcome("loss") < LOSS_SHARE * curve.start("loss")[:, None]
    else:
        well_SL = curve.outcome("accuracy") >= bars(curve, rule, best)[:, None] - _ROUNDING
    return np.asarray(well_SL)  # the outcome of a run that diverged is its start, and every bar is above the start


def bars(curve: ResponseCurve, rule: Rule, best: float | None = None) -> FloatArray:
    """Return (S,): the accuracies from which on the runs of each seed are trained.

    Args:
        curve: The outcomes of the arm over the grid.
        rule: When a run is trained; one that asks the accuracy.
        best: The accuracy from which the rule derives its bar; None: the arm's own best.
    """
    best = best_accuracy(curve) if best is None else best
    return np.maximum(best - rule.margin, curve.start("accuracy") + rule.margin)


def best_accuracy(*curves: ResponseCurve) -> float:
    """Return the best accuracy of some arms: the highest mean over seeds that any of them has at one LR."""
    return max(float(curve.outcome("accuracy").mean(0).max()) for curve in curves)


def trainable_range(curve: ResponseCurve, rule: Rule | None = None, best: float | None = None) -> TrainableRange:
    """Return from which LR to which an arm trains.

    Args:
        curve: The outcomes of the arm over the grid.
        rule: When a run is trained; None: the usual rule.
        best: The accuracy from which the rule derives its bar; None: the arm's own best.

    Source:
        Ours.

    Example:
        >>> curve = ResponseCurve(lrs=(0.1, 1.0, 10.0), seeds=(0,), loss=((0.3, 0.2, 2.3),), start_loss=(2.3,),
        ...                       accuracy=((0.90, 0.93, 0.10),), start_accuracy=(0.1,), diverged=((False,) * 3,))
        >>> found = trainable_range(curve)
        >>> found.max_lr.value, found.max_lr.side, found.min_lr.side, found.width_of_seeds.value
        (1.0, 'exact', 'at_most', 1.0)
    """
    rule = rule or Rule()
    trained_SL = trained(curve, rule, best)
    badness_SL = curve.badness(rule.by)
    enough_L = trained_SL.mean(0) >= rule.quota - _ROUNDING
    ends = _ends(enough_L, place_of_least(badness_SL.mean(0)))
    reached = () if ends is None else range(ends[0], ends[1] + 1)
    of_seeds = [_ends(row, place_of_least(bad)) for row, bad in zip(trained_SL, badness_SL, strict=True)]
    maxima = [_maximum(curve.lrs, e) for e in of_seeds]
    widths = [_width(curve.lrs, e) for e in of_seeds]
    max_lr, max_side = _maximum(curve.lrs, ends)
    n = len(curve.seeds)
    return TrainableRange(
        max_lr=Bounded(max_lr, None, None, n, max_side),
        min_lr=Bounded(None, None, None, n, "unknown")
        if ends is None
        else Bounded(curve.lrs[ends[0]], None, None, n, "at_most" if ends[0] == 0 else "exact"),
        max_lr_of_seeds=bounded_mean([lr for lr, _ in maxima], [side for _, side in maxima], "log"),
        width_of_seeds=bounded_mean([w for w, _ in widths], [side for _, side in widths], within=(0, math.inf)),
        max_lr_by_seed=tuple(lr for lr, _ in maxima),
        max_side_by_seed=tuple(side for _, side in maxima),
        width_by_seed=tuple(width for width, _ in widths),
        width_side_by_seed=tuple(side for _, side in widths),
        beyond_gap=tuple(lr for i, lr in enumerate(curve.lrs) if enough_L[i] and i not in reached),
    )


def _ends(ok_L: BoolArray, best: int) -> tuple[int, int] | None:
    """Return the first and last place of the unbroken range around the best one; None if that one is none."""
    if not ok_L[best]:
        return None
    first = last = best
    while first > 0 and ok_L[first - 1]:
        first -= 1
    while last < len(ok_L) - 1 and ok_L[last + 1]:
        last += 1
    return first, last


def _maximum(lrs: tuple[float, ...], ends: tuple[int, int] | None) -> tuple[float | None, Side]:
    if ends is None:  # no bound either: a grid of decades can step over all that trains
        return None, "unknown"
    return lrs[ends[1]], "at_least" if ends[1] == len(lrs) - 1 else "exact"


def _width(lrs: tuple[float, ...], ends: tuple[int, int] | None) -> tuple[float | None, Side]:
    if ends is None:  # it may train off the grid, over nobody knows how many decades
        return None, "unknown"
    at_edge = ends[0] == 0 or ends[1] == len(lrs) - 1
    return math.log10(lrs[ends[1]] / lrs[ends[0]]), "at_least" if at_edge else "exact"
