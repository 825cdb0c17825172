"""The outcome of each run of a sweep, and the cells of its grid: runs that differ by their seed alone.

A run that diverged, whose loss is not finite, or that ended worse than it started has its start as its outcome: it
learned nothing that is of use, and leaving it out would make a setting look better the more runs it destroys.
A run without an end or without a start has no outcome, and is missing.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bnlab.errors import RunError
from bnlab.records import ENDED
from bnlab.runfolder.json_lines import read_first_lines
from bnlab.stats.estimate import Estimate, mean_over_seeds
from bnlab.stats.response import RANGE, Metric, has_diverged, outcome_of

Row = Mapping[str, Any]

MISSING = "missing"
"""Stands in tables in place of the status of a run that has none: it left no folder, or its records are damaged."""

NOT_THERE = "not there"
"""The reason why a planned run without a folder is missing."""


NUM_NAMED = 6
"""Missing runs or seeds that a sentence names; of the others it gives the number."""


@dataclass(frozen=True)
class Outcome:
    """The figures with which one run enters every mean and every comparison; all of them are finite.

    Attributes:
        loss: Validation loss at the end, or at the start if the run diverged or ended worse.
        accuracy: Validation accuracy at the end, a share, or at the start if the run diverged or ended worse.
        start_loss: Validation loss before the first step.
        start_accuracy: Validation accuracy before the first step, a share.
        diverged: Whether the run diverged, or ended with a loss that is not finite.
    """

    loss: float
    accuracy: float
    start_loss: float
    start_accuracy: float
    diverged: bool

    def value(self, metric: Metric) -> float:
        """Return the loss or the accuracy."""
        return self.loss if metric == "loss" else self.accuracy

    def start(self, metric: Metric) -> float:
        """Return the loss or the accuracy before the first step."""
        return self.start_loss if metric == "loss" else self.start_accuracy


@dataclass(frozen=True)
class ArmRun:
    """One run of an arm, whether it is there or not.

    Attributes:
        lr: The learning rate that was set.
        seed: The seed of the run.
        row: The run as `read_run_rows` gives it; None if the run left no folder.
        outcome: The figures that the run ended with; None if it is missing.
        reason: Why the run is missing: its status, ``not there``, or what is wrong with its records. Otherwise empty.
    """

    lr: float
    seed: int
    row: Row | None
    outcome: Outcome | None
    reason: str = ""


@dataclass(frozen=True)
class Cell:
    """The runs of an arm at one learning rate, which differ by their seed alone.

    Attributes:
        lr: The learning rate that was set.
        runs: One per seed, rising by seed.
    """

    lr: float
    runs: tuple[ArmRun, ...]

    @cached_property
    def outcomes(self) -> dict[int, Outcome]:
        """The outcomes by seed, of the runs that have one."""
        return {run.seed: run.outcome for run in self.runs if run.outcome is not None}

    @property
    def num_diverged(self) -> int:
        """How many of the outcomes belong to runs that diverged."""
        return sum(outcome.diverged for outcome in self.outcomes.values())

    @property
    def num_missing(self) -> Counter[str]:
        """How many runs have no outcome, by their status."""
        rows = [run.row for run in self.runs if run.outcome is None]
        return Counter(MISSING if row is None or row["status"] in ENDED else row["status"] for row in rows)

    def mean(self, metric: Metric) -> Estimate:
        """Return the mean outcome over the seeds with its interval, which ends where no mean can lie.

        Raises:
            StudyError: No run has an outcome.
        """
        return mean_over_seeds([outcome.value(metric) for outcome in self.outcomes.values()], within=RANGE[metric])

    def mean_test_accuracy(self) -> Estimate | None:
        """Return the mean test accuracy over the seeds; a run that diverged enters with the one that it ended with."""
        known = list(self.test_accuracies().values())
        return mean_over_seeds(known, within=RANGE["accuracy"]) if known else None

    def test_accuracies(self) -> dict[int, float]:
        """Return the test accuracy by seed, of the runs that have an outcome and were tested."""
        rows = {run.seed: run.row for run in self.runs if run.outcome is not None and run.row is not None}
        return {seed: row["test_accuracy"] for seed, row in rows.items() if row.get("test_accuracy") is not None}

    def of_seeds(self, seeds: Iterable[int]) -> "Cell":
        """Return the cell with the runs of some seeds alone, of those that have an outcome."""
        kept = set(seeds)
        return Cell(self.lr, tuple(run for run in self.runs if run.seed in kept and run.outcome is not None))


def read_outcomes(rows: Mapping[float, Row], seed: int) -> dict[float, ArmRun]:
    """Return the runs of one arm and one seed with their outcomes, by learning rate.

    They start from the same weights, whatever their learning rate: any of them tells the start of all, and one file is
    opened rather than one per run.

    Args:
        rows: The runs that are there, by their learning rate.
        seed: The seed of all of them.
    """
    start: tuple[float, float] | str = "its records do not tell the loss at the start"
    for row in rows.values():
        if row["status"] in ENDED and isinstance(start, str):
            try:
                start = _read_start(row) or start
            except RunError as error:
                start = str(error)
    return {lr: _run(lr, seed, row, start) for lr, row in rows.items()}


def _run(lr: float, seed: int, row: Row, start: tuple[float, float] | str) -> ArmRun:
    if row["status"] not in ENDED:
        return ArmRun(lr, seed, row, None, row["status"])
    if isinstance(start, str):
        return ArmRun(lr, seed, row, None, start)
    diverged = bool(has_diverged(row.get("validation_loss"), row["status"] == "diverged"))
    loss = float(outcome_of("loss", row.get("validation_loss"), start[0], diverged))
    accuracy = float(outcome_of("accuracy", row.get("validation_accuracy"), start[1], diverged))
    return ArmRun(lr, seed, row, Outcome(loss, accuracy, *start, diverged))


def _read_start(row: Row) -> tuple[float, float] | None:
    """Return a run's validation loss and accuracy before its first step; None where its records do not tell them.

    Raises:
        RunError: The file of records is damaged.
    """
    for record in read_first_lines(Path(row["folder"]) / "metrics.jsonl"):
        if record["step"] > 0:
            break
        if record["kind"] == "eval" and record["split"] == "validation":
            start = record["values"].get("loss"), record["values"].get("accuracy")
            if all(isinstance(value, int | float) and math.isfinite(value) for value in start):
                return float(start[0]), float(start[1])
    return None


def in_words(seeds: Sequence[int]) -> str:
    """Return the names of some seeds, or how many they are.

    Example:
        >>> in_words([0, 3]), in_words([2])
        ('seeds 0, 3', 'seed 2')
    """
    if len(seeds) > NUM_NAMED:
        return f"{len(seeds)} seeds"
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
