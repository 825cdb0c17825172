"""A sweep's folder: what was asked for, its runs in order, and the settings that tell them apart."""

import json
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnlab.runfolder.immaterial import IMMATERIAL
from bnlab.runfolder.index import read_run_rows
from bnlab.runfolder.writable import saying_where_it_cannot_write

SEED, LEARNING_RATE = "seed", "optim.lr"

_FACTS = frozenset(
    {
        *("run_id", "status", "problem", "folder", "sweep", "started", "duration_s", "steps", "diverged_at_step"),
        *("test_accuracy", "test_loss", "validation_accuracy", "validation_loss", "train_loss"),
    }
)
"""Columns of a row that came out of a run; all others are its config."""

_SAYS_ENOUGH = frozenset({"norm", "model", "data", "optim"})
"""Keys whose value is known by itself: batch says enough, norm=batch says no more."""


@dataclass(frozen=True)
class SweepRuns:
    """The runs of a sweep, as far as there are any.

    Attributes:
        folder: Of the sweep.
        overrides: What was asked for.
        planned: Ids of all its runs, in order; of those that are there, where nothing was planned.
        rows: One per run that is there, in that order: what `read_run_rows` says of it.
        swept: The settings that tell the runs apart, as the columns of the rows.
    """

    folder: Path
    overrides: tuple[str, ...]
    planned: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]
    swept: tuple[str, ...]

    @property
    def arm_keys(self) -> tuple[str, ...]:
        """The factors under comparison: what is swept besides the learning rate and the seed; else the norm."""
        return tuple(key for key in self.swept if key not in {SEED, LEARNING_RATE}) or ("norm",)

    def shared_settings(self) -> dict[str, Any]:
        """Return the settings that are the same in all runs."""
        first, *others = self.rows or ({},)
        kept = {key: value for key, value in first.items() if key not in _FACTS | IMMATERIAL}
        return {key: value for key, value in kept.items() if all(row.get(key) == value for row in others)}


def read_sweep(folder: Path) -> SweepRuns:
    """Return what lies in a sweep's folder; any folder of runs will do.

    Args:
        folder: The sweep's.
    """
    try:
        facts = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))
        overrides = tuple(str(word) for word in facts["overrides"])
        planned = tuple(str(run_id) for run_id in facts["runs"])
    except (OSError, ValueError, KeyError, TypeError):
        overrides, planned = (), ()
    rows = [row for row in read_run_rows(folder) if Path(row["folder"]).parent == folder]
    if planned:  # a folder may hold runs of an earlier command of the same name
        place = {run_id: number for number, run_id in enumerate(planned)}
        rows = sorted((row for row in rows if row["run_id"] in place), key=lambda row: place[row["run_id"]])
    swept = swept_keys(rows, overrides)
    return SweepRuns(folder, overrides, planned or tuple(row["run_id"] for row in rows), tuple(rows), tuple(swept))


def write_sweep(folder: Path, overrides: list[str], run_ids: list[str]) -> None:
    """Write a sweep's sweep.json: what was asked for, and its runs in order; nothing, where it says so already.

    Raises:
        ConfigError: The folder cannot be written to.
    """
    text = json.dumps({"overrides": overrides, "runs": run_ids}, indent=1)
    path = folder / "sweep.json"
    beside = folder / f".sweep.json.{os.getpid()}-{threading.get_native_id()}.tmp"
    with saying_where_it_cannot_write(folder):
        if path.exists() and path.read_bytes() == text.encode():
            return
        folder.mkdir(parents=True, exist_ok=True)
        beside.write_text(text, encoding="utf-8", newline="\n")
        beside.replace(path)


def swept_keys(rows: Iterable[Mapping[str, Any]], overrides: Sequence[str] = ()) -> list[str]:
    """Return the settings that tell runs apart: the fewest, and those first that were asked for.

    A key of the overrides that has more than one value is one. Where these leave two runs alike, as with a group of
    settings (``tuning=a,b``) or with no overrides at all, the settings that differ are added until no two are.

    Args:
        rows: As `read_run_rows` gives them, or flat configs.
        overrides: What was asked for, in Hydra's grammar.

    Example:
        >>> rows = [{"seed": s, "norm": n, "norm.eps": e} for s in (0, 1) for n, e in (("batch", 1e-5), ("none", None))]
        >>> swept_keys(rows, ["norm=batch,none", "seed=0,1"])
        ['norm', 'seed']
    """
    readable = [row for row in rows if "problem" not in row]
    settings = [{k: _plain(v) for k, v in row.items() if k not in _FACTS | IMMATERIAL} for row in readable]
    values: dict[str, list[str]] = {key: [] for row in settings for key in row}
    for key, column in values.items():
        column.extend(row.get(key, "null") for row in settings)
    differing = {key: column for key, column in values.items() if len(set(column)) > 1}
    asked = dict.fromkeys(word.partition("=")[0].lstrip("+~").removesuffix(".name") for word in overrides)
    swept = [key for key in asked if key in differing]
    num_kinds = len(set(zip(*differing.values(), strict=True)))
    for key in sorted(differing, key=lambda key: _likelihood(key, values)):
        told_apart = set(zip(*(differing[name] for name in swept), strict=True))
        if len(told_apart) == num_kinds:
            break
        if key not in swept and len(set(zip(*(differing[n] for n in [*swept, key]), strict=True))) > len(told_apart):
            swept.append(key)
    return swept


def _likelihood(key: str, values: Mapping[str, Sequence[str]]) -> tuple[int, bool, str]:
    """Order settings by how likely they are what was swept: names of groups, then what all runs have."""
    first = {"norm": 0, "model": 1, "data": 2, "optim": 3, LEARNING_RATE: 4, SEED: 5}
    return (first.get(key, len(first)), "null" in values[key], key)


def _plain(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def label_of(settings: Mapping[str, Any]) -> str:
    """Return what runs of some settings are called in tables and figures; a setting of None is one they do not have.

    Example:
        >>> label_of({"norm": "batch", "model.depth": 5, "norm.eps": 1e-05, "norm.num_groups": None})
        'batch depth=5 eps=1e-05'
    """
    written = {k: f"{v:g}" if isinstance(v, float) else str(v) for k, v in settings.items() if v is not None}
    return " ".join(
        text if key in _SAYS_ENOUGH else f"{key.rpartition('.')[2]}={text}" for key, text in written.items()
    )


def figure_path(folder: Path, name: str, kind: str) -> Path:
    """Return where a sweep's figure lies.

    Args:
        folder: The sweep's.
        name: Of the figure.
        kind: ``svg`` or ``png``.
    """
    return folder / f"{name}.{kind}"
