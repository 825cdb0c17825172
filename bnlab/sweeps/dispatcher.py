"""Has the runs of a sweep or a search trained by a backend: submits parts, and learns what became of each run.

Which runs have a result is known from their folders alone, never from what a backend says: a killed worker, a lost
machine or a second sweep beside this one need no special code here. What is still missing is submitted again.
"""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from bnlab.garbage import look_as_usual
from bnlab.records import RunSummary
from bnlab.runfolder.folder import RunFolder
from bnlab.runfolder.writable import finds_no_room, has_no_room
from bnlab.sweeps.backends.backend import Backend
from bnlab.sweeps.cohorts import PlannedCohort
from bnlab.sweeps.parts import Part, halt_path
from bnlab.sweeps.parts_folder import PartsFolder
from bnlab.sweeps.progress import SweepView
from bnlab.sweeps.run_states import BUSY, FAILED, INTERRUPTED, SUBMITTED, WAITING, RunStates

LOOK_EVERY_S = 0.25
"""Seconds between two looks at the progress of the workers."""

BUSY_S = 1.0
"""Seconds between two looks at runs that another process trains."""

MOST_UNBEGUN = 2
"""After this many submissions of a run without a start it is not submitted again. If no other run has started since the
first of them, nothing more is submitted: the launcher or the cluster is not set up, or out of order."""


