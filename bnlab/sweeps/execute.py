"""Trains what is missing of a sweep: parts go to a launcher, until nothing is missing or nothing moves.

What is done is known from the runs' folders alone, never from what a launcher says: a killed worker, a lost machine
or a second sweep beside this one need no case of their own. What is still missing is launched again.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bnlab import provenance
from bnlab.records import RunSummary
from bnlab.results.sweep import write_sweep
from bnlab.sweeps.cohorts import MOST_TOGETHER, PlannedCohort, program
from bnlab.sweeps.jobs import why_a_job_died
from bnlab.sweeps.launch import has_a_process_per_part, launch, starts_all_at_once
from bnlab.sweeps.parts import Part, part_path, train_cohorts
from bnlab.sweeps.plan import Sweep, ids_of, plan_sweep, prepared
from bnlab.sweeps.progress import SweepView
from bnlab.sweeps.watch import Watch, read_summaries
from bnlab.sweeps.workers import begin_workers
from bnlab.training.interruption import Interruption

MOST_RUNS_PER_PART = 8
"""Runs that are trained one by one, in one part: a part costs a tenth of a second, and the last ones should end at
about the same time."""

PARTS_PER_JOB = 4
"""At least, where there are runs enough: then no worker waits long for the last one."""

MOST_DEATHS = 3
"""Times that a run may be in training when its worker dies, before it is given up."""

MOST_REFUSALS = 2
"""Times that a launcher may raise before it has begun a single run: then it is not set up, or the cluster is not."""

BUSY_S = 1.0
"""Seconds between two looks at runs that another sweep trains."""

OnError = Literal["continue", "stop"]


@dataclass(frozen=True)
class SweepResult:
    """What came out of a sweep.

    Attributes:
        folder: Where its runs' folders lie.
        summaries: One per run, in the order of the sweep.
        reasons: Run id -> why there is no result, or none anew where that was asked, as far as that is known.
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
        config_dir: A folder of own options.
        jobs: Processes on this machine; None: one per core.
        view: Shown how far it is.

    Raises:
        BnlabError: A setting or a file is wrong; nothing has been trained.
    """
    sweep = plan_sweep(overrides, runs, config_dir)
    missing = sweep.missing()
    begin(sweep, missing, jobs)
    return execute(prepared(sweep) if missing else sweep, missing, jobs=jobs, view=view)


def begin(sweep: Sweep, wanted: Sequence[str], jobs: int | None = None) -> None:
    """Begin the workers that a sweep will surely need, so that they are there when it is `prepared`.

    Args:
        sweep: What was planned.
        wanted: As for `execute`.
        jobs: As for `execute`.
    """
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
) -> SweepResult:
    """Train what is missing of a sweep.

    Args:
        sweep: What was planned.
        wanted: The run ids to train, `Sweep.missing` for one.
        jobs: Processes on this machine; None: one per physical core. With a launcher of the user's: its jobs.
        on_error: ``stop``: after a failure no further run is begun.
        retries: How often a run that failed is tried again.
        again: Train anew what is finished.
        view: Shown how far it is.
        interruption: Where a stop may be asked for, with a checkpoint; workers have their own.

    Raises:
        KeyboardInterrupt: It was cut off; what was recorded is kept.
    """
    write_sweep(sweep.folder, sweep.overrides, list(sweep.configs))
    execution = _Execution(sweep, jobs, on_error, retries, again, view, interruption or Interruption())
    with execution.watch.watching():
        execution.train(wanted)
    return execution.result()


class _Execution:
    """One execution of a sweep: what it still has to do, and what it knows of failures and deaths."""

    def __init__(
        self,
        sweep: Sweep,
        jobs: int | None,
        on_error: OnError,
        retries: int,
        again: bool,
        view: SweepView | None,
        interruption: Interruption,
    ) -> None:
        self.sweep = sweep
        self.wanted_jobs = jobs
        self.jobs = _num_jobs(jobs)
        self.on_error = on_error
        self.retries = retries
        self.began = provenance.now() if again else ""
        self.watch = Watch(sweep.folder, self._take, interruption, view)
        self.failures: Counter[str] = Counter()
        self.deaths: Counter[str] = Counter()
        self.reasons: dict[str, str] = {}
        self.refusals = 0
        self.begun: set[str] = set()
        self.busy: set[str] = set()
        self.interrupted: set[str] = set()
        self.cohorts = [(cohort, ids_of(cohort)) for cohort in sweep.cohorts]
        self.cut_off = [(cohort, ids_of(cohort)) for cohort in sweep.cut_off if not again]

    def train(self, targets: Sequence[str]) -> None:
        """Launch what is missing, until nothing is, or nothing moves any more."""
        targets = self._with_what_goes_first(targets)
        while missing := [name for name in targets if self._is_missing(name)]:
            waiting = self._waiting()
            missing = [name for name in missing if name not in waiting]
            fewest = min(self.deaths[name] for name in missing)
            given_up = fewest >= MOST_DEATHS or self.refusals >= MOST_REFUSALS
            if given_up or self.watch.is_over:
                return
            mine = [name for name in missing if self.deaths[name] == fewest]
            free = [name for name in mine if not self.sweep.run_folder(name).is_locked()]
            if free:
                self._launch(free, alone=fewest > 0)
            if self.busy or not free:
                time.sleep(BUSY_S)  # another sweep trains them; if it dies, they become free

    def _with_what_goes_first(self, targets: Sequence[str]) -> list[str]:
        """Return what is to be trained, and before it what would lose its checkpoint, since it shares a cohort."""
        wanted = set(targets)
        company = {name for _, ids in self.cohorts if not ids.isdisjoint(wanted) for name in ids}
        wanted |= {name for _, ids in self.cut_off if not ids.isdisjoint(company) for name in ids}
        return [name for name in self.sweep.configs if name in wanted]

    def _unfinished(self) -> list[tuple[PlannedCohort, set[str]]]:
        """Return the cohorts that were cut off and have yet to go on."""
        return [
            (cohort, ids)
            for cohort, ids in self.cut_off
            if any(self.deaths[name] < MOST_DEATHS and self._is_missing(name) for name in ids & set(self.sweep.configs))
        ]

    def _waiting(self) -> set[str]:
        """Return the runs that are not to be trained before a cohort that was cut off: theirs would overwrite it."""
        first = {name for _, ids in self._unfinished() for name in ids}
        return {name for _, ids in self.cohorts if not ids.isdisjoint(first) for name in ids} - first

    def _to_launch(self, names: Sequence[str]) -> list[PlannedCohort]:
        """Return the cohorts of some runs, no two of which have a run in common."""
        wanted, taken, chosen = set(names), set[str](), []
        for cohort, ids in [*self._unfinished(), *self.cohorts]:
            if not ids.isdisjoint(wanted):
                chosen += [cohort] if ids.isdisjoint(taken) else []
                taken |= ids
        return chosen

    def _is_missing(self, name: str) -> bool:
        return self.failures[name] <= self.retries and self._has_no_result(name)

    def _has_no_result(self, name: str) -> bool:
        folder = self.sweep.run_folder(name)
        if folder.read_finished() is None:
            return True
        return str(folder.read_manifest().get("ended", "")) < self.began

    def _launch(self, names: Sequence[str], alone: bool) -> None:
        """Launch the cohorts of some runs; alone: one after another, to find out which of them kills its worker."""
        cohorts = self._to_launch(names)
        parts = [[cohort] for cohort in cohorts] if alone else self._parts(cohorts)
        self.watch.make_folder()
        for number, part in enumerate(parts):
            self._part(part).write(part_path(self.watch.folder, number))
        failed_before = self.failures.copy()
        for names_of_last_time in (self.begun, self.busy, self.interrupted):
            names_of_last_time.clear()
        errors: list[Exception | None] = []
        if alone:
            errors = [self._launched([number]) for number in range(len(parts))]
        elif self.sweep.launcher or self.deaths or min(self.jobs, len(parts)) > 1:
            errors = [self._launched(range(len(parts)))]
        else:
            for part in parts:  # in this process: a worker would only have to import it all again
                train_cohorts(self._part(part), self.watch.folder, self.watch.take, self.watch.interruption)
        self.watch.look()
        gone_on = self.busy | self.interrupted | set(self.failures - failed_before)
        lost = [name for name in names if self._is_missing(name) and name not in gone_on]
        moved = len(lost) < len(names) or self.failures != failed_before
        self._count_deaths([name for name in lost if name in self.begun] or ([] if moved else lost), errors)

    def _launched(self, parts: Sequence[int]) -> Exception | None:
        return launch(self.watch.folder, parts, max(2, self.jobs), self.sweep.launcher, self.watch.interruption)

    def _count_deaths(self, suspects: Sequence[str], errors: Sequence[Exception | None]) -> None:
        """Remember who was in training when a worker died; or, where nothing moved at all, everybody."""
        if self.watch.is_over:
            return
        said = next((f": {why_a_job_died(error)}" for error in errors if error is not None), "")
        refused = bool(said and suspects and not self.begun)
        self.refusals += refused
        for name in suspects:
            self.deaths[name] += not refused
            self.reasons[name] = f"{'it could not be begun' if refused else 'its worker was lost'}{said}"

    def _parts(self, cohorts: Sequence[PlannedCohort]) -> list[list[PlannedCohort]]:
        """Cut a sweep into parts: a vectorized cohort each, or a few runs that are trained one by one.

        Where each part is a process that has to begin by importing torch, there are as many parts as jobs.
        """
        size = MOST_RUNS_PER_PART
        single = [cohort for cohort in cohorts if len(cohort.configs) == 1]
        if not has_a_process_per_part(self.sweep.launcher):
            size = max(1, min(size, len(single) // (self.jobs * PARTS_PER_JOB)))
        elif self.wanted_jobs or starts_all_at_once(self.sweep.launcher):
            return [part for i in range(self.jobs) if (part := list(cohorts[i :: self.jobs]))]
        grouped = [single[i : i + size] for i in range(0, len(single), size)]
        return [[cohort] for cohort in cohorts if len(cohort.configs) > 1] + grouped

    def _part(self, cohorts: Sequence[PlannedCohort]) -> Part:
        is_at_once = self.on_error == "stop" and self.retries == 0
        return Part(cohorts, self.sweep.folder, self.sweep.swept, bool(self.began), is_at_once)

    def _take(self, line: dict[str, Any]) -> None:
        self.begun.update(line.get("steps", {}))
        self.busy.update(line.get("busy", []))
        if "ended" in line and line["ended"]["status"] == "interrupted":  # by a signal; it goes on from a checkpoint
            self.interrupted.add(line["ended"]["run_id"])
        for name in line.get("refused", []):
            self.failures[name] += 1
            self.reasons[name] = line["reason"]
            if self.on_error == "stop" and self.failures[name] > self.retries:
                self.watch.stop()

    def result(self) -> SweepResult:
        """Return what came out, as the folders say."""
        seeds = {name: config.seed for name, config in self.sweep.configs.items()}
        reasons = {name: why for name, why in self.reasons.items() if name in seeds and self._has_no_result(name)}
        return SweepResult(self.sweep.folder, read_summaries(self.sweep.folder, seeds), reasons)
