"""The part of a sweep that one worker trains: written down by the sweep, read and trained by the worker."""

import contextlib
import functools
import json
import logging
import os
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnlab import provenance
from bnlab.errors import BnlabError, RunBusyError
from bnlab.records import RunSummary
from bnlab.runfolder.folder import RunFolder
from bnlab.runfolder.identity import run_id
from bnlab.schema import RunConfig
from bnlab.sweeps.cohorts import PlannedCohort
from bnlab.sweeps.progress import ProgressFile, Say, StepsView
from bnlab.training.interruption import Interruption, interruptible

if TYPE_CHECKING:
    from bnlab.sweeps.checked_programs import CheckedPrograms
    from bnlab.training.loop import Plan

MOST_RUNS_PER_PART = 8
"""Runs that are trained one by one, in one part: a part costs a tenth of a second, and the last ones should end at
about the same time."""

PARTS_PER_JOB = 4
"""Parts per process, at least, where there are enough runs: then no worker waits long for the last part."""

STOP = "stop"
"""Name of a file: where it is, no further run is begun."""

HALT = "halt"
"""Name of a file: where it is, training stops after the step that is being made, with a checkpoint."""

HALT_SEEN_S = 0.5
"""Seconds between two looks for it."""

SURROUNDINGS = "surroundings.json"
"""Name of a file: where the sweep was started, and with which settings of ours."""


def write_surroundings(folder: Path) -> None:
    """Write down what a worker on another machine, or one that is still warm from another sweep, must set right."""
    environment = {name: value for name, value in os.environ.items() if name.startswith("BNLAB_")}
    environment[provenance.COMMAND] = provenance.command()
    facts = {"folder": str(Path.cwd()), "environment": environment, "host": socket.gethostname(), "pid": os.getpid()}
    (folder / SURROUNDINGS).write_text(json.dumps(facts), encoding="utf-8")


@dataclass(frozen=True)
class Part:
    """Some cohorts of a sweep, and how they are to be trained.

    Attributes:
        cohorts: One after another.
        sweep_folder: Where the runs' folders lie.
        swept: The dotted keys that differ between the runs of the sweep.
        again: Train them anew, whatever is there.
        stop_on_error: After a failure no further run of the sweep is begun; False: that is for the sweep to say.
    """

    cohorts: Sequence[PlannedCohort]
    sweep_folder: Path
    swept: Sequence[str]
    again: bool
    stop_on_error: bool

    def write(self, path: Path) -> None:
        """Write the part down."""
        facts: dict[str, Any] = {
            "sweep_folder": str(self.sweep_folder),
            "swept": list(self.swept),
            "again": self.again,
            "stop_on_error": self.stop_on_error,
            "cohorts": [{"engine": c.engine, "configs": [o.as_dict() for o in c.configs]} for c in self.cohorts],
        }
        path.write_text(json.dumps(facts), encoding="utf-8")


