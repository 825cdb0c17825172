"""One value per run: what two arms are compared by, read from a run's folder once for all analyses."""

import itertools
import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from bnlab.errors import StudyError, did_you_mean
from bnlab.renamed import current_name
from bnlab.results.outcomes import ArmRun, Outcome
from bnlab.runfolder.folder import RunFolder
from bnlab.stats.response import Metric, outcome_of
from bnlab.studies.quantity import Quantity

POINTS_OF_AREA = 2001
"""Points at which a curve is read for its area: more than it has validations, so that the sum is off by under 0.001."""

NORMALIZED, RAW = "/normalized", "/raw"
"""Ends of the keys of facets: a figure relative to a spread, and the figure alone."""

Stage = Literal["last", "half", "second half", "all"]
When = Literal["test", "end", "best", "half"]
"""Test set at the end; validation set at the end, at its best step, or after half of the steps."""


class Figure(NamedTuple):
    """A figure of a run, and between what it must lie.

    Attributes:
        value: The figure as it was seen; NaN where nothing is known.
        least: The least value that it can have.
        greatest: The greatest one, or infinity; equal to ``least`` where the figure is exact.
    """

    value: float
    least: float
    greatest: float

    @property
    def is_known(self) -> bool:
        """Whether anything is known of it."""
        return not math.isnan(self.value)