class Dispatcher:
    """Has cohorts trained. As a context it owns the folder of the parts; at its end, parts that are left are stopped.

    Args:
        sweep_folder: The folder in which the runs' folders lie.
        swept: The dotted keys in which the runs differ.
        again: Train runs anew that have a result from before.
        retries: How often a run that failed is tried again.
        stops_on_error: After a failure for good no further run begins; False: the others are trained.
        view: Shown each line of progress; None: nobody is.

    Attributes:
        folder: The folder through which the workers and this process exchange messages.
        states: The state of each run that was added.
        num_steps: Run id -> the number of steps after which it is finished, of runs whose training has begun.
        obstacle: Why no run can start, in one line; then nothing more is submitted. None: runs start.
    """

    def __init__(
        self,
        sweep_folder: Path,
        swept: Sequence[str],
        *,
        again: bool = False,
        retries: int = 0,
        stops_on_error: bool = False,
        view: SweepView | None = None,
    ) -> None:
        self.folder = PartsFolder(sweep_folder, self._take, view)
        self.states = RunStates(retries)
        self.num_steps: dict[str, int] = {}
        self.obstacle: str | None = None
        self._sweep_folder = sweep_folder
        self._swept = swept
        self._again = again
        self._stops_on_error = stops_on_error
        self._worker_stops_all = stops_on_error and retries == 0
        self._results_before: dict[str, tuple[int, int] | None] = {}
        self._backend: Backend | None = None
        self._submitted: dict[Path, dict[str, int | None]] = {}
        """Part -> its runs that are to be trained, each with the mark that its manifest had before."""
        self._num_begun = 0
        """Times that a run began in this execution."""
        self._unbegun: dict[str, list[int]] = {}
        """Run id -> for each submission after which it did not begin, `_num_begun` at the end of its part."""

    def __enter__(self) -> Self:
        look_as_usual()  # all is imported and planned
        self.folder.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(self.folder.__exit__)
            if self._backend is not None:
                stack.callback(self._backend.close)
                if self._submitted:
                    self._end_parts(self._backend, at_once=kind is not None)  # Ctrl-C, for one

    def _end_parts(self, backend: Backend, *, at_once: bool) -> None:
        try:
            self.folder.halt()
            backend.cancel(at_once=at_once)
        except BaseException:  # Ctrl-C once more: nobody waits for checkpoints, and no process is left
            backend.cancel(at_once=True)
            raise
        finally:
            self._submitted.clear()

    def _take(self, line: dict[str, Any]) -> None:
        self.num_steps |= dict.fromkeys(line.get("steps", {}), line.get("of", 0))
        self._num_begun += len(self.states.those_in(SUBMITTED, among=line.get("steps", {})))
        if line.get("no_room"):
            self.find_no_room()
        if self.states.take(line) and self._stops_on_error:
            self.folder.stop()

    def find_no_room(self) -> None:
        """Let no further run begin: each would fail as this one did. Those in training may have room enough."""
        self.obstacle = (
            f"there is no room in {self._sweep_folder} for further runs. Make room there; the same command goes on"
        )
        self.folder.stop()

    def run_folder(self, name: str) -> RunFolder:
        """Return the folder of a run."""
        return RunFolder(self._sweep_folder / name)

    def add(self, names: Iterable[str]) -> None:
        """Add runs that are wanted; those that were added before stay as they are.

        Args:
            names: Ids of the runs to add.
        """
        new = self.states.add(names)
        self._results_before |= {name: self.run_folder(name).result_stamp() for name in new}

    def has_result(self, name: str) -> bool:
        """Whether a run has its result, and a new one where it is trained anew."""
        return self.run_folder(name).result_stamp() not in {None, self._old_result(name)}

    def has_begun(self, name: str) -> bool:
        """Whether the records in the folder of a run are those of this training, or of one that it continues."""
        folder, before = self.run_folder(name), self._old_result(name)
        return folder.path.exists() and (before is None or folder.result_stamp() != before)

    def _old_result(self, name: str) -> tuple[int, int] | None:
        """Return the mark of the result that a run had before, if it is trained anew; None: its result would count."""
        return self._results_before.get(name) if self._again else None

    def read_summaries(self, seeds: Mapping[str, int]) -> list[RunSummary]:
        """Return the outcomes of some runs, as their folders tell them; those of this training are not ``cached``.

        Args:
            seeds: Run id -> seed, which stands in the summary of a run without a result.
        """
        summaries = []
        failed = set(self.states.those_in(FAILED))
        for name, seed in seeds.items():
            folder = self.run_folder(name)
            summary = folder.read_finished()
            if summary is None:
                status = folder.read_status() if folder.path.exists() else "interrupted"
                if name in failed:  # on a full disk it cannot say so itself
                    status = "failed"
                summary = RunSummary(name, status, str(folder.path), seed)
            stamp = folder.result_stamp()
            was_there = stamp == self._results_before.get(name, stamp)
            summaries.append(replace(summary, cached=summary.cached and was_there))
        return summaries

    @property
    def is_training(self) -> bool:
        """Whether the backend has any part."""
        return bool(self._submitted)

    def look_at_folders(self, among: Sequence[str] | None = None) -> None:
        """Find results, which another process may have written, and runs that another process trains.

        Args:
            among: Run ids; None: all that were added.
        """
        self.states.move("try again", *self.states.those_in(BUSY, among=among))
        self._find_results(self.states.those_in(WAITING, among=among))
        waiting = self.states.those_in(WAITING, among=among)
        self.states.move("find busy", *(name for name in waiting if self.run_folder(name).is_locked()))

    def _find_results(self, names: Iterable[str]) -> None:
        self.states.move("find result", *filter(self.has_result, names))

    def cohorts_to_submit(self, cohorts: Iterable[PlannedCohort]) -> list[PlannedCohort]:
        """Return those of some cohorts that may be submitted now: one of their runs is waiting.

        A run that was in training when a worker died may have killed it. Its cohort waits until all others are done. It
        is then trained alone, so that no other run is suspected with it. Runs that did not begin wait for the others
        too: they may not have begun because of these.

        Args:
            cohorts: Cohorts of runs that were added, no two of which have a run in common.
        """
        submitted = {name for names in self._submitted.values() for name in names}
        if any(map(self.states.num_deaths, submitted)):
            return []
        waiting = [
            (cohort, names)
            for cohort in cohorts
            if (names := self.states.those_in(WAITING, among=cohort.run_ids)) and submitted.isdisjoint(cohort.run_ids)
        ]
        num_deaths = [min(map(self.states.num_deaths, names)) for _, names in waiting]
        unsuspected = [one for one, deaths in zip(waiting, num_deaths, strict=True) if deaths == 0]
        fresh = [cohort for cohort, names in unsuspected if self._unbegun.keys().isdisjoint(names)]
        if fresh or not waiting or submitted:
            return fresh
        return [cohort for cohort, _ in unsuspected] or [waiting[num_deaths.index(min(num_deaths))][0]]

    def submit(self, parts: Sequence[Sequence[PlannedCohort]], backend: Backend) -> None:
        """Hand cohorts to a backend.

        Args:
            parts: The cohorts of each part, from `cohorts_to_submit`.
            backend: The backend that has the parts submitted before, if any of them is left.

        Raises:
            OSError: The parts cannot be written, for another reason than a full disk.
        """
        self._backend = backend
        files = []
        for cohorts in parts:
            names = self.states.those_in(WAITING, among=[name for cohort in cohorts for name in cohort.run_ids])
            self.states.move("submit", *names)
            part = Part(cohorts, self._sweep_folder, self._swept, self._again, self._worker_stops_all)
            try:
                files.append(self.folder.write(part))
            except OSError as error:
                if not finds_no_room(error):
                    raise
                self.find_no_room()
                self.states.move("try again", *names)
                break
            self._submitted[files[-1]] = {name: self.run_folder(name).manifest_stamp() for name in names}
        if files:
            backend.submit(files)

    def stop_all_but(self, wanted: Iterable[str]) -> None:
        """Stop the parts that train no run that is wanted, with a checkpoint.

        Args:
            wanted: Ids of the runs that go on; a part without any of them stops.
        """
        for file, names in self._submitted.items():
            if names.keys().isdisjoint(wanted):
                halt_path(file).touch()

    @property
    def is_stepping(self) -> bool:
        """Whether some run of this command has made a step."""
        return self._num_begun > 0

    def watch(self) -> None:
        """Wait a moment for parts that end, and learn what became of their runs; some part must be in training."""
        assert self._backend is not None
        ended = self._backend.watch(LOOK_EVERY_S)
        self.folder.look()  # first: the last lines of a worker say how its runs ended
        if any(not self.has_result(name) for one in ended for name in self._submitted[one.part]):
            self._look_for_room()  # on a full disk a worker cannot tell why it ended
        is_stopped = self.folder.is_stopped or any(halt_path(one.part).exists() for one in ended)
        deaths: dict[str, str | None] = {}
        for one in ended:
            for name, manifest in self._submitted.pop(one.part).items():
                deaths[name] = one.death
                self._find_results([name])
                is_untold = bool(self.states.those_in(SUBMITTED, among=[name]))  # of its first step
                if is_untold and one.death is not None and self.run_folder(name).manifest_stamp() != manifest:
                    self._num_begun += 1
                    self.states.move("step", name)
                self.states.lose(name, one.death)
        unbegun = self.states.those_in(SUBMITTED, among=deaths)
        for name in set(deaths) - set(unbegun):
            self._unbegun.pop(name, None)
        if not is_stopped and len(unbegun) == len(deaths):  # else the death of another run's worker ended their parts
            self._count_unbegun(unbegun, deaths)
        self.states.move("try again", *self.states.those_in(SUBMITTED, INTERRUPTED, among=deaths))

    def _look_for_room(self) -> None:
        if has_no_room(self._sweep_folder):
            self.find_no_room()

    def _count_unbegun(self, names: Sequence[str], deaths: Mapping[str, str | None]) -> None:
        for name in names:
            self.states.give_reason(name, "it could not begin", deaths[name])
            times = self._unbegun.setdefault(name, [])
            times.append(self._num_begun)
            if len(times) >= MOST_UNBEGUN and times[0] < self._num_begun:
                self.states.move("give up", name)
            elif len(times) >= MOST_UNBEGUN:
                self.obstacle = deaths[name] or "jobs end before their run has started"
