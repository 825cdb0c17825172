"""A sweep's folder: its overrides, its runs in order, and the settings that tell them apart."""

import functools
import json
import logging
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnlab.results.arms import SweepArms, arm_keys, read_arms
from bnlab.results.sweep_plan import read_plan
from bnlab.results.swept import CONTENT, FACTS, swept_keys
from bnlab.runfolder.immaterial import IMMATERIAL
from bnlab.runfolder.index import read_run_rows
from bnlab.runfolder.stamps import stamp_of_runs
from bnlab.runfolder.writable import saying_where_it_cannot_write

_log = logging.getLogger("bnlab")

PLACES = frozenset({"data.root", "data.path"})
"""Columns that say where the data lie."""


@dataclass(frozen=True)
class SweepRuns:
    """The runs of a sweep, as far as they have folders.

    Attributes:
        folder: The sweep's folder, with sweep.json and one folder per run.
        overrides: The words of the last command that made the sweep; none, where there is no sweep.json.
        earlier: The words of the commands before it that made other runs of the sweep.
        planned: Ids of all its runs, in order; without a sweep.json, of those that have a folder.
        rows: One per run that has a folder, in that order, as `read_run_rows` returns them.
        swept: The settings that tell the runs apart, as columns of the rows.
    """

    folder: Path
    overrides: tuple[str, ...]
    earlier: tuple[tuple[str, ...], ...]
    planned: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]
    swept: tuple[str, ...]

    @property
    def arm_keys(self) -> tuple[str, ...]:
        """The factors under comparison, as columns of the rows."""
        return arm_keys(self.swept)

    def read_arms(self) -> SweepArms:
        """Return the arms of the sweep; the loss at the start is read from the records of its runs, once."""
        return self._arms

    @functools.cached_property
    def _arms(self) -> SweepArms:
        return read_arms(self.rows, self.swept, self.planned)

    def shared_settings(self) -> dict[str, Any]:
        """Return the settings that are the same in all runs."""
        return dict(self._shared)

    @functools.cached_property
    def _shared(self) -> dict[str, Any]:
        first, *others = self.rows or ({},)
        kept = {key: value for key, value in first.items() if key not in FACTS | IMMATERIAL}
        return {key: value for key, value in kept.items() if all(row.get(key) == value for row in others)}


_CHANGES_UNSEEN = frozenset({"running", "interrupted"})
"""Statuses that may change without a change of any file, when a process takes a run's lock or frees it."""

_kept: dict[Path, tuple[bytes, SweepRuns]] = {}
"""The sweep that was read last, with the stamp of its files: the end of a sweep alone reads it nine times."""


def read_sweep(folder: Path) -> SweepRuns:
    """Read a sweep's folder; the one that was read last is read again only where files of its runs have changed.

    Args:
        folder: A folder with one folder per run; without a readable sweep.json, all of its runs are the sweep.

    Returns:
        The sweep. Other callers may hold it too: nobody changes its rows.
    """
    found = stamp_of_runs(folder)  # before it is read: what is written meanwhile is read the next time
    stamp, known = _kept.get(folder, (b"", None))
    if found is not None and known is not None and found.digest == stamp:
        return known
    _kept.clear()
    sweep, num_rows = _read_sweep(folder)
    is_settled = _CHANGES_UNSEEN.isdisjoint(row["status"] for row in sweep.rows)
    if found is not None and found.is_safe and found.num_runs == num_rows and is_settled and folder.is_absolute():
        _kept[folder] = found.digest, sweep
    return sweep


