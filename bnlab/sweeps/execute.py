"""Trains what is missing of a sweep: a backend gets parts, until nothing is missing or nothing moves.

Which runs have a result is known from their folders alone, never from what a backend says: a killed worker, a lost
machine or a second sweep beside this one need no case of their own. What is still missing is submitted again.
"""

import contextlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bnlab import provenance
from bnlab.records import RunSummary
from bnlab.results.sweep import write_sweep
from bnlab.runfolder.identity import run_id
from bnlab.sweeps.backends.backend import Backend
from bnlab.sweeps.backends.this_process import ThisProcess
from bnlab.sweeps.cohorts import MOST_TOGETHER, PlannedCohort, program
from bnlab.sweeps.launcher_words import open_backend
from bnlab.sweeps.parts import Part, cut_into_parts
from bnlab.sweeps.parts_folder import PartsFolder, read_summaries
from bnlab.sweeps.plan import Sweep, ids_of, plan_sweep, prepared
from bnlab.sweeps.progress import SweepView
from bnlab.sweeps.run_states import BUSY, INTERRUPTED, NOT_FINAL, SUBMITTED, WAITING, RunStates
from bnlab.training.interruption import Interruption

LOOK_EVERY_S = 0.25
"""Seconds between two looks at the progress of the workers."""

BUSY_S = 1.0
"""Seconds between two looks at runs that another process trains."""

OnError = Literal["continue", "stop"]


@dataclass(frozen=True)
class SweepResult:
    """The outcome of a sweep.

    Attributes:
        folder: The sweep's folder, in which each run has a folder.
        summaries: One per run, in the order of the sweep.
        reasons: Run id -> why the run has no result, or no new result where that was asked, as far as that is known.
    """

    folder: Path
    summaries: list[RunSummary]
    reasons: dict[str, str]


def run_sweep(
    overrides: Sequence[str],
    *,
    runs: Path | None = None,
    config_dir: Path | None = None,
    jobs: int | None = None,
    view: SweepView | None = None,
) -> SweepResult:
    """Plan a sweep and train what is missing of it, as ``bnlab sweep`` does.

    Args:
        overrides: Hydra's grammar with sweeps, such as ``["norm=batch,none", "seed=range(3)"]``.
        runs: The folder for all runs; None: BNLAB_RUNS, else ./runs.
        config_dir: A folder with the user's own options; None: bnlab's conf/ and ./conf alone.
        jobs: Processes on this machine; None: one per physical core.
        view: Shown the progress of the sweep; None: nobody is.

    Raises:
        BnlabError: A setting or a file is wrong; nothing has been trained.
    """
    sweep = plan_sweep(overrides, runs, config_dir)
    missing = sweep.missing()
    start_workers_early(sweep, missing, jobs)
    return execute(prepared(sweep) if missing else sweep, missing, jobs=jobs, view=view)


def start_workers_early(sweep: Sweep, wanted: Sequence[str], jobs: int | None = None) -> None:
    """Start the workers that a sweep will surely need, so that they have imported torch when it is `prepared`.

    Args:
        sweep: The sweep, planned; it need not be prepared.
        wanted: Run ids, as for `execute`.
        jobs: Processes on this machine, as for `execute`.
    """
    from bnlab.sweeps.backends.local import begin_workers  # noqa: PLC0415  (a finished sweep need not wait for loky)

    configs = [sweep.configs[name] for name in wanted]
    are_several = len(configs) > MOST_TOGETHER or len({program(config) for config in configs}) > 1
    if are_several and not sweep.launcher and _num_jobs(jobs) > 1:
        begin_workers(_num_jobs(jobs))


def _num_jobs(wanted: int | None) -> int:
    return wanted or provenance.num_physical_cores()


