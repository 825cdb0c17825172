"""One value per run: what two arms are compared by, read from a run's folder once for all analyses."""

import itertools
import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from bnlab.errors import StudyError, did_you_mean
from bnlab.renamed import current_name
from bnlab.results.outcomes import ArmRun, Outcome
from bnlab.runfolder.folder import RunFolder
from bnlab.stats.censoring import Side
from bnlab.stats.response import Metric, outcome_of
from bnlab.studies.quantity import Quantity

When = Literal["test", "end", "best", "half"]
"""Test set at the end; validation set at the end, at its best step, or after half of the steps."""

Value = tuple[float, Side]
"""A figure of a run, and whether it is exact or a bound."""


@dataclass(frozen=True)
class RunValues:
    """The figures of one run that has an outcome.

    Attributes:
        row: The run as `read_run_rows` gives it.
        outcome: The figures that it ended with.
    """

    row: Mapping[str, Any]
    outcome: Outcome

    @cached_property
    def _records(self) -> list[dict[str, Any]]:
        return [record for record in RunFolder(self.folder).read_records() if record["kind"] in {"eval", "diagnostic"}]

    @property
    def folder(self) -> Path:
        """The folder of the run."""
        return Path(self.row["folder"])

    @cached_property
    def _manifest(self) -> dict[str, Any]:
        return RunFolder(self.folder).read_manifest()

    @cached_property
    def _validations(self) -> list[tuple[int, dict[str, float]]]:
        found = [r for r in self._records if r["kind"] == "eval" and r["split"] == "validation"]
        return [(r["step"], {**r["values"], **dict.fromkeys(r.get("nonfinite", {}), math.nan)}) for r in found]

    def evaluated(self, metric: Metric, when: When) -> float:
        """Return a loss or an accuracy; of a run that diverged or ended worse than it began, that of its start.

        Args:
            metric: Which of the two.
            when: Of which images, and at which step.
        """
        start = self.outcome.start(metric)
        if self.outcome.diverged:
            return start
        if when == "test":
            return float(outcome_of(metric, self.row.get(f"test_{metric}"), start, False))
        if when == "end":
            return self.outcome.value(metric)
        last = max((step for step, _ in self._validations), default=0)
        known = [
            (step, values[metric]) for step, values in self._validations if math.isfinite(values.get(metric, math.nan))
        ]
        if when == "half":
            known = [pair for pair in known if pair[0] <= last / 2][-1:]
        best = (min if metric == "loss" else max)((value for _, value in known), default=start)
        return float(outcome_of(metric, best, start, False))

    def steps_to(self, target: float) -> Value:
        """Return the first step at which the validation accuracy was seen to be at least the target.

        A run that never reached it, also one that diverged before, has a lower bound: the steps that it was meant to
        take.

        Args:
            target: The accuracy, a share.

        Raises:
            StudyError: It was there before the first step.
        """
        for step, values in self._validations:
            if values.get("accuracy", math.nan) >= target:
                if step == 0:
                    raise StudyError(
                        f"{self.folder.name} has a validation accuracy of {100 * values['accuracy']:.3g}% before the "
                        f"first step, so that {100 * target:g}% is no target. Take a higher one."
                    )
                return float(step), "exact"
        return float(self._budget), "at_least"

    @property
    def _budget(self) -> int:
        """The steps that the run was meant to take; a run that diverged took fewer."""
        return int(self._manifest.get("num_steps") or self.row.get("steps") or 1)

    @property
    def steps_between_validations(self) -> int:
        """The largest distance between two validations: steps to a target are known to that."""
        steps = [step for step, _ in self._validations]
        return max((after - before for before, after in itertools.pairwise(steps)), default=self._budget)

    def seconds_to(self, target: float) -> Value:
        """Return the seconds in optimizer steps up to the one at which the target was reached, without evaluations.

        Args:
            target: The validation accuracy, a share.

        Raises:
            StudyError: The run was trained together with others, or recorded no times.
        """
        step, side = self.steps_to(target)
        if self._manifest.get("cohort"):
            raise StudyError(
                f"{self.folder.name} was trained together with other runs, so that it has no seconds of its own. "
                "Train anew: sweep.engine=sequential --again --jobs 1."
            )
        timings = [(r["step"], r["values"]["train_s"]) for r in RunFolder(self.folder).read_timings()]
        if not timings:
            raise StudyError(f"{self.folder.name} recorded no times (timings.jsonl).")
        place = min(bisect_left([at for at, _ in timings], step), len(timings) - 1)
        at, seconds = timings[place]
        return float(seconds) * step / max(at, 1), side

    def diagnosed(self, quantity: Quantity, when: Literal["last", "half", "second half"]) -> float | None:
        """Return a value of a diagnostic; None for a run that diverged, whose diagnostics mean nothing.

        Args:
            quantity: The diagnostic and the layer.
            when: At its last step, at its last one within half of the steps, or the mean over the second half.

        Raises:
            StudyError: The run has no such diagnostic, or not of that layer.
        """
        name = current_name(quantity.diagnostic)
        records = [r for r in self._records if r["kind"] == "diagnostic" and r["name"] == name]
        if not records:
            names = {r["name"] for r in self._records if r["kind"] == "diagnostic"}
            cure = did_you_mean(name, names) if names else f"Train with it: 'diagnostics.names=[{name}]'."
            raise StudyError(f"{self.folder.name} has no diagnostic {name}. {cure}")
        keys = {key for r in records for key in r["values"]}
        if quantity.key not in keys:
            raise StudyError(
                f"{self.folder.name} has no {name} of {quantity.key}. {did_you_mean(quantity.key, sorted(keys))}"
            )
        if self.outcome.diverged:
            return None
        middle = max(r["step"] for r in records) / 2
        values = [(r["step"], r["values"].get(quantity.key)) for r in records]
        known = [(step, float(value)) for step, value in values if value is not None]
        if when == "half":
            known = [pair for pair in known if pair[0] <= middle]
        if when == "second half":
            late = [value for step, value in known if step >= middle]
            return sum(late) / len(late) if late else None
        return known[-1][1] if known else None


def values_by_seed(runs: tuple[ArmRun, ...]) -> dict[int, RunValues | None]:
    """Return the runs of a cell by seed; None for those without an outcome."""
    return {
        run.seed: None if run.outcome is None or run.row is None else RunValues(run.row, run.outcome) for run in runs
    }
