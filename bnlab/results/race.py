"""The arms of a race: each is what its words say, and may differ from the others in anything."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bnlab.results.arms import SEED, Arm, read_arms
from bnlab.results.curves import Curve
from bnlab.runfolder.index import read_run_rows
from bnlab.stats.estimate import Estimate, mean_over_seeds

SATURATION = "saturation"

SHARE = (0.0, 1.0)
"""Where a mean of accuracies lies."""


@dataclass(frozen=True)
class Saturated:
    """How much of an arm was saturated, as means over its seeds.

    Attributes:
        start: Share of all its units before the first step: the mean over layers.
        most: The largest share that any layer had at any measured step.
    """

    start: float
    most: float


def read_race(folder: Path, parts: Mapping[str, Sequence[str]]) -> tuple[Arm, ...]:
    """Return the arms of a race, in order; one of which no run is there has no cells.

    Args:
        folder: The folder with the runs.
        parts: Label of each arm -> the ids of its runs.
    """
    rows = {row["run_id"]: row for row in read_run_rows(folder)}
    arms = []
    for label, names in parts.items():
        found = read_arms([rows[name] for name in names if name in rows], [SEED], names).arms
        arms.append(replace(found[0], label=label) if found else Arm(label, label, {}, ()))
    return tuple(arms)


def accuracies_by_seed(arm: Arm) -> dict[int, float]:
    """Return the test accuracy of each run of an arm that has one, by seed."""
    runs = [run for cell in arm.cells for run in cell.runs if run.outcome is not None and run.row is not None]
    return {run.seed: run.row["test_accuracy"] for run in runs if run.row and run.row.get("test_accuracy") is not None}


def mean_test_accuracy(arm: Arm) -> Estimate | None:
    """Return the mean test accuracy of an arm over its seeds; None where no run has one."""
    found = list(accuracies_by_seed(arm).values())
    return mean_over_seeds(found, within=SHARE) if found else None


def difference(first: Arm, second: Arm) -> Estimate | None:
    """Return by how much the test accuracy of one arm exceeds another's, seed by seed; None without a common seed.

    Args:
        first: The arm from whose accuracy the other one's is taken.
        second: The other arm.
    """
    ours, theirs = accuracies_by_seed(first), accuracies_by_seed(second)
    pairs = [ours[seed] - theirs[seed] for seed in ours if seed in theirs]
    return mean_over_seeds(pairs) if pairs else None


def gain(arm: Arm) -> float | None:
    """Return by how much the mean validation accuracy of an arm rose in training; None where no run has an outcome."""
    outcomes = [outcome for cell in arm.cells for outcome in cell.outcomes.values()]
    if not outcomes:
        return None
    return sum(outcome.accuracy - outcome.start_accuracy for outcome in outcomes) / len(outcomes)


def saturated(curves: Mapping[str, Curve]) -> Saturated | None:
    """Return how much of an arm was saturated; None where that was not measured.

    Args:
        curves: The arm's curves by tag, as `read_best_curves` returns them.
    """
    layers = [curve for tag, curve in curves.items() if tag.partition("/")[0] == SATURATION and tag.count("/") == 1]
    if not layers or any(curve.steps[0] != 0 for curve in layers):
        return None
    start = sum(curve.mean[0] for curve in layers) / len(layers)
    return Saturated(start, max(max(curve.mean) for curve in layers))
