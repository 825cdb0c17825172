"""What a worker does, a process or a job that a backend started: it trains a part, and tells the sweep by files."""

import contextlib
import functools
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bnlab.errors import BnlabError, RunBusyError, RunError
from bnlab.experiment.observer import RunObserver
from bnlab.identity.own_parts import forget_own_code, import_own_code
from bnlab.identity.run_id import run_id
from bnlab.runfolder.folder import RunFolder
from bnlab.runfolder.writable import finds_no_room
from bnlab.schema import RunConfig
from bnlab.sweeps.cohorts import PlannedCohort
from bnlab.sweeps.parts import HALT, STOP, SURROUNDINGS, Part, halt_path, read_part
from bnlab.sweeps.progress import ProgressFile, Say, StepsView
from bnlab.training.interruption import Interruption, interruptible

if TYPE_CHECKING:
    from bnlab.sweeps.checked_programs import CheckedPrograms
    from bnlab.training.loop import Plan

HALT_SEEN_S = 0.5
"""Seconds between two looks for a file that asks for a stop."""

SWEEP_STOPS_WITHIN_S = 5.0
"""Seconds that a sweep has, after a signal to all of its processes, before a worker takes the signal for its own."""


def train_part(path: Path) -> None:
    """Train a part, in a worker. The worker tells the sweep of its progress by files in the folder of the part.

    Args:
        path: The file of the part, as `Part.write` wrote it.
    """
    with working(path) as (say, interruption):
        train_cohorts(read_part(path), path.parent, say, interruption, _checks_of_worker(path.parent))


@functools.lru_cache(maxsize=1)
def _checks_of_worker(folder: Path) -> "CheckedPrograms":  # noqa: ARG001
    """Return what this worker has checked for one sweep, whose parts lie in one folder."""
    from bnlab.sweeps.checked_programs import CheckedPrograms  # noqa: PLC0415  (it imports torch)

    return CheckedPrograms()


@contextlib.contextmanager
def working(part: Path) -> Iterator[tuple[Say, Interruption]]:
    """Prepare this process for a part: its folder, its environment, and what listens for a request to stop.

    After a signal such as SIGTERM, training stops with a checkpoint, and then the process ends; the sweep submits the
    runs again. The process ends in the same way when its parent is gone: without the sweep, nobody would tell it to
    stop. Where the sweep got the signal too, it ends its workers itself, when the last one has written its checkpoint.

    Args:
        part: The file of the part.

    Yields:
        A function that tells the sweep of progress, and the interruption that says whether training should stop.
    """
    folder = part.parent
    facts = json.loads((folder / SURROUNDINGS).read_text(encoding="utf-8"))
    in_the_folder_of_the_sweep = contextlib.chdir(facts["folder"])  # a worker may stay from a sweep in another folder
    is_the_sweep = (facts["host"], facts["pid"]) == (socket.gethostname(), os.getpid())  # it may outlive its shell
    parent = None if is_the_sweep else _parent()
    with (
        _environment(facts["environment"]),
        in_the_folder_of_the_sweep,
        interruptible() as interruption,
        _watching_for_a_stop(part, interruption, parent),
    ):
        yield ProgressFile(folder / "progress").say, interruption
    if interruption.signals or parent not in {None, os.getppid()}:  # no handler of submitit's has ended the process
        if parent is not None and _sweep_stops_too(folder / HALT, parent):
            return  # loky kills all workers as soon as one dies, those that still write a checkpoint too
        logging.shutdown()
        os._exit(interruption.exit_status)  # loky would hand a SystemExit to the sweep


def _sweep_stops_too(halt: Path, parent: int) -> bool:
    """Wait for the file by which a sweep stops all of its workers; return whether it came."""
    deadline = time.monotonic() + SWEEP_STOPS_WITHIN_S
    while os.getppid() == parent and time.monotonic() < deadline:
        if halt.exists():
            return True
        time.sleep(SWEEP_STOPS_WITHIN_S / 100)
    return False


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables, and restore them: another sweep may follow in a notebook, or in a worker."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


_parents: dict[int, int] = {}
"""Process -> the process that started it: this one, or that from which it was forked."""


def remember_parent(parent: int) -> None:
    """Remember which process started this one. It may have gone before this one has imported what it needs.

    Args:
        parent: The number of that process.
    """
    _parents[os.getpid()] = parent


def _parent() -> int:
    """Return the process that started this one; if nobody said, the parent at the first part."""
    return _parents.setdefault(os.getpid(), os.getppid())


