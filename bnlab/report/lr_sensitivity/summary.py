"""Learning-rate sensitivity of a sweep: each arm's figures, each against a reference, and what must be said aloud."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bnlab.results.responses import ArmRuns, Responses, read_responses
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

NAMED = 6
"""Missing runs that a sentence names; the JSON has all."""


@dataclass(frozen=True)
class ArmSensitivity:
    """One arm's figures.

    Attributes:
        arm: Which arm.
        bar: The accuracy that counts as trained: below the best of its peers by the rule's margin, and above the start
            by it; of the seed with the highest start, where that decides. None where it has no curve, or the rule asks
            the loss.
        figures: None where none of its seeds is complete.
        reference: The arm that it is compared with; None for the reference itself, and where there is none.
        against: This arm against the reference, seed by seed.
    """

    arm: ArmRuns
    bar: float | None
    figures: Sensitivity | None
    reference: str | None
    against: Comparison | None


@dataclass(frozen=True)
class SweepSensitivity:
    """What a sweep says about learning rates.

    Attributes:
        folder: The sweep's.
        arms: In the order of the sweep.
        grid: All that the arms share: learning rates, seeds, facts.
        rule: When a run counts as trained.
        by: What the tolerance is asked of, and what tables and charts are about.
        tolerance: Share of the best that the tolerance width gives away.
        sentences: What a reader must know besides the figures.
    """

    folder: Path
    arms: list[ArmSensitivity]
    grid: Responses
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
            "facts": self.grid.facts,
            "rule": asdict(self.rule),
            "by": self.by,
            "tolerance": self.tolerance,
            "sentences": self.sentences,
            "arms": [_arm_as_dict(each) for each in self.arms],
        }


def read_sensitivity(folder: Path, rule: Rule | None = None, by: Metric = "loss") -> SweepSensitivity:
    """Read what a sweep says about learning rates.

    An arm's peers are the arms that differ from it by their norm alone; where no norm is swept, those on the same data.
    Its bar hangs from the best accuracy among them, and its reference is ``norm=none`` of them, else the first.

    Args:
        folder: The sweep's.
        rule: When a run counts as trained; None: the usual one.
        by: What a best LR and a tolerance are asked of in tables and charts.
    """
    rule = rule or Rule()
    grid = read_responses(folder)
    arms = [_measured(arm, _peers(arm, grid.arms), rule, by) for arm in grid.arms]
    return SweepSensitivity(folder, arms, grid, rule, by, TOLERANCE[by], _sentences(grid, arms, rule, by))


def _measured(arm: ArmRuns, peers: list[ArmRuns], rule: Rule, by: Metric) -> ArmSensitivity:
    curves = [peer.curve for peer in peers if peer.curve is not None]
    if arm.curve is None:
        return ArmSensitivity(arm, None, None, None, None)
    best = best_accuracy(*curves)
    bar = float(bars(arm.curve, rule, best).max()) if rule.by == "accuracy" else None
    reference = next((peer for peer in peers if peer.settings.get("norm") == "none"), peers[0])
    against = None
    if reference is not arm and reference.curve is not None and _share_seeds(arm.curve, reference.curve):
        against = compare(arm.curve, reference.curve, rule, best)
    figures = measure_sensitivity(arm.curve, rule, best, by)
    return ArmSensitivity(arm, bar, figures, reference.label if against else None, against)


def _share_seeds(first: ResponseCurve, second: ResponseCurve) -> bool:
    return not set(first.seeds).isdisjoint(second.seeds)


def _peers(arm: ArmRuns, arms: list[ArmRuns]) -> list[ArmRuns]:
    """Return the arms that an arm is held against, itself among them."""
    is_norm_swept = any("norm" in other.settings for other in arms)

    def rest(one: ArmRuns) -> dict[str, Any]:
        if is_norm_swept:
            return {key: value for key, value in one.settings.items() if key.partition(".")[0] != "norm"}
        return {key: value for key, value in one.settings.items() if key.partition(".")[0] == "data"}

    return [other for other in arms if rest(other) == rest(arm)]


def _sentences(grid: Responses, arms: list[ArmSensitivity], rule: Rule, by: Metric) -> list[str]:
    sentences = _what_is_missing(grid)
    for each in arms:
        sentences += _of_arm(each, by)
    lost = [f"{a.arm.label} {a.figures.diverged.value:.0%}" for a in arms if a.figures and a.figures.diverged.value]
    if lost:
        sentences.append(f"Diverged, of all runs of an arm: {', '.join(lost)}. Each of them counts as its start.")
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
    curves = [each.arm.curve for each in arms if each.arm.curve is not None]
    if not curves:
        return []
    best, start = best_accuracy(*curves), min(min(curve.start_accuracy) for curve in curves)
    if best >= start + 2 * rule.margin:
        return []
    return [
        f"No arm learned much: the best accuracy is {best:.1%}, at the start it was {start:.1%}. "
        "Train longer, or widen the grid."
    ]


def _what_is_missing(grid: Responses) -> list[str]:
    named = [text for arm in grid.arms for text in arm.missing]
    num_missing = len(named) + grid.num_unknown
    if not num_missing:
        return []
    examples = named[:NAMED]
    if num_missing > len(examples):
        examples.append(
            f"{num_missing - len(examples)} more" if examples else "with nothing of their arm, learning rate or seed"
        )
    return [
        f"{num_missing} run{'s are' if num_missing > 1 else ' is'} missing ({'; '.join(examples)}). Their seeds are "
        "left out of their arms' figures. Run the command again to fill them in."
    ]


def _of_arm(each: ArmSensitivity, by: Metric) -> list[str]:
    """Return what must be said aloud of one arm."""
    label, figures = each.arm.label, each.figures
    if figures is None:
        return [f"{label} has no complete seed, and so no figures."]
    trainable, best = figures.trainable, figures.best(by)
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
    if trainable.min_lr.value is None:
        return [*sentences, _of_untrained(label, figures)]
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
    return f"{label}: trains at no LR of {where}. Lower ones, or more steps, may show whether it can."


def _the_rule(grid: Responses, arms: list[ArmSensitivity], rule: Rule) -> str:
    step = f"Figures on the grid are known to one step, a factor of {grid_step(grid.lrs):.3g}."
    quota = f"on at least {rule.quota:.0%} of the seeds"
    if rule.by == "loss":
        return f"An LR trains if the validation loss ends below {LOSS_SHARE:g} of its start, {quota}. {step}"
    in_force = dict.fromkeys(f"{bar:.1%}" for bar in sorted({each.bar for each in arms if each.bar is not None}))
    here = f" ({' or '.join(in_force)} here)" if in_force else ""
    among = "best arm's best" if len(in_force) < 2 else "best of the arms it is compared with"
    points = f"{100 * rule.margin:g} points"
    by_start = f" and {points} above its start" if any(_is_barred_by_start(each, rule) for each in arms) else ""
    of_best = f"within {points} of the {among}{by_start}{here}"
    return f"An LR trains if the validation accuracy ends {of_best}, {quota}. {step}"


def _is_barred_by_start(each: ArmSensitivity, rule: Rule) -> bool:
    """Return whether the start, and not the best, says what counts as trained, of a seed at least."""
    return each.arm.curve is not None and each.bar == max(each.arm.curve.start_accuracy) + rule.margin


def _arm_as_dict(each: ArmSensitivity) -> dict[str, Any]:
    curve = each.arm.curve
    points = None
    if curve is not None:
        points = {
            "loss": curve.counted("loss").tolist(),
            "accuracy": curve.counted("accuracy").tolist(),
            "diverged": curve.lost().tolist(),
            "start_loss": list(curve.start_loss),
            "start_accuracy": list(curve.start_accuracy),
        }
    return {
        "arm": each.arm.label,
        "settings": each.arm.settings,
        "missing": each.arm.missing,
        "bar": each.bar,
        "figures": None if each.figures is None else asdict(each.figures),
        "reference": each.reference,
        "against_reference": None if each.against is None else asdict(each.against),
        "points": points,
    }
