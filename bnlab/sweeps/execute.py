"""Trains what is missing of a sweep, batch after batch, until nothing is missing or no run may be tried any more."""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bnlab import provenance
from bnlab.errors import ConfigError, RunBusyError
from bnlab.records import RunSummary
from bnlab.results.sweep import PLACES
from bnlab.sweeps.backends.backend import Backend
from bnlab.sweeps.backends.this_process import ThisProcess
from bnlab.sweeps.cohorts import MOST_TOGETHER, PlannedCohort, program
from bnlab.sweeps.dispatcher import BUSY_S, Dispatcher
from bnlab.sweeps.earlier_runs import EarlierRuns, find_earlier
from bnlab.sweeps.launcher_words import open_backend
from bnlab.sweeps.parts import cut_into_parts
from bnlab.sweeps.plan import Sweep, plan_sweep, prepared
from bnlab.sweeps.plan_file import write_with_earlier
from bnlab.sweeps.progress import SweepView
from bnlab.sweeps.run_states import BUSY, NOT_FINAL
from bnlab.training.interruption import Interruption

OnError = Literal["continue", "stop"]


@dataclass(frozen=True)
class SweepResult:
    """The outcome of a sweep.

    Attributes:
        folder: The sweep's folder, in which each run has a folder.
        summaries: One per run, in the order of the sweep.
        reasons: Run id -> why the run has no result, or no new result where that was asked, as far as that is known.
        obstacle: Why no further run could begin, in one line; None: each one could.
    """

    folder: Path
    summaries: list[RunSummary]
    reasons: dict[str, str]
    obstacle: str | None = None


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
    if missing:
        from bnlab.sweeps.copied_runs import take_over_runs  # noqa: PLC0415  (torch; a finished sweep need not wait)

        sweep = prepared(sweep)
        take_over_runs(sweep, missing)
        missing = sweep.missing()
    return execute(sweep, missing, jobs=jobs, view=view)


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
        KeyboardInterrupt: It was interrupted; the records up to then are kept.
        ConfigError: The sweep's folder cannot be written to, or holds another sweep; nothing has been trained.
    """
    earlier = _write_plan(sweep, sweep.earlier)
    stops_on_error = on_error == "stop"
    dispatcher = Dispatcher(
        sweep.folder, sweep.swept, again=again, retries=retries, stops_on_error=stops_on_error, view=view
    )
    if wanted:  # a finished sweep may lie where nobody can write
        interruption = interruption or Interruption()
        with dispatcher:
            resumed = [] if again else sweep.cut_off
            _Execution(sweep, resumed, dispatcher, interruption, jobs, backend).train(wanted)
        interruption.end()
        # another command may have continued this sweep meanwhile, and left out the runs that had not begun
        with contextlib.suppress(
            ConfigError, RunBusyError
        ):  # a full disk, for one: what was computed is shown all the same
            _write_plan(sweep, earlier)
    seeds = {name: config.seed for name, config in sweep.configs.items()}
    reasons = {name: why for name, why in dispatcher.states.reasons.items() if not dispatcher.has_result(name)}
    return SweepResult(sweep.folder, dispatcher.read_summaries(seeds), reasons, dispatcher.obstacle)


def _write_plan(sweep: Sweep, earlier: EarlierRuns) -> EarlierRuns:
    """Write sweep.json; return the runs of earlier commands, searched again if another command has written meanwhile.

    Args:
        sweep: The planned sweep; its plan is written into its folder.
        earlier: The runs of earlier commands, as they were found last.

    Raises:
        ConfigError: The folder cannot be written to, or holds another sweep.
        RunBusyError: Another process does not stop writing.
    """
    swept = PLACES & set(sweep.swept)
    places = {
        name: {key: getattr(config.data, key.removeprefix("data.")) for key in sorted(swept)}
        for name, config in (sweep.configs if swept else {}).items()
    }
    return write_with_earlier(
        sweep.folder,
        sweep.overrides,
        list(sweep.configs),
        earlier,
        lambda: find_earlier(sweep.folder, sweep.configs),
        places,
        sweep.others,
    )


class _Execution:
    """Chooses which cohorts of a sweep are trained next, and by which backend."""

    def __init__(
        self,
        sweep: Sweep,
        resumed: Sequence[PlannedCohort],
        dispatcher: Dispatcher,
        interruption: Interruption,
        jobs: int | None,
        backend: Backend | None,
    ) -> None:
        self.sweep = sweep
        self.resumed = [(cohort, set(cohort.run_ids)) for cohort in resumed]
        self.planned = [(cohort, set(cohort.run_ids)) for cohort in sweep.cohorts]
        self.dispatcher = dispatcher
        self.states = dispatcher.states
        self.interruption = interruption
        self.jobs = _num_jobs(jobs)
        self.backend = backend or (open_backend(sweep.launcher, self.jobs) if sweep.launcher else None)
        self.one_part_per_job = jobs is not None and self.backend is not None and self.backend.has_process_per_part

    def train(self, wanted: Sequence[str]) -> None:
        """Train batch after batch, until no run is left that may be trained."""
        self.dispatcher.add(self._with_resumed(wanted))
        while not self._is_over():
            self.dispatcher.look_at_folders()
            cohorts = self.dispatcher.cohorts_to_submit(self._allowed())
            if cohorts:
                self._train_batch(cohorts)
            is_busy = bool(self.states.those_in(BUSY))
            if not cohorts and not is_busy:
                return
            if is_busy and not self._is_over():
                time.sleep(BUSY_S)  # if the other process dies, its runs become free

    def _with_resumed(self, wanted: Sequence[str]) -> list[str]:
        """Return the wanted runs, and those that must be resumed before them: see `_allowed`."""
        names = set(wanted)
        overwritten = {name for _, ids in self.planned if not ids.isdisjoint(names) for name in ids}
        names |= {name for _, ids in self.resumed if not ids.isdisjoint(overwritten) for name in ids}
        return [name for name in self.sweep.configs if name in names]

    def _is_over(self) -> bool:
        return self.dispatcher.folder.is_stopped or self.interruption.is_asked or self.dispatcher.obstacle is not None

    def _allowed(self) -> list[PlannedCohort]:
        """Return the cohorts that may be trained now, no two of which have a run in common.

        The one rule about resumed cohorts: a cohort that was cut off is resumed as it was, before any other cohort with
        one of its runs begins. The other cohort would overwrite its checkpoint.
        """
        allowed: list[PlannedCohort] = []
        taken: set[str] = set()
        for cohort, ids in self.resumed:
            if self.states.those_in(*NOT_FINAL, among=ids):
                allowed += [cohort] if ids.isdisjoint(taken) else []
                taken |= ids
        return allowed + [cohort for cohort, ids in self.planned if ids.isdisjoint(taken)]

    def _train_batch(self, cohorts: Sequence[PlannedCohort]) -> None:
        """Have some cohorts trained, and wait for them, or until training should stop."""
        parts = cut_into_parts(cohorts, self.jobs, self.one_part_per_job)
        self.dispatcher.submit(parts, self._backend_for(len(parts)))
        while self.dispatcher.is_training and not (self.interruption.is_asked and self.dispatcher.folder.halt()):
            self.dispatcher.watch()
            if self.dispatcher.is_stepping:
                self.interruption.begin()

    def _backend_for(self, num_parts: int) -> Backend:
        if self.backend is not None:
            return self.backend
        if self.states.has_deaths or min(self.jobs, num_parts) > 1:
            return open_backend([], self.jobs)
        # a worker would have to import torch again; after a death, any run left may be one that kills its process
        return ThisProcess(self.dispatcher.folder.take, self.interruption, self.sweep.checks)