UNKNOWN = Figure(math.nan, -math.inf, math.inf)


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

    def is_at_start(self, metric: Metric) -> bool:
        """Whether the run counts with the figure of its start, since it diverged or ended no better."""
        return self.outcome.diverged or self.outcome.value(metric) == self.outcome.start(metric)

    @property
    def is_validated_by_half(self) -> bool:
        """Whether the run was validated between its first step and half of its steps."""
        last = max((step for step, _ in self._validations), default=0)
        return any(0 < step <= last / 2 for step, _ in self._validations)

    def evaluated(self, metric: Metric, when: When) -> float | None:
        """Return a loss or an accuracy; of a run that diverged or ended worse than it began, that of its start.

        None, where the run has no record of the test set.

        Args:
            metric: Which of the two.
            when: Of which images, and at which step.
        """
        start = self.outcome.start(metric)
        if self.outcome.diverged:
            return start
        if when == "test":
            final = self.row.get(f"test_{metric}")
            return None if final is None else float(outcome_of(metric, final, start, False))
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

    def steps_to(self, target: float) -> Figure:
        """Return the first step at which the validation accuracy was seen to be at least the target.

        It may have been there since the step after the validation before. A run that never reached it, also one that
        diverged before, has a lower bound: the steps that it was meant to take.

        Args:
            target: The accuracy, a share.

        Raises:
            StudyError: It was there before the first step.
        """
        before = 0
        for step, values in self._validations:
            if values.get("accuracy", math.nan) >= target:
                if step == 0:
                    raise StudyError(
                        f"{self.folder.name} has a validation accuracy of {100 * values['accuracy']:.3g}% before the "
                        f"first step, so that {100 * target:g}% is no target. Take a higher one."
                    )
                return Figure(float(step), float(before + 1), float(step))
            before = step
        return Figure(float(self._budget), float(self._budget), math.inf)

    def area(self, *, half: bool = False) -> float:
        """Return the mean validation accuracy over the steps: the area under the curve, between 0 and 1.

        Between two validations the accuracy is taken to change evenly. After a run diverged it is that of its start.

        Args:
            half: Of the first half of the steps alone.

        Source:
            The trapezoid rule; steps as they are, not on a log scale.
        """
        known = [(step, values["accuracy"]) for step, values in self._validations if "accuracy" in values]
        points = [(step, value) for step, value in known if math.isfinite(value)] or [(0, self.outcome.start_accuracy)]
        if self.outcome.diverged and (last := points[-1][0]) < self._budget:
            points += [(step, self.outcome.start_accuracy) for step in (last + 1, self._budget)]
        end = self._budget / 2 if half else float(self._budget)
        steps = np.linspace(0.0, end, POINTS_OF_AREA)
        return float(np.interp(steps, [step for step, _ in points], [value for _, value in points]).mean())

    @property
    def _budget(self) -> int:
        """The steps that the run was meant to take; a run that diverged took fewer."""
        return max(int(self._manifest.get("num_steps") or self.row.get("steps") or 1), 1)

    @property
    def steps_between_validations(self) -> int:
        """The largest distance between two validations: steps to a target are known to that."""
        steps = [step for step, _ in self._validations]
        return max((after - before for before, after in itertools.pairwise(steps)), default=self._budget)

    def seconds_to(self, target: float) -> Figure:
        """Return the seconds in optimizer steps up to the one at which the target was reached, without evaluations.

        Args:
            target: The validation accuracy, a share.

        Raises:
            StudyError: The run was trained together with others, or recorded no times.
        """
        if self._manifest.get("cohort"):
            raise StudyError(
                f"{self.folder.name} was trained together with other runs, so that it has no seconds of its own. "
                "Train anew: sweep.engine=sequential --again --jobs 1."
            )
        steps = self.steps_to(target)
        first, last = self._seconds_at(steps.least), self._seconds_at(steps.value)
        return Figure(last, first, last if math.isfinite(steps.greatest) else math.inf)

    @cached_property
    def _timings(self) -> list[tuple[int, float]]:
        """Steps and the seconds in optimizer steps up to them."""
        timings = [(r["step"], float(r["values"]["train_s"])) for r in RunFolder(self.folder).read_timings()]
        return [(at, seconds) for at, seconds in timings if at > 0 and seconds > 0]

    def _seconds_at(self, step: float) -> float:
        """Return the seconds in optimizer steps up to a step.

        Raises:
            StudyError: The run recorded no times.
        """
        if not self._timings:
            raise StudyError(f"{self.folder.name} recorded no times (timings.jsonl). Train it anew: --again.")
        place = bisect_left([at for at, _ in self._timings], step)
        at, seconds = self._timings[min(place, len(self._timings) - 1)]
        return seconds * step / at

    def diagnosed(self, quantity: Quantity, when: Stage) -> Figure:
        """Return a value of a diagnostic; nothing is known of it where the run diverged, or where it is not finite.

        The mean of a facet ``normalized`` is that of ``raw``, divided by that of what it is normalized by: a moment at
        which this is tiny would decide a mean of quotients alone.

        Args:
            quantity: The diagnostic and the layer.
            when: At its last step, at its last one within half of the steps, or the mean over the second half or
                over all measured steps.

        Raises:
            StudyError: The run has no such diagnostic, or not of that layer.
        """
        values = self._diagnostic(quantity)
        middle = max(values) / 2
        chosen = {
            "last": [max(values)],
            "half": [max((step for step in values if step <= middle), default=min(values))],
            "second half": [step for step in values if step >= middle],
            "all": list(values),
        }[when]
        if len(chosen) > 1 and quantity.key.endswith(NORMALIZED):
            mean = self._mean_quotient(quantity, {step: values[step] for step in chosen})
        else:
            mean = sum(values[step] for step in chosen) / len(chosen)
        return UNKNOWN if self.outcome.diverged or not math.isfinite(mean) else Figure(mean, mean, mean)

    def _mean_quotient(self, quantity: Quantity, normalized: Mapping[int, float]) -> float:
        """Return the mean of the raw values at some steps, divided by the mean of what they are normalized by."""
        raw = self._diagnostic(replace(quantity, key=quantity.key.removesuffix(NORMALIZED) + RAW))
        whole = [(raw[step], raw[step] / value) for step, value in normalized.items() if value != 0]
        above, below = (sum(pair[place] for pair in whole) for place in (0, 1))
        return 0.0 if not whole else above / below if below else math.inf

    def is_diagnosed_by_half(self, quantity: Quantity) -> bool:
        """Return whether a diagnostic was measured between the first step and half of the steps.

        Args:
            quantity: The diagnostic and the layer.

        Raises:
            StudyError: The run has no such diagnostic, or not of that layer.
        """
        values = self._diagnostic(quantity)
        return any(0 < step <= max(values) / 2 for step in values)

    def _diagnostic(self, quantity: Quantity) -> dict[int, float]:
        """Return the values of a diagnostic by step; NaN where one is not finite.

        Raises:
            StudyError: The run has no such diagnostic, or not of that layer.
        """
        name = current_name(quantity.diagnostic)
        records = [r for r in self._records if r["kind"] == "diagnostic" and r["name"] == name]
        if not records:
            names = {r["name"] for r in self._records if r["kind"] == "diagnostic"}
            cure = did_you_mean(name, names) if names else f"Train with it: 'diagnostics.names=[{name}]'."
            raise StudyError(f"{self.folder.name} has no diagnostic {name}. {cure}")
        found = self._values_of(quantity.key, records)
        if not quantity.minus:
            return found
        others = self._values_of(quantity.minus, records)
        return {step: value - others[step] for step, value in found.items() if step in others}

    def _values_of(self, key: str, records: list[dict[str, Any]]) -> dict[int, float]:
        """Return the values of one key of a diagnostic by step; NaN where one is not finite.

        Raises:
            StudyError: The diagnostic has no such key.
        """
        found = {r["step"]: r["values"][key] for r in records if key in r["values"]}
        if not found:
            keys = sorted({one for r in records for one in r["values"]})
            cure = did_you_mean(key, keys) if keys else "It is undefined in this network."
            raise StudyError(f"{self.folder.name} has no {records[0]['name']} of {key}. {cure}")
        return {step: math.nan if value is None else float(value) for step, value in found.items()}


def values_by_seed(runs: tuple[ArmRun, ...]) -> dict[int, RunValues | None]:
    """Return the runs of a cell by seed; None for those without an outcome."""
    return {
        run.seed: None if run.outcome is None or run.row is None else RunValues(run.row, run.outcome) for run in runs
    }
