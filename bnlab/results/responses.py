"""Rows of runs -> what came of each learning rate and seed, arm by arm."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnlab.errors import RunError, StudyError
from bnlab.results.sweep import LEARNING_RATE, SEED, label_of, read_sweep
from bnlab.runfolder.json_lines import read_first_lines
from bnlab.stats.response import ResponseCurve

Row = Mapping[str, Any]

NOT_THERE = "not there"


@dataclass(frozen=True)
class ArmRuns:
    """One setting of all that is swept but the learning rate and the seed.

    Attributes:
        label: What it is called in tables and figures.
        settings: Swept key -> value; a key that it does not have is left out.
        curve: Its complete seeds; None if no seed is complete.
        missing: Its runs that are not there, or came to no end, in words.
    """

    label: str
    settings: dict[str, Any]
    curve: ResponseCurve | None
    missing: list[str]


@dataclass(frozen=True)
class Responses:
    """All arms of a sweep, on one grid of learning rates.

    Attributes:
        arms: In the order of the sweep.
        lrs: The learning rates that any run has, rising.
        seeds: The seeds that any run has, rising.
        facts: The settings with one value for all runs.
        num_unknown: Runs that were planned and left no folder, besides those that an arm's `missing` names: of arms,
            learning rates or seeds of which nothing is there.
    """

    arms: list[ArmRuns]
    lrs: tuple[float, ...]
    seeds: tuple[int, ...]
    facts: dict[str, Any]
    num_unknown: int


def read_responses(folder: Path) -> Responses:
    """Read a sweep's runs and sort them into arms.

    A seed enters an arm's curve only with all of its learning rates; what keeps one out is named in `ArmRuns.missing`.

    Args:
        folder: The sweep's; any folder of runs will do.

    Raises:
        StudyError: There are no runs, or fewer than two learning rates.
    """
    sweep = read_sweep(folder)
    rows = [row for row in sweep.rows if row.get(SEED) is not None and row.get(LEARNING_RATE) is not None]
    if not rows:
        raise StudyError(f"{folder} holds no runs that can be read. Sweep them: bnlab lr-sensitivity.")
    lrs = tuple(sorted({float(row[LEARNING_RATE]) for row in rows}))
    if len(lrs) < 2:
        raise StudyError(
            f"a learning-rate curve needs 2 or more learning rates, {folder} has {len(lrs)} ({lrs[0]:g}). "
            "Sweep them: 'optim.lr=logspace(1e-3,10,9)'."
        )
    seeds = tuple(sorted({int(row[SEED]) for row in rows}))
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(_written([row.get(key) for key in sweep.arm_keys]), []).append(row)
    arms = [_arm(sweep.arm_keys, group, lrs, seeds) for group in groups.values()]
    there = {row["run_id"] for row in rows}
    num_absent = sum(name not in there for name in sweep.planned)
    num_in_cells = sum(text.endswith(NOT_THERE) for arm in arms for text in arm.missing)
    return Responses(arms, lrs, seeds, sweep.shared_settings(), max(0, num_absent - num_in_cells))


def _arm(keys: Sequence[str], rows: list[Row], lrs: tuple[float, ...], seeds: tuple[int, ...]) -> ArmRuns:
    settings = {key: rows[0][key] for key in keys if rows[0].get(key) is not None}
    label = label_of(settings) or "all"
    cells: dict[tuple[int, float], Row] = {}
    for row in rows:
        place = (int(row[SEED]), float(row[LEARNING_RATE]))
        if place not in cells or _has_ended(row):
            cells[place] = row
    missing: list[str] = []
    complete: dict[int, list[Row]] = {}
    starts: dict[int, tuple[float, float]] = {}
    for seed in seeds:
        row_of = {lr: cells.get((seed, lr)) for lr in lrs}
        lacking = [
            f"{label} at {lr:g}, seed {seed}: {NOT_THERE if row is None else row['status']}"
            for lr, row in row_of.items()
            if row is None or not _has_ended(row)
        ]
        there = [row for row in row_of.values() if row is not None and _has_ended(row)]
        start = None
        if not lacking:
            try:
                start = read_start(there)
                lacking = [f"{label}, seed {seed}: no finite loss before its first step"] if start is None else []
            except RunError as error:
                lacking = [f"{label}, seed {seed}: {error}"]
        missing += lacking
        if start is not None:
            complete[seed], starts[seed] = there, start
    return ArmRuns(label, settings, _curve(lrs, complete, starts) if complete else None, missing)


def _curve(lrs: tuple[float, ...], rows: dict[int, list[Row]], starts: dict[int, tuple[float, float]]) -> ResponseCurve:
    return ResponseCurve(
        lrs=lrs,
        seeds=tuple(rows),
        loss=tuple(tuple(_number(row.get("validation_loss")) for row in of_seed) for of_seed in rows.values()),
        accuracy=tuple(tuple(_number(row.get("validation_accuracy")) for row in of_seed) for of_seed in rows.values()),
        diverged=tuple(tuple(row["status"] == "diverged" for row in of_seed) for of_seed in rows.values()),
        start_loss=tuple(loss for loss, _ in starts.values()),
        start_accuracy=tuple(accuracy for _, accuracy in starts.values()),
    )


def _has_ended(row: Row) -> bool:
    return row["status"] in {"finished", "diverged"}


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def read_start(rows: Iterable[Row]) -> tuple[float, float] | None:
    """Return validation loss and accuracy before the first step, out of the first run that tells.

    One seed of one arm starts from the same weights at every learning rate: one file of them is enough to open.

    Raises:
        RunError: None tells, and the file of one is damaged.
    """
    damage: RunError | None = None
    for row in rows:
        try:
            start = _start_of(row)
        except RunError as error:
            damage = damage or error
            continue
        if start is not None:
            return start
    if damage is not None:
        raise damage
    return None


def _start_of(row: Row) -> tuple[float, float] | None:
    for record in read_first_lines(Path(row["folder"]) / "metrics.jsonl"):
        if record["step"] > 0:
            break
        if record["kind"] == "eval" and record["split"] == "validation":
            loss, accuracy = record["values"].get("loss"), record["values"].get("accuracy")
            if loss is not None and accuracy is not None:
                return float(loss), float(accuracy)
    return None


def _written(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