def execute(
    sweep: Sweep,
    wanted: Sequence[str],
    *,
    jobs: int | None = None,
    on_error: OnError = "continue",
    retries: int = 0,
    again: bool = False,
    view: SweepView | None = None,
    interruption: Interruption | None = None,
    backend: Backend | None = None,
) -> SweepResult:
    """Train what is missing of a sweep.

    Args:
        sweep: The sweep, after `prepared`.
        wanted: The run ids to train, such as those of `Sweep.missing`.
        jobs: Processes on this machine, or jobs of a cluster; None: one per physical core.
        on_error: ``stop``: after a failure no further run begins.
        retries: How often a run that failed is tried again.
        again: Train runs anew that have a result.
        view: Shown the progress of the sweep; None: nobody is.
        interruption: Asked whether training should stop, with a checkpoint; None: nobody asks for it.
        backend: Trains the parts, whatever ``sweep.launcher`` says; None: the backend that it says.

    Raises:
        KeyboardInterrupt: It was cut off; what was recorded is kept.
    """
    write_sweep(sweep.folder, sweep.overrides, list(sweep.configs))
    execution = _Execution(sweep, wanted, jobs, on_error, retries, again, view, interruption, backend)
    if wanted:  # a finished sweep may lie where nobody can write
        with execution.folder, contextlib.ExitStack() as stack:
            if execution.backend is not None:
                stack.callback(execution.backend.close)
            execution.train()
    return execution.result()