@contextlib.contextmanager
def _watching_for_a_stop(part: Path, interruption: Interruption, parent: int | None) -> Iterator[None]:
    """Ask for a stop when the sweep does, by a file, or when the parent is gone.

    The sweep may run on another machine, from where no signal reaches this process.
    """

    def look() -> None:
        if (part.parent / HALT).exists() or halt_path(part).exists() or parent not in {None, os.getppid()}:
            interruption.is_asked = True

    look()  # the parent may have gone between two parts
    start_watch()
    _looks.append(look)
    try:
        yield
    finally:
        _looks.remove(look)


_looks: list[Callable[[], None]] = []
"""What the watch of this process calls."""

_watches: set[int] = set()
"""The processes that have a watch: this one, or that from which it was forked."""


def start_watch() -> None:
    """Start the one thread of this process that looks for a request to stop; a second call changes nothing.

    It is started before the first training, and takes no lock: where a process has no memory left, `Thread.start` can
    wait for ever for a thread that could not begin, and `Event.wait` raises an error.
    """
    if os.getpid() not in _watches:
        _watches.add(os.getpid())
        threading.Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    while True:
        time.sleep(HALT_SEEN_S)
        with contextlib.suppress(Exception):  # no memory, or a folder that is gone: at the next look it may be better
            for look in tuple(_looks):
                look()


def train_cohorts(
    part: Part,
    folder: Path,
    say: Say,
    interruption: Interruption | None = None,
    checks: "CheckedPrograms | None" = None,
) -> None:
    """Train the cohorts of a part, one after another. After a failure the others follow, unless the part says no.

    After one for want of room on the disk none follows.

    Args:
        part: The part that this worker got.
        folder: The folder of the part's file; the file `STOP` in it keeps further cohorts from beginning.
        say: Called with each line of progress.
        interruption: Asked after each step whether training should stop, with a checkpoint; None: nobody asks for it.
        checks: What was found for the programs of the sweep; None: each cohort is checked.
    """
    from bnlab.experiment.cohort_run import run_cohort  # noqa: PLC0415
    from bnlab.experiment.recorder import Member  # noqa: PLC0415  (they import torch; planning need not wait for it)

    for cohort in part.cohorts:
        if (folder / STOP).exists() or (interruption is not None and interruption.is_asked):
            return
        folders = {name: RunFolder(part.sweep_folder / name) for name in cohort.run_ids}
        older = {name: folder.result_stamp() for name, folder in folders.items()} if part.again else {}
        members = [Member(*run, part.swept) for run in zip(cohort.configs, folders.values(), strict=True)]
        try:
            _refuse_what_changed(cohort)
            checked = None if checks is None else checks.check(cohort.configs[0])
            _refuse_what_changed(cohort)  # a forward pass may have imported more
            run_cohort(
                members,
                cohort.engine,
                again=part.again,
                observer=_ProgressObserver(say),
                interruption=interruption,
                checked=checked,
            )
        except RunBusyError:
            say({"busy": list(folders)})
        except BnlabError as error:
            without = [name for name, folder in folders.items() if folder.result_stamp() in {None, older.get(name)}]
            if finds_no_room(error):  # nor would the next ones
                say({"failed": without, "reason": f"there is no room in {part.sweep_folder}", "no_room": True})
                return
            say({"failed": without, "reason": str(error)})
            if part.stop_on_error:
                (folder / STOP).touch()


def _refuse_what_changed(cohort: PlannedCohort) -> None:
    """Raise if the code or the data are not those with which the sweep was planned.

    The code is imported first: a file that is edited between this look and the import would be trained unseen.

    Raises:
        ConfigError: The code cannot be imported.
        RunError: They are not: a result would stand under the name of another run.
    """
    import_own_code(cohort.configs)
    first, planned = cohort.configs[0], cohort.run_ids[0]  # all of a cohort have the same code and data
    if run_id(first) != planned:  # a worker that stays from an earlier sweep has the code of that time
        forget_own_code(cohort.configs)
        import_own_code(cohort.configs)
    if run_id(first) != planned:
        raise RunError("the code or the data of the run changed after the sweep had been planned. Sweep again.")


class _ProgressObserver(RunObserver):
    def __init__(self, say: Say) -> None:
        self._say = say

    def on_trouble(self, logger: str, text: str) -> None:
        self._say({"trouble": logger, "reason": text})

    def open_logger(self, config: RunConfig, run_id: str, plan: "Plan") -> StepsView:  # noqa: ARG002
        return StepsView(run_id, plan.num_steps, self._say)
