"""Rows of runs -> arms: which keys of the config were swept, and what came of each learning rate and seed."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from bnlab.errors import StudyError
from bnlab.records import RunSummary
from bnlab.runfolder.folder import RunFolder
from bnlab.runfolder.index import read_planned_runs, read_run_rows
from bnlab.stats.response import ResponseCurve

Row = Mapping[str, Any]

_NOT_AN_ARM = {
    *(field.name for field in fields(RunSummary)),
    *("optim.lr", "started", "sweep", "device", "threads", "loggers", "accept", "sweep.engine", "data.root"),
    "train.checkpoint_every",
}
"""Columns that tell no arm from another: the curve's own axes, what came out, and what cannot change a number."""

_FIRST = ("norm", "model", "model.activation", "data", "optim")
"""Keys that are asked first: a group explains the differences in its options, not the other way round."""


@dataclass(frozen=True)
class Arm:
    """One setting of all swept keys but the learning rate and the seed.

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
class Arms:
    """All arms of a sweep, on one grid of learning rates.

    Attributes:
        arms: In the order of the sweep.
        lrs: The learning rates that any run has, rising.
        seeds: The seeds that any run has, rising.
        facts: Keys with one value for all, such as model, data and train.steps -> value.
        unknown: Runs of the sweep that left no folder and belong to no arm that is known, by their ids.
    """

    arms: list[Arm]
    lrs: tuple[float, ...]
    seeds: tuple[int, ...]
    facts: dict[str, Any]
    unknown: list[str]


def read_arms(folder: Path, run_ids: Sequence[str] | None = None) -> Arms:
    """Read a sweep's runs and sort them into arms.

    A seed enters an arm's curve only with all of its learning rates; what keeps one out is named in `Arm.missing`.

    Args:
        folder: The sweep's.
        run_ids: Which of its runs, in their order; None: those that its sweep.json plans, else all there are.

    Raises:
        StudyError: There are no runs, or fewer than two learning rates.
    """
    planned = list(read_planned_runs(folder) if run_ids is None else run_ids)
    rows = {row["run_id"]: row for row in read_run_rows(folder)} if folder.is_dir() else {}
    kept = [rows[name] for name in planned if name in rows] if planned else list(rows.values())
    kept = [row for row in kept if isinstance(row["optim.lr"], int | float) and isinstance(row["seed"], int)]
    if not kept:
        raise StudyError(f"{folder} has no runs to read. Sweep them: bnlab lr-sensitivity.")
    lrs = tuple(sorted({float(row["optim.lr"]) for row in kept}))
    if len(lrs) < 2:
        raise StudyError(
            f"a learning-rate curve needs 2 or more learning rates, {folder} has {len(lrs)} ({lrs[0]:g}). "
            "Sweep them: 'optim.lr=logspace(1e-3,10,9)'."
        )
    seeds = tuple(sorted({int(row["seed"]) for row in kept}))
    keys = swept_keys(kept)
    groups: dict[str, list[Row]] = {}
    for row in kept:
        groups.setdefault(_written([row.get(key) for key in keys]), []).append(row)
    labels = _labels([group[0] for group in groups.values()], keys)
    arms = [_arm(label, keys, group, lrs, seeds) for label, group in zip(labels, groups.values(), strict=True)]
    absent = [name for name in planned if name not in rows]
    num_not_there = sum(text.endswith(_NOT_THERE) for arm in arms for text in arm.missing)
    columns = dict.fromkeys(key for row in kept for key in row if key not in _NOT_AN_ARM)
    facts = {key: kept[0].get(key) for key in columns if len({_written(row.get(key)) for row in kept}) == 1}
    return Arms(arms, lrs, seeds, facts, absent if len(absent) > num_not_there else [])


def swept_keys(rows: Sequence[Row]) -> list[str]:
    """Return the keys of the config that tell arms apart: as few as do, learning rate and seed left out.

    Example:
        >>> swept_keys([{"norm": "batch", "norm.momentum": 0.9, "seed": 0}, {"norm": "none", "seed": 1}])
        ['norm']
    """
    columns = {key for row in rows for key in row} - _NOT_AN_ARM
    ordered = [key for key in _FIRST if key in columns] + sorted(columns.difference(_FIRST))
    chosen: list[str] = []
    parts = [""] * len(rows)
    for key in ordered:
        finer = [_written([part, row.get(key)]) for part, row in zip(parts, rows, strict=True)]
        if len(set(finer)) > len(set(parts)):
            chosen.append(key)
            parts = finer
    return chosen


_NOT_THERE = "not there"


def _arm(label: str, keys: list[str], rows: list[Row], lrs: tuple[float, ...], seeds: tuple[int, ...]) -> Arm:
    settings = {key: rows[0][key] for key in keys if rows[0].get(key) is not None}
    cells: dict[tuple[int, float], Row] = {}
    for row in rows:
        place = (int(row["seed"]), float(row["optim.lr"]))
        if place not in cells or _has_ended(row):
            cells[place] = row
    missing: list[str] = []
    complete: dict[int, list[Row]] = {}
    starts: dict[int, tuple[float, float]] = {}
    for seed in seeds:
        row_of = {lr: cells.get((seed, lr)) for lr in lrs}
        lacking = [
            f"{label} at {lr:g}, seed {seed}: {_NOT_THERE if row is None else row['status']}"
            for lr, row in row_of.items()
            if row is None or not _has_ended(row)
        ]
        there = [row for row in row_of.values() if row is not None and _has_ended(row)]
        start = None if lacking else _start(there)
        if not lacking and start is None:
            lacking = [f"{label}, seed {seed}: no finite loss before its first step"]
        missing += lacking
        if start is not None:
            complete[seed], starts[seed] = there, start
    return Arm(label, settings, _curve(lrs, complete, starts) if complete else None, missing)


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


def _start(rows: Iterable[Row]) -> tuple[float, float] | None:
    """Return validation loss and accuracy before the first step, out of the first run that tells.

    One seed of one arm starts from the same weights at every learning rate: one file of them is enough to open.
    """
    for row in rows:
        for record in RunFolder(Path(row["folder"])).read_records():
            if record["step"] > 0:
                break
            if record["kind"] == "eval" and record["split"] == "validation":
                loss, accuracy = record["values"].get("loss"), record["values"].get("accuracy")
                if loss is not None and accuracy is not None:
                    return float(loss), float(accuracy)
    return None


def _labels(firsts: Sequence[Row], keys: list[str]) -> list[str]:
    """Return a name for each arm: the values of words, ``key=value`` for the rest; its norm if nothing was swept."""
    labels = []
    for row in firsts:
        parts = []
        for key in keys:
            value = row.get(key)
            if value is not None:
                parts.append(str(value) if isinstance(value, str) else f"{key.rpartition('.')[2]}={value}")
        labels.append(" ".join(parts) or str(row.get("norm")))
    return labels


def _written(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
