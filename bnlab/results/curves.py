"""Curves over the steps of training: the means over the seeds of an arm at its best learning rate, with intervals.

They are read from the run folders of the runs by which `results.arms` chose that rate.

Shape letters: S seeds, T steps.
"""

import json
import logging
import sys
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import stdtrit

from bnlab.errors import RunError
from bnlab.results.arms import Arm
from bnlab.results.outcomes import Outcome, Row
from bnlab.runfolder.folder import RunFolder
from bnlab.stats.estimate import LEVEL, FloatArray
from bnlab.stats.response import RANGE, Metric

_log = logging.getLogger("bnlab")

_TAG_OF = {("step", "train"): "train", ("eval", "validation"): "eval"}


@dataclass(frozen=True)
class Curve:
    """A mean over seeds at each step.

    Attributes:
        steps: The T steps at which any of the seeds has a finite value, rising.
        mean: T means over the seeds that have a value there.
        low: Lower ends of the T 95% intervals of the means; the mean itself where there is one seed.
        high: Upper ends of the T 95% intervals of the means; the mean itself where there is one seed.
    """

    steps: tuple[int, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class _Series:
    """The values of one tag of one run."""

    steps: tuple[int, ...]
    values: "array[float]"


@dataclass
class _Records:
    """One run that has an outcome, and its records by tag; of 10,000 runs, a tenth of what dictionaries would take."""

    row: Row
    outcome: Outcome
    series: dict[str, _Series]

    @property
    def diverged_at(self) -> float:
        """The step from which on it counts as diverged."""
        return (self.row.get("diverged_at_step") or 0) if self.row["status"] == "diverged" else np.inf


def read_best_curves(arm: Arm, *, every_diagnostic: bool = False) -> dict[str, Curve]:
    """Return the curves of an arm at its best learning rate, by TensorBoard tag; none where no run has an outcome.

    Args:
        arm: The arm, of which the runs that are compared at that rate are read.
        every_diagnostic: Whether to read also the diagnostics that TensorBoard does not show.
    """
    best = arm.best()
    runs = () if best is None else best.cell.runs
    known = [(run.row, run.outcome) for run in runs if run.row is not None and run.outcome is not None]
    if "curves" not in arm.kept:  # the records are read once, whoever asks first
        arm.kept["curves"] = _read_curves(known)
    every: dict[str, Curve] = arm.kept["curves"]
    shown = {json.dumps(row.get("diagnostics.tensorboard")) for row, _ in known}
    if every_diagnostic or shown <= {"null"}:
        return dict(every)
    if len(shown) > 1:  # each run has its own
        return _read_curves(known, only_shown=True)
    groups = {*_TAG_OF.values(), *json.loads(*shown)}
    return {tag: curve for tag, curve in every.items() if tag.partition("/")[0] in groups}


def _read_curves(known: Sequence[tuple[Row, Outcome]], *, only_shown: bool = False) -> dict[str, Curve]:
    """Return the curves of some runs; with ``only_shown``, of diagnostics those that each run's TensorBoard shows."""
    every_steps: dict[tuple[int, ...], tuple[int, ...]] = {}
    runs = [_read(row, outcome, only_shown, every_steps) for row, outcome in known]
    tags = dict.fromkeys(tag for run in runs for tag in run.series)
    return {tag: curve for tag in tags if (curve := _curve(tag, runs)) is not None}


def read_run_curves(folder: Path) -> dict[str, Curve]:
    """Return the curves of one run by tag, as far as it has been trained: its loss and its accuracy.

    Args:
        folder: The folder of the run. If its records are damaged, those above the damage are read.
    """
    found: dict[str, dict[int, float]] = {}
    try:
        for record in RunFolder(folder).read_records():
            group = _TAG_OF.get((record["kind"], record["split"]))
            for key, value in record["values"].items() if group else ():
                if key != "lr" and value is not None:
                    found.setdefault(f"{group}/{key}", {})[record["step"]] = float(value)
    except RunError as error:
        _log.warning("%s", error)
    curves = {}
    for tag, points in found.items():
        values = tuple(points.values())
        curves[tag] = Curve(tuple(points), values, values, values)
    return curves


def _read(
    row: Row, outcome: Outcome, only_shown: bool, every_steps: dict[tuple[int, ...], tuple[int, ...]]
) -> _Records:
    """Return a run's records by tag; if its file is damaged, those above the damage.

    With ``only_shown``, of the diagnostics those that its config names for TensorBoard; a run older than that setting
    has few of them. Runs that were measured at the same steps share the tuple of these, found in ``every_steps``.
    """
    diagnostics = row.get("diagnostics.tensorboard") if only_shown else None
    found: dict[str, dict[int, float]] = {}
    try:
        for record in RunFolder(Path(row["folder"])).read_records():
            group = _TAG_OF.get((record["kind"], record["split"]))
            if record["kind"] == "diagnostic" and (diagnostics is None or record["name"] in diagnostics):
                group = record["name"]
            values = {**record["values"], **record.get("nonfinite", {})} if group else {}
            for key, value in values.items():
                if key != "lr":
                    found.setdefault(f"{group}/{key}", {})[record["step"]] = float(value)
    except RunError as error:
        _log.warning("%s", error)
    series = {}
    for tag, points in found.items():
        steps = tuple(points)
        series[sys.intern(tag)] = _Series(every_steps.setdefault(steps, steps), array("d", points.values()))
    return _Records(row, outcome, series)


def _curve(tag: str, runs: Sequence[_Records]) -> Curve | None:
    """Return the mean over seeds; from the step at which it diverged on, a run enters with its start.

    The diagnostics of a network that diverged mean nothing: their mean is that of the other runs.
    """
    group, _, figure = tag.partition("/")
    metrics: Mapping[str, Metric] = {"loss": "loss", "accuracy": "accuracy"}
    metric = metrics.get(figure) if group in {"train", "eval"} else None
    of_runs = [run.series.get(tag) for run in runs]
    steps = sorted({step for own in {one.steps for one in of_runs if one is not None} for step in own})
    place = {step: number for number, step in enumerate(steps)}
    values_ST = np.full((len(runs), len(steps)), np.nan)
    for values_T, one in zip(values_ST, of_runs, strict=True):
        if one is not None:
            values_T[[place[step] for step in one.steps]] = one.values
    if metric is not None:
        start_S1 = np.array([[run.outcome.start(metric)] for run in runs])
        diverged_S1 = np.array([[run.diverged_at] for run in runs])
        values_ST = np.where(np.array(steps) >= diverged_S1, start_S1, values_ST)
    values_ST[~np.isfinite(values_ST)] = np.nan
    known_T = np.isfinite(values_ST).sum(0) > 0
    if not known_T.any():
        return None
    least, most = RANGE[metric] if metric is not None else (-np.inf, np.inf)
    mean_T, low_T, high_T = _interval(values_ST[:, known_T], least, most)
    kept = tuple(step for step, known in zip(steps, known_T, strict=True) if known)
    return Curve(kept, tuple(mean_T.tolist()), tuple(low_T.tolist()), tuple(high_T.tolist()))


def _interval(values_ST: FloatArray, least: float, most: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the means over seeds and the ends of their intervals.

        mean -+ t(n - 1) * s / sqrt(n)

    At all steps at once; `mean_over_seeds` takes the same interval.
    """
    n_T = np.isfinite(values_ST).sum(0)
    with np.errstate(over="ignore", invalid="ignore"):  # of values above 1e154 the band is infinite
        mean_T = np.nanmean(values_ST, 0)
        squares_T = np.nansum((values_ST - mean_T) ** 2, 0)
        deviation_T = np.sqrt(squares_T / np.maximum(n_T - 1, 1))
        half_T = np.where(n_T > 1, stdtrit(np.maximum(n_T - 1, 1), (1 + LEVEL) / 2) * deviation_T / np.sqrt(n_T), 0.0)
        return mean_T, np.clip(mean_T - half_T, least, None), np.clip(mean_T + half_T, None, most)
