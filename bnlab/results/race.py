"""The arms of a race: each is what its words say, and may differ from the others in anything."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bnlab.results.arms import SEED, Arm, read_arms
from bnlab.results.curves import Curve
from bnlab.results.outcomes import Cell
from bnlab.runfolder.index import read_run_rows

SATURATION = "saturation"


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


def cell_of(arm: Arm) -> Cell | None:
    """Return the runs of an arm of a race, which differ by their seed alone; None where none is there."""
    return arm.cells[0] if arm.cells else None


def has_one_seed(arms: Sequence[Arm]) -> bool:
    """Return whether no setting of any arm has two runs with an outcome, and one has one: there are no intervals."""
    return max((len(cell.outcomes) for arm in arms for cell in arm.cells), default=0) == 1


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
