"""A search, executed: trials are chosen by Optuna, trained as parts of a sweep, judged, and told to Optuna.

Trials are told in the order of their numbers, whichever ends first, and each is chosen as soon as all but the last few
before it have been told. So every choice is made from the same results, and the same command makes the same trials, cut
off or not. What a trial has come to is known from the folder of its run.
"""

import contextlib
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from bnlab import provenance
from bnlab.errors import BnlabError, RunBusyError, RunError
from bnlab.results.sweep import write_sweep
from bnlab.runfolder.folder import RunFolder
from bnlab.runfolder.identity import run_id
from bnlab.runfolder.writable import saying_where_it_cannot_write
from bnlab.schema import RunConfig
from bnlab.sweeps.backends.backend import Backend, PartEnded
from bnlab.sweeps.backends.local import LocalBackend
from bnlab.sweeps.cohorts import plan_cohorts
from bnlab.sweeps.execute import MOST_DEATHS, MOST_REFUSALS, OnError, SweepResult
from bnlab.sweeps.grid import expand_one
from bnlab.sweeps.optuna_study import Judge, OptunaStudy
from bnlab.sweeps.parts import Part, halt_path, part_path
from bnlab.sweeps.progress import SweepView
from bnlab.sweeps.samplers import typed
from bnlab.sweeps.search import Search
from bnlab.sweeps.trials import Trial, ValidationLosses, objective
from bnlab.sweeps.watch import LOOK_EVERY_S, Watch, read_summaries
from bnlab.training.interruption import Interruption


@dataclass(frozen=True)
class SearchResult:
    """The outcome of a search.

    Attributes:
        sweep: The runs, in the order in which they were chosen first.
        trials: The trials that have ended, by number. Two trials may have the same run.
        problem: Why the search ended before its last trial, in one sentence; None: it did not.
    """

    sweep: SweepResult
    trials: dict[int, Trial]
    problem: str | None

    @property
    def best(self) -> int | None:
        """The number of the trial with the lowest objective, the first of several; None: no trial has any."""
        values = [
            (trial.value, number)
            for number, trial in self.trials.items()
            if trial.value is not None and trial.pruned_at is None
        ]
        return min(values)[1] if values else None


@dataclass
class _OpenTrial:
    """A trial that has not been told.

    Attributes:
        number: Its number in the study.
        shown: Its number for the user: that of the first trial which it repeats, or its own.
        trial: Its settings and its run.
        config: The config of its run; None where no run can have its settings.
        judge: Says at which step the trial is stopped early; None: it never is.
        reported: Validation losses that the study has, by step.
        outcome: What is to be told of it; None: not known yet.
        is_told: Whether it was told by an earlier call, and only the folder of its run has been lost since.
    """

    number: int
    shown: int
    trial: Trial
    config: RunConfig | None
    judge: Judge | None = None
    reported: dict[int, float] = field(default_factory=dict)
    outcome: Trial | None = None
    is_told: bool = False


