"""The arms of a sweep as curves: the mean over seeds at each arm's best learning rate, and the response to it.

Out of the run folders, whatever is there yet; runs that have not ended are left out, and are there the next time.

Shape letters: S seeds, T steps.
"""

import itertools
import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from bnlab.errors import RunError
from bnlab.results.sweep import LEARNING_RATE, SweepRuns
from bnlab.runfolder.folder import RunFolder
from bnlab.stats.estimate import LEVEL, Estimate, mean_over_seeds
from bnlab.stats.response import Metric, counts_as, first_best, is_lost

FloatArray = npt.NDArray[np.float64]

_log = logging.getLogger("bnlab")

RANGES = {"loss": (0.0, np.inf), "accuracy": (0.0, 1.0)}
"""What a figure can be; an interval of three seeds does not know."""

_TAG_OF = {("step", "train"): "train", ("eval", "validation"): "eval"}


@dataclass(frozen=True)
class Curve:
    """A mean over seeds, step by step.

    Attributes:
        steps: T.
        mean: T values.
        low: Lower ends of their 95% intervals; the mean itself where there is one seed.
        high: Upper ends.
    """

    steps: tuple[int, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class Response:
    """What came of one learning rate.

    Attributes:
        lr: The learning rate.
        num_seeds: How many runs ended.
        num_diverged: How many of them diverged, or ended with a loss that is not finite.
        loss: Final validation loss, of what each run counts as: its start, if it diverged or ended worse.
        accuracy: Final validation accuracy, likewise.
    """

    lr: float
    num_seeds: int
    num_diverged: int
    loss: Estimate
    accuracy: Estimate


@dataclass(frozen=True)
class Arm:
    """One arm.

    Attributes:
        name: Of its folder.
        settings: Of what is compared.
        responses: One per learning rate, rising.
        best: That with the least loss.
        curves: By tag, at the best learning rate.
    """

    name: str
    settings: Mapping[str, Any]
    responses: Sequence[Response]
    best: Response
    curves: Mapping[str, Curve]


@dataclass
class _Run:
    """One run that ended: its row, and its records by tag."""

    row: Mapping[str, Any]
    curves: dict[str, dict[int, float]] = field(default_factory=dict)

    @property
    def diverged(self) -> bool:
        return bool(self.row["status"] == "diverged")

    def is_lost_at(self, step: int) -> bool:
        """Return whether it had diverged by a step."""
        return self.diverged and step >= (self.row.get("diverged_at_step") or 0)

    def start(self, figure: str) -> float:
        """Return the validation loss or accuracy before the first step."""
        return next(iter(self.curves.get(f"eval/{figure}", {}).values()), np.nan)

    @property
    def is_lost(self) -> bool:
        """Whether it diverged, or ended with a loss that is not finite."""
        return bool(is_lost(self.row.get("validation_loss"), self.diverged))

    def counted(self, figure: Metric) -> float:
        """Return the validation loss or accuracy that it counts as."""
        return float(counts_as(figure, self.row.get(f"validation_{figure}"), self.start(figure), self.is_lost))


def read_sweep_arms(sweep: SweepRuns) -> list[Arm]:
    """Return a sweep's arms, in its order; those of which no run has ended are left out.

    Args:
        sweep: Its runs, as far as they are there.
    """
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in sweep.rows:
        if row["status"] in {"finished", "diverged"} and isinstance(row.get(LEARNING_RATE), int | float):
            groups.setdefault(json.dumps([row.get(key) for key in sweep.arm_keys]), []).append(row)
    arms: dict[str, Arm] = {}  # by names without case: some systems tell no folder from another by it
    for rows in groups.values():
        settings = {key: rows[0].get(key) for key in sweep.arm_keys}
        name = arm_name(settings)
        number = itertools.count(2)
        while name.casefold() in arms:  # two classes of the same name in two packages
            name = f"{arm_name(settings)}-{next(number)}"
        arm = _arm(name, settings, rows)
        if arm is not None:
            arms[name.casefold()] = arm
    return list(arms.values())


def arm_name(settings: Mapping[str, Any]) -> str:
    """Return what an arm is called: words as they are, all else by its key; safe as a folder's name.

    Example:
        >>> arm_name({"norm": "my.layers:Mine", "model.depth": 5, "norm.eps": None})
        'Mine-depth=5'
    """
    parts = [
        value.rpartition(":")[2] if isinstance(value, str) else f"{key.rpartition('.')[2]}={value}"
        for key, value in settings.items()
        if value is not None
    ]
    return re.sub(r"[^A-Za-z0-9_.=-]+", "_", "-".join(parts)).strip(".") or "all"


def _arm(name: str, settings: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Arm | None:
    runs_at: dict[float, list[_Run]] = {}
    for row in rows:
        runs_at.setdefault(float(row[LEARNING_RATE]), []).append(_read(row, only_start=True))
    responses = [response for lr in sorted(runs_at) if (response := _response(lr, runs_at[lr])) is not None]
    if not responses:
        return None
    best = responses[first_best(np.array([response.loss.value for response in responses]))]
    return Arm(name, settings, responses, best, _curves([_read(run.row, only_start=False) for run in runs_at[best.lr]]))


def _response(lr: float, runs: Sequence[_Run]) -> Response | None:
    """Return what came of one learning rate, of the runs that say where they started."""
    told = [run for run in runs if np.isfinite([run.counted("loss"), run.counted("accuracy")]).all()]
    if not told:
        return None
    loss, accuracy = [run.counted("loss") for run in told], [run.counted("accuracy") for run in told]
    num_diverged = sum(run.is_lost for run in told)
    return Response(lr, len(told), num_diverged, mean_over_seeds(loss), mean_over_seeds(accuracy))


def _read(row: Mapping[str, Any], only_start: bool) -> _Run:
    """Return a run's records by tag; of one whose file is damaged, those above the damage.

    Of the diagnostics those that its config names for TensorBoard; one that is older than that setting has few.
    """
    run = _Run(row)
    shown = row.get("diagnostics.tensorboard")
    try:
        for record in RunFolder(Path(row["folder"])).read_records():
            group = _TAG_OF.get((record["kind"], record["split"]))
            if record["kind"] == "diagnostic" and (shown is None or record["name"] in shown):
                group = record["name"]
            values = {**record["values"], **record.get("nonfinite", {})} if group else {}
            for key, value in values.items():
                if key != "lr":
                    run.curves.setdefault(f"{group}/{key}", {})[record["step"]] = float(value)
            if only_start and group == "eval":
                break
    except RunError as error:
        _log.warning("%s", error)
    return run


def _curves(runs: Sequence[_Run]) -> dict[str, Curve]:
    """Return the mean of every tag, over the steps that a run has."""
    tags = dict.fromkeys(tag for run in runs for tag in run.curves)
    return {tag: curve for tag in tags if (curve := _curve(tag, runs)) is not None}


def _curve(tag: str, runs: Sequence[_Run]) -> Curve | None:
    """Return the mean over seeds; from where it diverged on, a run counts as what it started with.

    Of the inside of a network that diverged there is nothing to be said: the mean is that of the others.
    """
    group, _, figure = tag.partition("/")
    points = [run.curves.get(tag, {}) for run in runs]
    steps = sorted({step for of_run in points for step in of_run})
    values_ST = np.array([[of_run.get(step, np.nan) for step in steps] for of_run in points])
    if group in {"train", "eval"}:
        start_S1 = np.array([[run.start(figure)] for run in runs])
        lost_ST = np.array([[run.is_lost_at(step) for step in steps] for run in runs])
        values_ST = np.where(lost_ST, start_S1, values_ST)
    values_ST[~np.isfinite(values_ST)] = np.nan
    told_T = np.isfinite(values_ST).sum(0) > 0
    if not told_T.any():
        return None
    mean_T, low_T, high_T = _interval(values_ST[:, told_T], *RANGES.get(figure, (-np.inf, np.inf)))
    kept = tuple(step for step, told in zip(steps, told_T, strict=True) if told)
    return Curve(kept, tuple(mean_T.tolist()), tuple(low_T.tolist()), tuple(high_T.tolist()))


def _interval(values_ST: FloatArray, least: float, most: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the means over seeds and the ends of their intervals.

        mean -+ t(n - 1) * s / sqrt(n)

    Student's for any number of seeds, at all steps at once: a bootstrap of each step of each curve, which
    `mean_over_seeds` makes of 15 seeds or more, would take minutes for a band that is only looked at.
    """
    n_T = np.isfinite(values_ST).sum(0)
    mean_T = np.nanmean(values_ST, 0)
    squares_T = np.nansum((values_ST - mean_T) ** 2, 0)
    deviation_T = np.sqrt(squares_T / np.maximum(n_T - 1, 1))
    half_T = np.where(n_T > 1, stdtrit(np.maximum(n_T - 1, 1), (1 + LEVEL) / 2) * deviation_T / np.sqrt(n_T), 0.0)
    return mean_T, np.clip(mean_T - half_T, least, None), np.clip(mean_T + half_T, None, most)
