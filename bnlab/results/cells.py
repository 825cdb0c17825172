"""The cells of a sweep: runs that differ by their seed alone, as one figure with an interval."""

import contextlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bnlab.errors import RunError
from bnlab.results.responses import read_start
from bnlab.results.sweep import LEARNING_RATE, SEED, SweepRuns
from bnlab.stats.estimate import Estimate, mean_over_seeds
from bnlab.stats.response import Metric, counts_as, first_best, is_lost

ENDED = frozenset({"finished", "diverged"})

MISSING = "missing"
"""What a run is called that was never begun."""


@dataclass(frozen=True)
class Cell:
    """Runs with the same settings but for the seed.

    Attributes:
        settings: Of what is swept, without the seed.
        num_runs: How many there are, or should be.
        num_diverged: How many of them diverged, or ended with a loss that is not finite.
        lacking: How many have no result, by what became of them: their status, or ``missing`` if they were never begun.
        validation_loss: Mean over the seeds that have a result, of what each counts as: its start, if it diverged or
            ended worse. None where none has.
        validation_accuracy: Likewise.
        test_accuracy: Likewise, but that one that diverged counts as what it ended with.
    """

    settings: dict[str, Any]
    num_runs: int
    num_diverged: int
    lacking: Mapping[str, int]
    validation_loss: Estimate | None
    validation_accuracy: Estimate | None
    test_accuracy: Estimate | None

    @property
    def num_lacking(self) -> int:
        """How many have no result."""
        return sum(self.lacking.values())


@dataclass(frozen=True)
class Arm:
    """The cells of one arm, over the learning rates.

    Attributes:
        settings: Of what is compared.
        cells: In the order of the sweep.
        best: The cell with the lowest mean validation loss, of those whose runs all have a result; None: there is none.
        at_the_edge: The best learning rate is the lowest or highest that was tried: there may be a better one beyond.
    """

    settings: dict[str, Any]
    cells: list[Cell]
    best: Cell | None
    at_the_edge: bool


def cells_of(sweep: SweepRuns) -> list[Cell]:
    """Return the cells of a sweep, in its order."""
    keys = [key for key in sweep.swept if key != SEED]
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in sweep.rows:
        groups.setdefault(repr([row.get(key) for key in keys]), []).append(row)
    # each cell of a grid has as many runs; of those that left no folder, nothing else says which cell is theirs
    most = max(map(len, groups.values()), default=0)
    num_absent = len(set(sweep.planned) - {row["run_id"] for row in sweep.rows})
    return [
        _cell({key: rows[0].get(key) for key in keys}, rows, min(most - len(rows), num_absent))
        for rows in groups.values()
    ]


def arms_of(sweep: SweepRuns) -> list[Arm]:
    """Return the arms of a sweep, in its order."""
    arms: dict[str, list[Cell]] = {}
    for cell in cells_of(sweep):
        settings = {key: value for key, value in cell.settings.items() if key != LEARNING_RATE}
        arms.setdefault(repr(settings), []).append(cell)
    return [_arm(cells) for cells in arms.values()]


def _arm(cells: list[Cell]) -> Arm:
    settings = {key: value for key, value in cells[0].settings.items() if key != LEARNING_RATE}
    whole = [(cell, cell.validation_loss.value) for cell in cells if cell.validation_loss and not cell.num_lacking]
    best = whole[first_best(np.array([loss for _, loss in whole]))][0] if whole else None
    rates = [cell.settings[LEARNING_RATE] for cell in cells if LEARNING_RATE in cell.settings]
    at_the_edge = best is not None and len(rates) > 1 and best.settings[LEARNING_RATE] in {min(rates), max(rates)}
    return Arm(settings, cells, best, at_the_edge)


def _cell(settings: dict[str, Any], rows: Sequence[dict[str, Any]], num_missing: int) -> Cell:
    told = [row for row in rows if row["status"] in ENDED]
    lacking = Counter(row["status"] for row in rows if row["status"] not in ENDED)
    lacking += Counter({MISSING: num_missing})  # which leaves out what is 0
    lost = [bool(is_lost(row.get("validation_loss"), row["status"] == "diverged")) for row in told]
    starts = [_start(row) for row in told]
    losses = [_counted("loss", *run) for run in zip(told, starts, lost, strict=True)]
    accuracies = [_counted("accuracy", *run) for run in zip(told, starts, lost, strict=True)]
    return Cell(
        settings,
        num_runs=len(rows) + num_missing,
        num_diverged=sum(lost),
        lacking=dict(lacking),
        validation_loss=_mean(losses),
        validation_accuracy=_mean(accuracies),
        test_accuracy=_mean([math.nan if (value := row.get("test_accuracy")) is None else value for row in told]),
    )


def _start(row: dict[str, Any]) -> dict[Metric, float]:
    loss = accuracy = math.nan
    with contextlib.suppress(RunError):  # its records are damaged: if it diverged, it cannot be counted
        loss, accuracy = read_start([row]) or (math.nan, math.nan)
    return {"loss": loss, "accuracy": accuracy}


def _counted(metric: Metric, row: dict[str, Any], start: dict[Metric, float], lost: bool) -> float:
    return float(counts_as(metric, row.get(f"validation_{metric}"), start[metric], lost))


def _mean(values: list[float]) -> Estimate | None:
    known = [value for value in values if math.isfinite(value)]
    return mean_over_seeds(known) if known else None