class _Execution:
    """One execution of a sweep: its table of run states, and the batches of parts that follow from it."""

    def __init__(
        self,
        sweep: Sweep,
        wanted: Sequence[str],
        jobs: int | None,
        on_error: OnError,
        retries: int,
        again: bool,
        view: SweepView | None,
        interruption: Interruption | None,
        backend: Backend | None,
    ) -> None:
        self.sweep = sweep
        self.wanted_jobs = jobs
        self.jobs = _num_jobs(jobs)
        self.on_error = on_error
        self.retries = retries
        self.again = again
        self.results_before = {name: sweep.run_folder(name).result_stamp() for name in wanted} if again else {}
        self.interruption = interruption or Interruption()
        self.backend = backend or (open_backend(sweep.launcher, self.jobs) if sweep.launcher else None)
        self.folder = PartsFolder(sweep.folder, self._take, view)
        self.resumed = [(cohort, ids_of(cohort)) for cohort in sweep.cut_off if not again]
        self.planned = [(cohort, ids_of(cohort)) for cohort in sweep.cohorts]
        self.states = RunStates(self._with_resumed(wanted), retries)
        self.manifests_before: dict[str, int | None] = {}

    def _with_resumed(self, wanted: Sequence[str]) -> list[str]:
        """Return the wanted runs, and those that must be resumed before them: see `_allowed`."""
        names = set(wanted)
        overwritten = {name for _, ids in self.planned if not ids.isdisjoint(names) for name in ids}
        names |= {name for _, ids in self.resumed if not ids.isdisjoint(overwritten) for name in ids}
        return [name for name in self.sweep.configs if name in names]

    def train(self) -> None:
        """Train batch after batch, until no run is left that may be trained."""
        while not self._is_over():
            self._look_at_folders()
            cohorts, is_suspected = self._next_cohorts()
            if cohorts:
                self._train_batch(cohorts, is_suspected)
            busy = self.states.those_in(BUSY)
            if not cohorts and not busy:
                return
            if busy and not self._is_over():
                time.sleep(BUSY_S)  # if the other process dies, its runs become free
            self._move("try again", busy)

    def _is_over(self) -> bool:
        return self.folder.is_stopped or self.interruption.is_asked

    def _move(self, happened: str, names: Iterable[str]) -> None:
        for name in names:
            self.states.move(happened, name)

    def _look_at_folders(self) -> None:
        """Find results, which another process may have written, and runs that another process trains."""
        self._find_results(self.states.those_in(WAITING))
        locked = [name for name in self.states.those_in(WAITING) if self.sweep.run_folder(name).is_locked()]
        self._move("find busy", locked)

    def _find_results(self, names: Iterable[str]) -> None:
        self._move("find result", [name for name in names if not self._has_no_result(name)])

    def _has_no_result(self, name: str) -> bool:
        return self.sweep.run_folder(name).result_stamp() in {None, self.results_before.get(name)}

    def _next_cohorts(self) -> tuple[list[PlannedCohort], bool]:
        """Return the cohorts to train next, and whether one of them is suspected to kill its worker.

        A cohort whose worker died waits until all others are done. It is then trained alone.
        """
        allowed = [(cohort, self.states.those_in(WAITING, among=ids)) for cohort, ids in self._allowed()]
        fewest = min((self.states.num_deaths(name) for _, names in allowed for name in names), default=0)
        cohorts = [cohort for cohort, names in allowed if fewest in map(self.states.num_deaths, names)]
        return (cohorts[:1], True) if fewest else (cohorts, False)

    def _allowed(self) -> list[tuple[PlannedCohort, set[str]]]:
        """Return the cohorts that may be trained now, no two of which have a run in common.

        The one rule about resumed cohorts: a cohort that was cut off is resumed as it was, before any other cohort with
        one of its runs begins. The other cohort would overwrite its checkpoint.
        """
        allowed: list[tuple[PlannedCohort, set[str]]] = []
        taken: set[str] = set()
        for cohort, ids in self.resumed:
            if self.states.those_in(*NOT_FINAL, among=ids):
                allowed += [(cohort, ids)] if ids.isdisjoint(taken) else []
                taken |= ids
        return allowed + [(cohort, ids) for cohort, ids in self.planned if ids.isdisjoint(taken)]

    def _train_batch(self, cohorts: Sequence[PlannedCohort], is_suspected: bool) -> None:
        """Have some cohorts trained, and wait for them."""
        one_per_job = self.backend is not None and self.backend.has_process_per_part and self.wanted_jobs is not None
        is_stopped_at_once = self.on_error == "stop" and self.retries == 0
        runs_of: dict[Path, list[str]] = {}
        self.manifests_before = {name: self.sweep.run_folder(name).manifest_stamp() for name in self.sweep.configs}
        for some in cut_into_parts(cohorts, self.jobs, one_per_job):
            part = Part(some, self.sweep.folder, self.sweep.swept, self.again, is_stopped_at_once)
            ids = [name for cohort in some for name in map(run_id, cohort.configs)]
            runs_of[self.folder.write(part)] = [name for name in ids if self.states.move("submit", name)]
        backend = self._backend_for(len(runs_of), is_suspected)
        try:
            self._watch(backend, runs_of)
        except BaseException:  # Ctrl-C, for one
            self.folder.halt()
            backend.cancel(at_once=True)
            raise
        self._move("try again", self.states.those_in(SUBMITTED, INTERRUPTED))

    def _backend_for(self, num_parts: int, is_suspected: bool) -> Backend:
        if self.backend is not None:
            return self.backend
        if is_suspected or self.states.has_deaths or min(self.jobs, num_parts) > 1:
            return open_backend([], self.jobs)
        # a worker would have to import torch again; after a death, any run left may be one that kills its process
        return ThisProcess(self.folder.take, self.interruption, self.sweep.checks)

    def _watch(self, backend: Backend, runs_of: dict[Path, list[str]]) -> None:
        """Submit parts, and watch them until they have ended, or until training should stop."""
        backend.submit(list(runs_of))
        left, death = set(runs_of), None
        while left:
            ended = backend.watch(LOOK_EVERY_S)
            self.folder.look()
            for part in ended:
                left.remove(part.part)
                death = part.death or death
                self._find_results(runs_of[part.part])
                for name in runs_of[part.part]:
                    if part.death is not None and self._has_begun(name):
                        self.states.move("step", name)  # its worker died before it told of a step
                    self.states.lose(name, part.death)
            if self.interruption.is_asked and self.folder.halt():
                backend.cancel()
                return
        names = [name for names in runs_of.values() for name in names]
        if self.states.those_in(SUBMITTED, among=names) == names and not self._is_over():
            self.states.refuse(names, death)

    def _has_begun(self, name: str) -> bool:
        """Whether a worker has opened the folder of a run since the batch was submitted."""
        return self.sweep.run_folder(name).manifest_stamp() != self.manifests_before[name]

    def _take(self, line: dict[str, Any]) -> None:
        if self.states.take(line) and self.on_error == "stop":
            self.folder.stop()

    def result(self) -> SweepResult:
        """Return the outcome, as the runs' folders tell it."""
        seeds = {name: config.seed for name, config in self.sweep.configs.items()}
        reasons = {name: why for name, why in self.states.reasons.items() if self._has_no_result(name)}
        return SweepResult(self.sweep.folder, read_summaries(self.sweep.folder, seeds), reasons)
