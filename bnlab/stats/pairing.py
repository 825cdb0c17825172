"""One arm against another, seed by seed."""

from dataclasses import dataclass

from bnlab.errors import StudyError
from bnlab.stats.censoring import Bounded, bounded_mean, combined, opposite
from bnlab.stats.estimate import Estimate, mean_over_seeds
from bnlab.stats.response import Metric, ResponseCurve
from bnlab.stats.sensitivity import sensitivity_by_seed
from bnlab.stats.trainable import Rule, best_accuracy, trainable_range


@dataclass(frozen=True, slots=True)
class Comparison:
    """One arm against another on the seeds that both have, pair by pair.

    Attributes:
        max_lr_ratio: Geometric mean over seeds of this arm's maximal LR over the other's, with its interval. Known to
            within one step of the grid; ``unknown`` where one of them is, or both are at least the grid's highest LR.
        width_difference: Mean over seeds of this arm's trainable width less the other's, in decades; ``unknown`` alike.
        loss_sensitivity_difference: Mean over seeds of this arm's LR sensitivity less the other's.
        accuracy_sensitivity_difference: The same of the accuracy.
        seeds: Those that both have.
    """

    max_lr_ratio: Bounded
    width_difference: Bounded
    loss_sensitivity_difference: Estimate
    accuracy_sensitivity_difference: Estimate
    seeds: tuple[int, ...]


def compare(
    arm: ResponseCurve, other: ResponseCurve, rule: Rule | None = None, best: float | None = None
) -> Comparison:
    """Return one arm against another, pair by pair on the seeds that both have.

    A seed stands for the same initial weights (where shapes allow), the same batches and the same noise in all arms:
    what it adds to both cancels in their ratio.

    Args:
        arm: The outcomes of the arm whose advantage is asked for.
        other: The outcomes of the arm that it is compared with, on the same grid.
        rule: When a run is trained; None: the usual rule.
        best: The accuracy from which the rule derives its bar; None: the best that either arm reached.

    Raises:
        StudyError: Their grids differ, or they have no seed in common.
    """
    if arm.lrs != other.lrs:
        raise StudyError(f"arms are compared on one grid of learning rates, got {list(arm.lrs)} and {list(other.lrs)}")
    seeds = tuple(seed for seed in arm.seeds if seed in other.seeds)
    if not seeds:
        raise StudyError(f"arms are compared on common seeds, got {list(arm.seeds)} and {list(other.seeds)}")
    best = best_accuracy(arm, other) if best is None else best
    pairs = [(arm.seeds.index(seed), other.seeds.index(seed)) for seed in seeds]
    this, that = trainable_range(arm, rule, best), trainable_range(other, rule, best)
    differences = {}
    metrics: tuple[Metric, Metric] = ("loss", "accuracy")
    for metric in metrics:
        own_S, others_S = sensitivity_by_seed(arm, metric), sensitivity_by_seed(other, metric)
        differences[metric] = mean_over_seeds([float(own_S[i] - others_S[j]) for i, j in pairs])
    return Comparison(
        max_lr_ratio=bounded_mean(
            [_ratio(this.max_lr_by_seed[i], that.max_lr_by_seed[j]) for i, j in pairs],
            [combined(this.max_side_by_seed[i], opposite(that.max_side_by_seed[j])) for i, j in pairs],
            "log",
        ),
        width_difference=bounded_mean(
            [_difference(this.width_by_seed[i], that.width_by_seed[j]) for i, j in pairs],
            [combined(this.width_side_by_seed[i], opposite(that.width_side_by_seed[j])) for i, j in pairs],
        ),
        loss_sensitivity_difference=differences["loss"],
        accuracy_sensitivity_difference=differences["accuracy"],
        seeds=seeds,
    )


def _ratio(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first / second


def _difference(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first - second
