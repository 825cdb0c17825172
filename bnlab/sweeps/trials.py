"""The trials of a search: which run each of them trains, how good that run is, and its losses on the way."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from bnlab.errors import RunError
from bnlab.records import as_record
from bnlab.results.outcomes import read_outcomes
from bnlab.runfolder.folder import RunFolder
from bnlab.sweeps.cohorts import PlannedCohort
from bnlab.sweeps.execute import SweepResult
from bnlab.sweeps.optuna_study import Judge


@dataclass(frozen=True)
class Trial:
    """One trial, as far as it has come.

    Attributes:
        chosen: The settings that were chosen, by key, as one would type them.
        run: Id of the run that has these settings; None where no run can have them.
        seed: Seed of the run.
        value: The objective; of a trial that was stopped early, its last validation loss before that. None: no value.
        problem: Why the trial failed, in one sentence; None: it did not.
        pruned_at: Step after which the pruner stopped the trial; None: it was not stopped early.
    """

    chosen: Mapping[str, str]
    run: str | None = None
    seed: int = 0
    value: float | None = None
    problem: str | None = None
    pruned_at: int | None = None


@dataclass
class OpenTrial:
    """A trial of which Optuna has not been told the outcome.

    Attributes:
        number: Its number in the study.
        shown: Its number for the user: that of the first trial which it repeats, or its own.
        trial: Its settings and its run.
        cohort: Its run, alone; None where no run can have its settings.
        judge: Says at which step the trial is stopped early; None: it never is.
        reported: Validation losses that the study has, by step.
        outcome: The trial with its outcome, which Optuna is to be told; None: it has not ended.
        is_told: Whether an earlier call told the outcome, and only the folder of the run has been lost since.
    """

    number: int
    shown: int
    trial: Trial
    cohort: PlannedCohort | None = None
    judge: Judge | None = None
    reported: dict[int, float] = field(default_factory=dict)
    outcome: Trial | None = None
    is_told: bool = False


@dataclass(frozen=True)
class SearchResult:
    """The outcome of a search.

    Attributes:
        sweep: The runs, in the order in which they were chosen first.
        trials: The trials that have ended, by number. Two trials may have the same run.
        problem: Why the search ended before its last trial, in one sentence; None: it did not.
    """

    sweep: SweepResult
    trials: dict[int, Trial]
    problem: str | None

    @property
    def best(self) -> int | None:
        """The number of the trial with the lowest objective, the first of several; None: no trial has any."""
        values = [
            (trial.value, number)
            for number, trial in self.trials.items()
            if trial.value is not None and trial.pruned_at is None
        ]
        return min(values)[1] if values else None


def objective(folder: RunFolder) -> float:
    """Return what a search minimizes: the loss of a run's outcome, as all tables have it.

    It is the validation loss at the end of a run, and at the start if the run diverged or ended worse than it began.
    So such a run is as good as one that has learned nothing. Its last loss would tell a search about the step at which
    it was stopped.

    Args:
        folder: The folder of the run.

    Raises:
        RunError: The run has no result, or its records do not tell its start.
    """
    result = folder.read_finished()
    if result is None:
        raise RunError("the run has no result.")
    row = {**result.as_dict(), "folder": folder.path}
    run = read_outcomes({0.0: row}, result.seed)[0.0]
    if run.outcome is None:
        raise RunError(f"the run {result.status}, and has no outcome: {run.reason}.")
    return run.outcome.loss


class ValidationLosses:
    """The validation losses of a run, read while it trains.

    The loss before the first step is left out, since it says nothing of the settings; so is a loss that is no number.

    Args:
        folder: The folder of the run.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._end = 0
        self._by_step: dict[int, float] = {}

    def read(self) -> Mapping[int, float]:
        """Return all losses so far, by step, in order. A run that was resumed records the same losses once more."""
        records, self._end = self._folder.read_new_records(self._end)
        for facts in records:
            if facts["kind"] == "eval" and facts["split"] == "validation" and facts["step"] > 0:
                loss = as_record(facts).values["loss"]
                if math.isfinite(loss):
                    self._by_step.setdefault(facts["step"], loss)
        return self._by_step
