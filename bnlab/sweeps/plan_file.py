"""A sweep's sweep.json: written by commands that may run at the same time, each of which names its own runs."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from bnlab.errors import RunBusyError
from bnlab.results.sweep import write_sweep
from bnlab.results.sweep_plan import Plan, read_plan
from bnlab.runfolder.writable import saying_where_it_cannot_write
from bnlab.sweeps.earlier_runs import EarlierRuns

PATIENCE_S = 60.0
"""Seconds to wait for another command: it reads all runs of the sweep before it writes."""


def write_with_earlier(
    folder: Path,
    overrides: list[str],
    run_ids: Sequence[str],
    earlier: EarlierRuns,
    find_again: Callable[[], EarlierRuns],
    places: Mapping[str, Mapping[str, str | None]] | None = None,
    others: Sequence[Sequence[str]] = (),
) -> EarlierRuns:
    """Write a sweep's sweep.json: the runs of earlier commands that stay, and those of this one.

    Nothing is written, and no lock taken, where the file has all of them already.

    Args:
        folder: The sweep's folder, with an earlier plan or without.
        overrides: The words of this command.
        run_ids: The ids of its runs.
        earlier: The runs of the commands before it, as they were found last.
        find_again: Finds them again; called if sweep.json has changed since.
        places: Where the data of its runs lie, if that is swept; see `Plan`.
        others: The words of further commands, where ``overrides`` alone does not give all of its runs.

    Returns:
        The runs of the commands before it, for the next call.

    Raises:
        ConfigError: The folder cannot be written to, or holds another sweep by now.
        RunBusyError: Another process does not stop writing.
    """
    plan = read_plan(folder)
    if plan == earlier.seen and _with_runs(plan, overrides, run_ids, earlier, places, others) == plan:
        return earlier
    with _alone_in(folder):
        if read_plan(folder) != earlier.seen:
            earlier = find_again()
        new = _with_runs(earlier.seen, overrides, run_ids, earlier, places, others)
        write_sweep(folder, list(new.overrides), list(new.runs), [list(words) for words in new.earlier], new.places)
        return dataclasses.replace(earlier, seen=read_plan(folder))


def _with_runs(
    plan: Plan,
    overrides: Sequence[str],
    run_ids: Sequence[str],
    earlier: EarlierRuns,
    places: Mapping[str, Mapping[str, str | None]] | None,
    others: Sequence[Sequence[str]],
) -> Plan:
    """Return a plan with the runs of a command, and of the earlier runs those that stay."""
    kept, own = set(earlier.kept), set(run_ids)
    placed = {**plan.places, **(places or {})}
    before = [name for name in plan.runs if name in kept or name in own] or list(earlier.kept)
    if own.issuperset(before):  # this command names them all
        return Plan(tuple(overrides), tuple(run_ids), tuple(map(tuple, others)), places or {})
    if own.issubset(before) and before == list(plan.runs) and placed == plan.places:
        return plan
    commands = dict.fromkeys([*plan.earlier, plan.overrides, *map(tuple, others)])
    kept_commands = tuple(words for words in commands if words and words != tuple(overrides))
    return Plan(tuple(overrides), tuple(dict.fromkeys([*before, *run_ids])), kept_commands, placed)


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Let one command at a time find the runs of a sweep and write them down.

    Raises:
        ConfigError: The folder cannot be written to.
        RunBusyError: Another process does not stop writing.
    """
    lock = FileLock(folder / ".locks" / "sweep.json.lock", timeout=PATIENCE_S)
    with saying_where_it_cannot_write(folder):
        (folder / ".locks").mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except Timeout:
            raise RunBusyError(
                f"{folder}: another process has been writing sweep.json for {PATIENCE_S:.0f} s. Wait for it, or give "
                "this sweep another name=..."
            ) from None
    try:
        yield
    finally:
        lock.release()
