"""Learning-rate sensitivity of a sweep: the figures of each arm, beside a reference, and what must be said aloud."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bnlab.errors import StudyError
from bnlab.results.arms import Arm, SweepArms
from bnlab.results.outcomes import in_words
from bnlab.results.sweep import SweepRuns, read_sweep
from bnlab.stats.pairing import Comparison, compare
from bnlab.stats.response import Metric, ResponseCurve
from bnlab.stats.sensitivity import (
    TOLERANCE,
    Sensitivity,
    grid_step,
    is_even,
    measure_sensitivity,
)
from bnlab.stats.trainable import LOSS_SHARE, Rule, bars, best_accuracy

FEW_SEEDS = 5
"""Below, an interval says little: with 3 seeds Student's is 4.3 standard errors to each side."""


@dataclass(frozen=True)
class ArmSensitivity:
    """The figures of one arm.

    Attributes:
        arm: The arm, with its runs and its best learning rate.
        curve: Its outcomes over the whole grid; None if no seed has an outcome at every learning rate of the sweep.
        bar: The accuracy from which on a run is trained: the best of its peers less the rule's margin, or the start
            plus that margin where that is more; of the seed with the highest start. None where it has no curve, or
            where the rule asks the loss.
        figures: All figures of its curve; None where it has none.
        reference: The label of the arm that it is compared with; None for the reference itself, or if there is none.
        against: This arm less the reference, on the seeds that both have; None where there is no reference.
    """

    arm: Arm
    curve: ResponseCurve | None
    bar: float | None
    figures: Sensitivity | None
    reference: str | None
    against: Comparison | None