def run_search(
    search: Search,
    *,
    on_error: OnError = "continue",
    retries: int = 0,
    again: bool = False,
    view: SweepView | None = None,
    interruption: Interruption | None = None,
    backend: Backend | None = None,
) -> SearchResult:
    """Execute a search.

    Args:
        search: The search, planned.
        on_error: ``stop``: after a failure no further trial begins.
        retries: How often a run that failed is tried again at once.
        again: Begin the search anew, and train its runs anew.
        view: Shown each trial that has ended; None: nobody is told.
        interruption: Where a stop may be asked for, with a checkpoint; None: nowhere.
        backend: Trains the runs; None: the one that the words of the search name.

    Raises:
        KeyboardInterrupt: It was cut off; the records so far are kept.
        ConfigError: The storage of the trials cannot be reached, or has trials of another search.
        RunBusyError: Another process executes a search in this folder.
    """
    in_a_file = search.method.storage is None
    with contextlib.ExitStack() as stack:
        if in_a_file:
            stack.enter_context(_alone_in(search.folder))
        study = search.open_study(again=again)
        study.trials()  # of another search: that is told before a folder is made
        if not in_a_file:
            stack.enter_context(_alone_in(search.folder))
        backend = backend or LocalBackend(search.num_at_a_time)
        searching = _Searching(search, study, backend, view, interruption or Interruption())
        searching.stops_on_error = on_error == "stop"
        searching.retries = retries
        searching.began = provenance.now() if again else ""
        stack.enter_context(searching.watch.watching())
        problem = searching.search_on()
        return searching.result(problem)


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Let one search at a time choose trials in a folder; the lock of a killed process is free.

    Raises:
        RunBusyError: Another process does.
    """
    lock = FileLock(folder / ".locks" / "search.lock")
    with saying_where_it_cannot_write(folder):
        Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise RunBusyError(
                f"{folder}: another process executes a search here. Wait for it, or give this one another name=..."
            ) from None
    try:
        yield
    finally:
        lock.release()


class _Searching:
    """One execution of a search."""

    def __init__(
        self, search: Search, study: OptunaStudy, backend: Backend, view: SweepView | None, interruption: Interruption
    ) -> None:
        self.search = search
        self.study = study
        self.backend = backend
        self.watch = Watch(search.folder, self._take, interruption, view)
        self.stops_on_error = False
        self.retries = 0
        self.began = ""
        self.open: dict[int, _OpenTrial] = {}
        self.seeds: dict[str, int] = {}
        self.losses: dict[str, ValidationLosses] = {}
        self.num_chosen = 0
        self.num_waiting = 0
        self.training: dict[Path, str] = {}
        self.num_parts = 0
        self.lines: list[dict[str, Any]] = []
        self.failures: Counter[str] = Counter()
        self.deaths: Counter[str] = Counter()
        self.refusals = 0
        self.begun: set[str] = set()
        self.interrupted: set[str] = set()
        self.problems: dict[str, str] = {}
        self.death: str | None = None

    def search_on(self) -> str | None:
        """Make trials until there are enough; return why the search ended before that, or None."""
        self.watch.make_folder()
        self._resume()
        try:
            while True:
                self._choose()
                self._find_outcomes()
                if not self.watch.is_over and self._tell_first():
                    continue
                if not self.open or (self.watch.is_over and not self.training) or self.watch.interruption.is_asked:
                    return None
                if self.refusals >= MOST_REFUSALS:
                    return self.death
                if not self.watch.is_over:
                    self._submit()
                self._halt_what_nobody_wants()
                self._wait()
        except KeyboardInterrupt:
            self.backend.cancel(at_once=True)
            raise
        finally:
            for part in self.training:
                halt_path(part).touch()
            self.backend.cancel()
            self.backend.close()

    def _resume(self) -> None:
        """Take up the trials of earlier calls: those that were not told, and those whose run has been lost."""
        states = self.study.states
        trials = self.study.trials()
        done = [trial for trial in trials if trial.state.is_finished()]
        self.num_waiting = sum(trial.state == states.WAITING for trial in trials)
        self.num_chosen = len([one for one in trials if "repeats" not in one.user_attrs]) - self.num_waiting
        values = [trial.value for trial in done if trial.state == states.COMPLETE]
        if done:
            self.watch.take({"told": len(done), "best": min(values, default=None)})
        if len(done) == len(trials) and self.num_chosen >= self.search.num_trials:
            self._repeat_failures(done)
        for trial in trials:
            if "run" in trial.user_attrs:
                self.seeds[trial.user_attrs["run"]] = trial.user_attrs["seed"]
            is_lost = trial.state == states.COMPLETE and not self._is_done(trial.user_attrs["run"])
            if trial.state == states.RUNNING or is_lost:
                self._open(trial.number, is_told=is_lost)

    def _repeat_failures(self, done: list[Any]) -> None:
        """Try again what failed, by further trials: the search itself is complete."""
        last = {trial.user_attrs.get("repeats", trial.number): trial for trial in done}
        for trial in last.values():
            if trial.state == self.study.states.FAIL and trial.params:
                self.study.repeat(trial.number)
                self.num_waiting += 1

    def _choose(self) -> None:
        """Choose trials, as many as may be in training at a time."""
        while len(self.open) < self.search.num_at_a_time and not self.watch.is_over:
            if self.num_waiting == 0 and self.num_chosen >= self.search.num_trials:
                return
            number = self.study.choose()
            if self.num_waiting:
                self.num_waiting -= 1
            else:
                self.num_chosen += 1
            self._open(number)

    def _open(self, number: int, *, is_told: bool = False) -> None:
        """Take up a trial: find out which run has its settings."""
        chosen = self.study.chosen(number)
        one = _OpenTrial(number, self.study.root(number), Trial(chosen), None, is_told=is_told)
        self.open[number] = one
        try:
            overrides = [*self.search.fixed, *(f"{key}={value}" for key, value in chosen.items())]
            one.config = expand_one(overrides, self.search.config_dir)
        except BnlabError as error:
            self._end(one, problem=str(error))
            return
        one.trial = Trial(chosen, run_id(one.config), one.config.seed)
        if not is_told:
            self.study.note(number, run=one.trial.run, seed=one.trial.seed)
            one.judge = self.study.judge(number, told=number - self.search.num_at_a_time + 1)
        if one.trial.run not in self.seeds:
            self.seeds[str(one.trial.run)] = one.trial.seed
            write_sweep(self.search.folder, self.search.overrides, list(self.seeds))

    def _run_folder(self, run: str) -> RunFolder:
        return RunFolder(self.search.folder / run)

    def _is_done(self, run: str) -> bool:
        folder = self._run_folder(run)
        return folder.read_finished() is not None and str(folder.read_manifest().get("ended", "")) >= self.began

    def _find_outcomes(self) -> None:
        for one in self.open.values():
            run = one.trial.run
            if one.outcome is not None or run is None:
                continue
            is_done = self._is_done(run)  # before its losses are read: then they are all there
            if is_done or one.judge is not None:
                self._report(one, run)
            if one.judge is not None and one.judge.pruned_at is not None:
                self._end(one, value=one.reported[one.judge.pruned_at], pruned_at=one.judge.pruned_at)
            elif is_done:
                try:
                    self._end(one, value=objective(self._run_folder(run)))
                except RunError as error:
                    self._end(one, problem=str(error))
            elif run in self.problems:
                self._end(one, problem=self.problems[run])

    def _report(self, one: _OpenTrial, run: str) -> None:
        """Report the validation losses of a trial, up to the one at which it is stopped early."""
        folder = self._run_folder(run)
        with contextlib.suppress(RunError):  # it has not begun
            if self.began and str(folder.read_manifest().get("started", "")) < self.began:
                return  # the losses of an earlier training
        losses = self.losses.setdefault(run, ValidationLosses(folder)).read()
        new: dict[int, float] = {}
        for step, loss in losses.items():
            if step not in one.reported and (one.judge is None or one.judge.pruned_at is None):
                new[step] = loss
                if one.judge is not None:
                    one.judge.take(step, loss)
        if new and not one.is_told:
            self.study.report(one.number, new)
        one.reported |= new

    def _end(self, one: _OpenTrial, **facts: Any) -> None:
        """Note the outcome of a trial, and show it."""
        one.outcome = Trial(one.trial.chosen, one.trial.run, one.trial.seed, **facts)
        if not one.is_told:
            self.watch.take({"trial": one.shown, **asdict(one.outcome)})

    def _tell_first(self) -> bool:
        """Tell the first trial that has not been told, if it has ended; return whether it has."""
        one = self.open[min(self.open)] if self.open else None
        if one is None or one.outcome is None:
            return False
        if not one.is_told:
            is_pruned = one.outcome.pruned_at is not None
            if one.outcome.problem is not None:
                self.study.note(one.number, problem=one.outcome.problem)
            self.study.tell(one.number, None if is_pruned else one.outcome.value, one.judge)
        if one.outcome.problem is not None and self.stops_on_error:
            self.watch.stop()
        del self.open[one.number]
        return True

    def _submit(self) -> None:
        """Have the runs of trials trained. A run that was in training when a worker died is trained alone."""
        wanted = {one.trial.run: one.config for one in self.open.values() if one.trial.run and one.outcome is None}
        in_training = set(self.training.values())
        if any(self.deaths[run] for run in in_training):
            return
        free = [run for run in wanted if run not in in_training and not self._run_folder(run).is_locked()]
        suspects = [run for run in free if self.deaths[run]]
        if suspects and in_training:
            return
        parts = [self._write_part(run, wanted[run]) for run in suspects[:1] or free]
        if parts:
            self.backend.submit(parts)

    def _write_part(self, run: str, config: RunConfig | None) -> Path:
        """Write the file of a part that trains one run."""
        from bnlab.norms.catalog import is_vectorizable  # noqa: PLC0415  (it imports torch; the plan has, too)

        assert config is not None
        path = part_path(self.watch.folder, self.num_parts)
        swept = [axis.key for axis in self.search.axes]
        Part(plan_cohorts([config], is_vectorizable), self.search.folder, swept, bool(self.began), False).write(path)
        self.num_parts += 1
        self.training[path] = run
        self.begun.discard(run)
        self.interrupted.discard(run)
        return path

    def _halt_what_nobody_wants(self) -> None:
        """Stop the runs whose trials have all ended: those that were stopped early."""
        wanted = {one.trial.run for one in self.open.values() if one.outcome is None}
        for part, run in self.training.items():
            if run not in wanted:
                halt_path(part).touch()

    def _wait(self) -> None:
        """Wait a moment for parts that end, and note what became of them."""
        if not self.training:
            time.sleep(LOOK_EVERY_S)  # another process trains the runs
        ended = self.backend.watch(LOOK_EVERY_S)
        self.watch.look()
        lines, self.lines = self.lines, []
        for line in lines:
            self._note(line)
        self._count_deaths(ended)

    def _note(self, line: dict[str, Any]) -> None:
        self.begun.update(line.get("steps", {}))
        if line.get("ended", {}).get("status") == "interrupted":  # by a signal; the run continues from a checkpoint
            self.interrupted.add(line["ended"]["run_id"])
        for run in line.get("refused", []):
            self.failures[run] += 1
            if self.failures[run] > self.retries:
                self.problems[run] = line["reason"]

    def _count_deaths(self, ended: list[PartEnded]) -> None:
        """Count how often each run was in training when its worker died."""
        dead = {self.training.pop(one.part): one.death for one in ended}
        dead = {run: death for run, death in dead.items() if death is not None and run not in self.interrupted}
        if not dead:
            return
        begun = [run for run in dead if run in self.begun or self._run_folder(run).path.exists()]
        self.refusals = 0 if begun else self.refusals + 1
        for run in begun:
            self.deaths[run] += 1
            if self.deaths[run] >= MOST_DEATHS:
                self.problems[run] = f"its worker was lost each time that it was tried: {dead[run]}"
        self.death = next(iter(dead.values()))

    def _take(self, line: dict[str, Any]) -> None:
        if "trial" not in line:
            self.lines.append(line)

    def result(self, problem: str | None) -> SearchResult:
        """Return the outcome, by the study and the folders of the runs."""
        trials: dict[int, Trial] = {}
        for one in self.study.trials():
            if one.state.is_finished():
                pruned_at = one.last_step if one.state == self.study.states.PRUNED else None
                facts = {name: one.user_attrs.get(name) for name in ("run", "problem")}
                trials[one.user_attrs.get("repeats", one.number)] = Trial(
                    typed(one.params), **facts, seed=one.user_attrs.get("seed", 0), value=one.value, pruned_at=pruned_at
                )
        trials |= {one.shown: one.outcome for one in self.open.values() if one.outcome is not None}
        reasons = {trial.run: trial.problem for trial in trials.values() if trial.run and trial.problem}
        summaries = read_summaries(self.search.folder, self.seeds)
        return SearchResult(SweepResult(self.search.folder, summaries, reasons), dict(sorted(trials.items())), problem)