def _read_sweep(folder: Path) -> tuple[SweepRuns, int]:
    """Return the sweep, and how many runs its folder holds, those among them that are not of the sweep."""
    plan = read_plan(folder)
    planned = plan.runs
    if plan.problem:
        _warn_once(f"{folder}: {plan.problem}")
    rows = [row for row in read_run_rows(folder) if os.path.dirname(row["folder"]) == os.fspath(folder)]  # noqa: PTH120
    num_rows = len(rows)
    for row in rows:
        if "problem" in row:
            _warn_once(f"{row['folder']}: {row['problem']}")
    if planned:
        named = set(leave_out_others(folder, [row["run_id"] for row in rows]))
        place = {run_id: number for number, run_id in enumerate(planned)}
        rows = sorted((row for row in rows if row["run_id"] in named), key=lambda row: place[row["run_id"]])
    _put_in_one_place(rows, plan.places)
    swept = swept_keys(rows, plan.words)
    names = tuple(planned) or tuple(row["run_id"] for row in rows)
    return SweepRuns(folder, plan.overrides, plan.earlier, names, tuple(rows), tuple(swept)), num_rows


def content_of(row: Mapping[str, Any]) -> str | None:
    """Return what tells the content of a run's data: its hash, or the file's path, of runs older than that."""
    content: str | None = row.get(CONTENT) or row.get("data.path")
    return content


def _put_in_one_place(rows: Iterable[dict[str, Any]], places: Mapping[str, Mapping[str, str | None]]) -> None:
    """Let runs with the same data name one place of them, that of the last command, since the files may have moved."""
    readable = [row for row in rows if row.get("data") is not None]
    found: dict[tuple[str, str | None], dict[str, Any]] = {}
    for row in sorted(readable, key=lambda row: row["run_id"] in places):
        own = {key: row[key] for key in PLACES if key in row}
        found[row["data"], content_of(row)] = own | dict(places.get(row["run_id"], {}))
    for row in readable:
        row |= found[row["data"], content_of(row)]


def leave_out_others(folder: Path, run_ids: Iterable[str]) -> list[str]:
    """Return those of the runs in a folder that belong to its sweep; the others are told of, once per process.

    Args:
        folder: A folder with one folder per run; without a readable sweep.json, all of its runs belong to the sweep.
        run_ids: The ids of runs that lie in it.
    """
    run_ids = list(run_ids)
    if not (planned := set(read_plan(folder).runs)):
        return run_ids
    if num_others := sum(run_id not in planned for run_id in run_ids):
        verb, them, are = ("run is", "it", "it is") if num_others == 1 else ("runs are", "them", "they are")
        _warn_once(
            f"{folder}: {num_others} {verb} left out, since sweep.json does not name {them}: {are} outdated (of other "
            "code or data), of other settings, or put there by hand. All runs: bnlab list runs"
        )
    return [run_id for run_id in run_ids if run_id in planned]


@functools.cache
def _warn_once(text: str) -> None:
    _log.warning("%s", text)


def write_sweep(
    folder: Path,
    overrides: list[str],
    run_ids: list[str],
    earlier: Sequence[list[str]] = (),
    places: Mapping[str, Mapping[str, str | None]] | None = None,
) -> None:
    """Write a sweep's sweep.json: its overrides, and its runs in order; nothing, if the file says so already.

    Args:
        folder: The sweep's folder; it is made if it is missing.
        overrides: The words of the command.
        run_ids: The ids of all runs of the sweep, those of earlier commands among them.
        earlier: The words of those commands.
        places: Where the data of some runs lie, as in `Plan`.

    Raises:
        ConfigError: The folder cannot be written to.
    """
    commands: dict[str, Any] = {"earlier": list(earlier)} if earlier else {}
    commands |= {"places": places} if places else {}
    text = json.dumps({"overrides": overrides, **commands, "runs": run_ids}, indent=1)
    path = folder / "sweep.json"
    beside = folder / f".sweep.json.{os.getpid()}-{threading.get_native_id()}.tmp"
    with saying_where_it_cannot_write(folder):
        if path.exists() and path.read_bytes() == text.encode():
            return
        folder.mkdir(parents=True, exist_ok=True)
        beside.write_text(text, encoding="utf-8", newline="\n")
        beside.replace(path)