@dataclass(frozen=True)
class SweepSensitivity:
    """The learning-rate sensitivity of every arm of a sweep.

    Attributes:
        folder: The folder of the sweep.
        arms: In the order of the sweep.
        grid: The runs in their arms, the learning rates and the seeds.
        facts: The settings that are the same in all runs.
        rule: When a run is trained.
        by: The metric of best rates, tolerance, tables and charts.
        tolerance: Share of the best that the tolerance width gives away.
        sentences: What a reader must know besides the figures.
    """

    folder: Path
    arms: list[ArmSensitivity]
    grid: SweepArms
    facts: dict[str, Any]
    rule: Rule
    by: Metric
    tolerance: float
    sentences: list[str]

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values; what is not known is None."""
        return {
            "folder": str(self.folder),
            "lrs": list(self.grid.lrs),
            "seeds": list(self.grid.seeds),
            "facts": self.facts,
            "rule": asdict(self.rule),
            "by": self.by,
            "tolerance": self.tolerance,
            "missing": self.grid.missing,
            "sentences": self.sentences,
            "arms": [_arm_as_dict(each, self.by) for each in self.arms],
        }


def read_sensitivity(
    folder: Path, rule: Rule | None = None, by: Metric = "loss", sweep: SweepRuns | None = None
) -> SweepSensitivity:
    """Read the runs of a sweep, and measure the learning-rate sensitivity of its arms.

    An arm's peers are the arms that differ from it by their norm alone; where no norm is swept, those on the same data.
    Its bar depends on the best accuracy among them, and its reference is ``norm=none`` of them, else the first.

    Args:
        folder: A sweep's folder; any folder of runs with two or more learning rates will do.
        rule: When a run is trained; None: the usual one.
        by: The metric of best rates and tolerance in tables and charts.
        sweep: The folder, as the caller has read it; None: it is read.

    Raises:
        StudyError: There are no runs, or fewer than two learning rates.
    """
    rule = rule or Rule()
    sweep = sweep or read_sweep(folder)
    grid = sweep.read_arms()
    if not grid.arms:
        raise StudyError(f"{folder} holds no runs that can be read. Sweep them: bnlab lr-sensitivity.")
    if len(grid.lrs) < 2:
        raise StudyError(
            f"a learning-rate curve needs 2 or more learning rates, {folder} has {len(grid.lrs)} ({grid.lrs[0]:g}). "
            "Sweep them: 'optim.lr=logspace(1e-3,10,9)'."
        )
    curves = [(arm, arm.response_curve(grid.lrs)) for arm in grid.arms]
    arms = [_measured(arm, curve, _peers(arm, curves), rule, by) for arm, curve in curves]
    sentences = _sentences(grid, arms, rule, by)
    return SweepSensitivity(folder, arms, grid, sweep.shared_settings(), rule, by, TOLERANCE[by], sentences)


_Curves = list[tuple[Arm, ResponseCurve | None]]


def _measured(arm: Arm, curve: ResponseCurve | None, peers: _Curves, rule: Rule, by: Metric) -> ArmSensitivity:
    if curve is None:
        return ArmSensitivity(arm, None, None, None, None, None)
    best = best_accuracy(*(of_peer for _, of_peer in peers if of_peer is not None))
    bar = float(bars(curve, rule, best).max()) if rule.by == "accuracy" else None
    reference, other = next((peer for peer in peers if peer[0].settings.get("norm") == "none"), peers[0])
    against = None
    if reference is not arm and other is not None and not set(curve.seeds).isdisjoint(other.seeds):
        against = compare(curve, other, rule, best)
    figures = measure_sensitivity(curve, rule, best, by)
    return ArmSensitivity(arm, curve, bar, figures, reference.label if against else None, against)


def _peers(arm: Arm, curves: _Curves) -> _Curves:
    """Return the arms that an arm is compared with, itself among them."""
    is_norm_swept = any("norm" in other.settings for other, _ in curves)

    def rest(one: Arm) -> dict[str, Any]:
        if is_norm_swept:
            return {key: value for key, value in one.settings.items() if key.partition(".")[0] != "norm"}
        return {key: value for key, value in one.settings.items() if key.partition(".")[0] == "data"}

    return [(other, curve) for other, curve in curves if rest(other) == rest(arm)]


def _sentences(grid: SweepArms, arms: list[ArmSensitivity], rule: Rule, by: Metric) -> list[str]:
    sentences = grid.sentences()
    if grid.num_missing:
        sentences.append("Run the command again to fill in what is missing.")
    for each in arms:
        sentences += _of_arm(each, by)
    diverged = [f"{a.arm.label} {a.figures.diverged.value:.0%}" for a in arms if a.figures and a.figures.diverged.value]
    if diverged:
        sentences.append(f"Diverged, of all runs of an arm: {', '.join(diverged)}. The outcome of each is its start.")
    if not is_even(grid.lrs):
        sentences.append(
            "The grid is not even in log LR: the sensitivities weigh each of its points alike, its dense parts more."
        )
    num_seeds = min((len(a.figures.seeds) for a in arms if a.figures is not None), default=0)
    if 0 < num_seeds < FEW_SEEDS:
        told = "1 seed has no interval" if num_seeds == 1 else f"{num_seeds} seeds are a smoke test, not a measurement"
        sentences.append(f"{told}: take 5 or more, 'seed=range(5)'.")
    sentences += _nothing_learned(arms, rule)
    sentences.append(_the_rule(grid, arms, rule))
    return sentences


def _nothing_learned(arms: list[ArmSensitivity], rule: Rule) -> list[str]:
    """Return a sentence if the best accuracy of all is hardly above the start."""
    curves = [each.curve for each in arms if each.curve is not None]
    if not curves:
        return []
    best, start = best_accuracy(*curves), min(min(curve.start_accuracy) for curve in curves)
    if best >= start + 2 * rule.margin:
        return []
    return [
        f"No arm learned much: the best accuracy is {best:.1%}, at the start it was {start:.1%}. "
        "Train longer, or widen the grid."
    ]


def _of_arm(each: ArmSensitivity, by: Metric) -> list[str]:
    """Return what must be said aloud of one arm."""
    label, figures = each.arm.label, each.figures
    if figures is None:
        beside = " but its best learning rate" if each.arm.compared else ""
        return [f"{label} has no complete seed over the whole grid, and so no figures{beside}."]
    trainable, best = figures.trainable, figures.best(by)
    untrained = [seed for seed, lr in zip(figures.seeds, trainable.max_lr_by_seed, strict=True) if lr is None]
    lowest, highest = figures.lrs[0], figures.lrs[-1]
    sentences = []
    if best.value is None:
        sentences.append(f"{label}: no run ended better than it started.")
    elif best.at_edge is not None:
        cure = "higher" if best.at_edge == "highest" else "lower"
        sentences.append(f"{label}: its best LR, {best.value:g}, is the {best.at_edge} of the grid. Try {cure} ones.")
    if best.value is not None and figures.tolerance_width.value is None:
        sentences.append(
            f"{label}: at least one seed ends within {TOLERANCE[by]:.0%} of its start at every LR. How much the LR "
            "matters cannot be told."
        )
    if trainable.max_lr.value is None:
        return [*sentences, _of_untrained(label, figures)]
    if untrained:
        sentences.append(
            f"{label}: no LR of the grid trains {in_words(untrained)}, so the largest one of each seed is unknown, and "
            f"so is its ratio to another arm's. {_finer(figures.lrs)}"
        )
    if trainable.max_lr.side == "at_least":
        sentences.append(f"{label}: still trains at {highest:g}, the highest LR: its maximum is a lower bound.")
    if trainable.min_lr.side == "at_most":
        sentences.append(f"{label}: still trains at {lowest:g}, the lowest LR: its width is a lower bound.")
    if trainable.beyond_gap:
        lrs = ", ".join(f"{lr:g}" for lr in trainable.beyond_gap)
        sentences.append(f"{label}: trains at {lrs} too, beyond LRs that fail; its range does not count that.")
    return sentences


def _of_untrained(label: str, figures: Sensitivity) -> str:
    where = f"the grid, {figures.lrs[0]:g} to {figures.lrs[-1]:g}"
    elsewhere = ", ".join(f"{lr:g}" for lr in figures.trainable.beyond_gap)
    if elsewhere:  # the seeds disagree so much that the best mean is not where most of them train
        return f"{label}: too few seeds train at the best LR of {where}, but enough do at {elsewhere}. Take more seeds."
    return (
        f"{label}: trains at no LR of {where}: its largest one is unknown, and so is its ratio to another arm's. "
        f"{_finer(figures.lrs)} Lower ones, or more steps, may show it too."
    )


def _finer(lrs: tuple[float, ...]) -> str:
    """Return a sentence that proposes a grid of half the step."""
    return f"A finer grid may show it: 'optim.lr=logspace({lrs[0]:g},{lrs[-1]:g},{2 * len(lrs) - 1})'."


def _the_rule(grid: SweepArms, arms: list[ArmSensitivity], rule: Rule) -> str:
    step = f"Figures on the grid are known to one step, a factor of {grid_step(grid.lrs):.3g}."
    quota = f"on at least {rule.quota:.0%} of the seeds"
    if rule.by == "loss":
        return f"An LR trains if the validation loss ends below {LOSS_SHARE:g} of its start, {quota}. {step}"
    in_force = dict.fromkeys(f"{bar:.1%}" for bar in sorted({each.bar for each in arms if each.bar is not None}))
    here = f" (the limit here is {' or '.join(in_force)})" if in_force else ""
    among = "best arm's best" if len(in_force) < 2 else "best of the arms it is compared with"
    points = f"{100 * rule.margin:g} points"
    by_start = f" and {points} above its start" if any(_is_barred_by_start(each, rule) for each in arms) else ""
    of_best = f"within {points} of the {among}{by_start}{here}"
    return f"An LR trains if the validation accuracy ends {of_best}, {quota}. {step}"


def _is_barred_by_start(each: ArmSensitivity, rule: Rule) -> bool:
    """Return whether the start, and not the best, decides the bar, at least for one seed."""
    return each.curve is not None and each.bar == max(each.curve.start_accuracy) + rule.margin


def _arm_as_dict(each: ArmSensitivity, by: Metric) -> dict[str, Any]:
    curve, best = each.curve, each.arm.best(by)
    points = None
    if curve is not None:
        points = {
            "loss": curve.outcome("loss").tolist(),
            "accuracy": curve.outcome("accuracy").tolist(),
            "diverged": curve.has_diverged().tolist(),
            "start_loss": list(curve.start_loss),
            "start_accuracy": list(curve.start_accuracy),
        }
    return {
        "arm": each.arm.label,
        "settings": each.arm.settings,
        "missing": each.arm.missing,
        "best": None
        if best is None
        else {
            "lr": best.lr,
            "outcome": asdict(best.cell.mean(by)),
            "seeds": list(best.cell.outcomes),
            "at_edge": best.edge,
        },
        "bar": each.bar,
        "figures": None if each.figures is None else asdict(each.figures),
        "reference": each.reference,
        "against_reference": None if each.against is None else asdict(each.against),
        "points": points,
    }