def cut_into_parts(cohorts: Sequence[PlannedCohort], num_jobs: int, one_per_job: bool) -> list[list[PlannedCohort]]:
    """Cut some cohorts into parts: a vectorized cohort each, or a few runs that are trained one by one.

    Args:
        cohorts: The cohorts, in the order of the sweep.
        num_jobs: Processes that train at a time.
        one_per_job: Cut into as many parts as there are processes, since each part starts one that has to import torch.
    """
    if one_per_job:
        return [part for i in range(num_jobs) if (part := list(cohorts[i::num_jobs]))]
    single = [cohort for cohort in cohorts if len(cohort.configs) == 1]
    size = max(1, min(MOST_RUNS_PER_PART, len(single) // (num_jobs * PARTS_PER_JOB)))
    grouped = [single[i : i + size] for i in range(0, len(single), size)]
    return [[cohort] for cohort in cohorts if len(cohort.configs) > 1] + grouped


def part_path(folder: Path, number: int) -> Path:
    """Return where a part is written down."""
    return folder / f"part-{number}.json"


def read_part(path: Path) -> Part:
    """Return a part that was written down."""
    facts = json.loads(path.read_text(encoding="utf-8"))
    cohorts = [
        PlannedCohort(c["engine"], tuple(RunConfig.model_validate_json(json.dumps(o)) for o in c["configs"]))
        for c in facts["cohorts"]
    ]
    return Part(cohorts, Path(facts["sweep_folder"]), facts["swept"], facts["again"], facts["stop_on_error"])


def train_part(path: Path) -> None:
    """Train a part, in a worker. The worker tells the sweep of its progress by files in the folder of the part.

    Args:
        path: The file of the part, as `Part.write` wrote it.
    """
    with working(path.parent) as (say, interruption):
        train_cohorts(read_part(path), path.parent, say, interruption, _checks_of_worker(path.parent))


@functools.lru_cache(maxsize=1)
def _checks_of_worker(folder: Path) -> "CheckedPrograms":  # noqa: ARG001
    """Return what this worker has checked for one sweep, whose parts lie in one folder."""
    from bnlab.sweeps.checked_programs import CheckedPrograms  # noqa: PLC0415  (it waits for torch)

    return CheckedPrograms()


@contextlib.contextmanager
def working(folder: Path) -> Iterator[tuple[Say, Interruption]]:
    """Set right what a worker needs, and hand it whom to tell of its progress, and where a stop is asked for.

    After a signal that asks for an end, training stops with a checkpoint and the process ends: to whoever launched it,
    this is a worker that is lost, and what it did is launched again. So it does when its parent is gone: without the
    sweep, nobody would tell it to stop.

    Args:
        folder: Where what is to be done is written down.
    """
    facts = json.loads((folder / SURROUNDINGS).read_text(encoding="utf-8"))
    for name, value in facts["environment"].items():
        os.environ[name] = value
    stand_there = contextlib.chdir(facts["folder"])  # a warm worker may have been started by somebody elsewhere
    is_the_sweep = (facts["host"], facts["pid"]) == (socket.gethostname(), os.getpid())  # it may outlive its shell
    parent = None if is_the_sweep else _parent()
    with stand_there, interruptible() as interruption, _halting(folder, interruption, parent):
        yield ProgressFile(folder / "progress").say, interruption
    if interruption.signals or parent not in {None, os.getppid()}:  # nobody's handler has ended the process
        logging.shutdown()
        os._exit(interruption.exit_status)  # SystemExit would reach the sweep's own process, by way of joblib


@functools.cache
def _parent() -> int:
    """Return the process that had begun this one when it was given its first part."""
    return os.getppid()


@contextlib.contextmanager
def _halting(folder: Path, interruption: Interruption, parent: int | None) -> Iterator[None]:
    """Ask for a stop as soon as the sweep does: its process may be on another machine, where no signal reaches.

    Or as soon as the parent is gone, on this one.
    """
    done = threading.Event()

    def is_to_stop() -> bool:
        return (folder / HALT).exists() or parent not in {None, os.getppid()}

    def look() -> None:
        while not done.wait(HALT_SEEN_S):
            if is_to_stop():
                interruption.is_asked = True
                return

    if is_to_stop():  # the parent may have gone between two parts
        interruption.is_asked = True
    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def train_cohorts(
    part: Part,
    folder: Path,
    say: Say,
    interruption: Interruption | None = None,
    checks: "CheckedPrograms | None" = None,
) -> None:
    """Train the cohorts of a part, one after another; a failure does not stop the others unless that is asked for.

    Args:
        part: Which.
        folder: Where a wish to stop is left.
        say: Told how far it is.
        interruption: Asked after each step whether training should stop, with a checkpoint; None: nobody asks for it.
        checks: What is known of the sweep's programs; None: each cohort is checked.
    """
    for cohort in part.cohorts:
        if (folder / STOP).exists() or (interruption is not None and interruption.is_asked):
            return
        folders = {name: RunFolder(part.sweep_folder / name) for name in map(run_id, cohort.configs)}
        older = {name: folder.result_stamp() for name, folder in folders.items()} if part.again else {}
        try:
            train_cohort(cohort, part, say, interruption, checks)
        except RunBusyError:
            say({"busy": list(folders)})
        except BnlabError as error:
            without = [name for name, folder in folders.items() if folder.result_stamp() in {None, older.get(name)}]
            say({"refused": without, "reason": str(error)})
            if part.stop_on_error:
                (folder / STOP).touch()


def train_cohort(
    cohort: PlannedCohort,
    part: Part,
    say: Say,
    interruption: Interruption | None = None,
    checks: "CheckedPrograms | None" = None,
) -> list[RunSummary]:
    """Train what is missing of a cohort; return what came out of it all.

    Raises:
        RunBusyError: Another process trains one of its runs.
        BnlabError: It failed.
    """
    from bnlab.experiment.cohort_run import run_cohort  # noqa: PLC0415
    from bnlab.experiment.recorder import Member  # noqa: PLC0415  (they wait for torch; whoever plans need not)

    def open_view(config: RunConfig, name: str, plan: "Plan") -> StepsView:  # noqa: ARG001
        return StepsView(name, plan.num_steps, say)

    checked = None if checks is None else checks.check(cohort.configs[0])
    members = [Member(o, RunFolder(part.sweep_folder / run_id(o)), part.swept) for o in cohort.configs]
    return run_cohort(
        members, cohort.engine, again=part.again, open_view=open_view, interruption=interruption, checked=checked
    )
