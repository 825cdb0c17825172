"""A search, executed: trials are chosen by Optuna, trained as parts of a sweep, judged, and told to Optuna.

Trials are told in the order of their numbers, whichever ends first, and each is chosen as soon as all but the last few
before it have been told. So every choice is made from the same results, and the same command makes the same trials, cut
off or not. The outcome of a trial is known from the folder of its run.
"""

import contextlib
from dataclasses import asdict, dataclass, field
from typing import Any

from bnlab.errors import BnlabError, RunError
from bnlab.results.sweep import write_sweep
from bnlab.runfolder.identity import run_id
from bnlab.schema import RunConfig
from bnlab.sweeps.backends.backend import Backend
from bnlab.sweeps.execute import OnError, SweepResult
from bnlab.sweeps.grid import expand_one
from bnlab.sweeps.launcher_words import open_backend
from bnlab.sweeps.optuna_study import Judge, OptunaStudy
from bnlab.sweeps.parts_folder import read_summaries
from bnlab.sweeps.progress import SweepView
from bnlab.sweeps.run_pool import RunPool
from bnlab.sweeps.samplers import typed
from bnlab.sweeps.search import Search, alone_in
from bnlab.sweeps.trials import SearchResult, Trial, ValidationLosses, objective
from bnlab.training.interruption import Interruption


@dataclass
class _OpenTrial:
    """A trial of which Optuna has not been told the outcome.

    Attributes:
        number: Its number in the study.
        shown: Its number for the user: that of the first trial which it repeats, or its own.
        trial: Its settings and its run.
        config: The config of its run; None where no run can have its settings.
        judge: Says at which step the trial is stopped early; None: it never is.
        reported: Validation losses that the study has, by step.
        outcome: The trial with its outcome, which Optuna is to be told; None: it has not ended.
        is_told: Whether an earlier call told the outcome, and only the folder of the run has been lost since.
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
        search: The search, as `plan_search` returned it.
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
            stack.enter_context(alone_in(search.folder))
        study = search.open_study(again=again)
        study.trials()  # of another search: that is told before a folder is made
        if not in_a_file:
            stack.enter_context(alone_in(search.folder))
        pool = RunPool(
            search.folder,
            backend or open_backend(search.launcher, search.num_at_a_time),
            [axis.key for axis in search.axes],
            again=again,
            retries=retries,
            view=view,
        )
        stack.enter_context(pool.parts)
        searching = _Searching(search, study, pool, interruption or Interruption(), stops_on_error=on_error == "stop")
        problem = searching.search_on()
        return searching.result(problem)


class _Searching:
    """One execution of a search."""

    def __init__(
        self, search: Search, study: OptunaStudy, pool: RunPool, interruption: Interruption, *, stops_on_error: bool
    ) -> None:
        self.search = search
        self.study = study
        self.pool = pool
        self.interruption = interruption
        self.stops_on_error = stops_on_error
        self.open: dict[int, _OpenTrial] = {}
        self.seeds: dict[str, int] = {}
        self.losses: dict[str, ValidationLosses] = {}

    def search_on(self) -> str | None:
        """Make trials until there are enough; return why the search ended before that, or None."""
        at_once = True
        try:
            self._resume()
            while True:
                self._choose()
                self._find_outcomes()
                if self._tell_first():
                    continue
                is_over = self.interruption.is_asked or (self._is_stopped and not self.pool.is_training)
                if is_over or not self.open or self.pool.is_refused:
                    break
                self.pool.want({str(one.trial.run): one.config for one in self._wanted() if one.config})
                self.pool.wait()
            at_once = False
        finally:
            self.pool.close(at_once=at_once)
        return self.pool.death if self.pool.is_refused else None

    @property
    def _is_stopped(self) -> bool:
        """Whether no trial is chosen and no outcome told any more: then the search can be continued to the same end."""
        return self.interruption.is_asked or self.pool.parts.is_stopped

    def _wanted(self) -> list[_OpenTrial]:
        return [one for one in self.open.values() if one.outcome is None]

    def _resume(self) -> None:
        """Take up the trials of earlier calls that have no outcome, and those whose run has been lost."""
        states = self.study.states
        trials = self.study.trials()
        done = [trial for trial in trials if trial.state.is_finished()]
        values = [trial.value for trial in done if trial.state == states.COMPLETE]
        if done:
            self.pool.parts.take({"told": len(done), "best": min(values, default=None)})
        if len(done) == len(trials) and not self._is_one_left():
            self._repeat_failures(done)
        for trial in trials:
            run = trial.user_attrs.get("run")
            if run is not None:
                self.seeds[run] = trial.user_attrs["seed"]
            is_lost = run is not None and trial.state == states.COMPLETE and not self.pool.is_done(run)
            if trial.state == states.RUNNING or is_lost:
                self._open(trial.number, is_told=is_lost)

    def _repeat_failures(self, done: list[Any]) -> None:
        """Try again what failed, by further trials: the search itself is complete."""
        last = {trial.user_attrs.get("repeats", trial.number): trial for trial in done}
        for trial in last.values():
            if trial.state == self.study.states.FAIL and trial.params:
                self.study.repeat(trial.number)

    def _choose(self) -> None:
        """Choose trials, as many as may be in training at a time."""
        while len(self.open) < self.search.num_at_a_time and not self._is_stopped:
            if not self._is_one_left():
                return
            self._open(self.study.begin())

    def _is_one_left(self) -> bool:
        """Whether a trial is left that has not begun: of the search, or one that waits to be tried again."""
        trials = self.study.trials()
        is_waiting = any(trial.state == self.study.states.WAITING for trial in trials)
        return is_waiting or sum("repeats" not in trial.user_attrs for trial in trials) < self.search.num_trials

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
            self.study.note(number, seed=one.trial.seed, run=one.trial.run)  # with a run there is a seed, kill or not
            one.judge = self.study.judge(number, told=number - self.search.num_at_a_time + 1)
        if one.trial.run not in self.seeds:
            self.seeds[str(one.trial.run)] = one.trial.seed
            write_sweep(self.search.folder, self.search.overrides, list(self.seeds))

    def _find_outcomes(self) -> None:
        problems = self.pool.problems()
        for one in self._wanted():
            run = str(one.trial.run)
            is_done = self.pool.is_done(run)  # before its losses are read: then they are complete
            if is_done or (one.judge is not None and self.pool.has_begun(run)):
                self._report(one, run)
            if one.judge is not None and one.judge.pruned_at is not None:
                self._end(one, value=one.reported[one.judge.pruned_at], pruned_at=one.judge.pruned_at)
            elif is_done:
                try:
                    self._end(one, value=objective(self.pool.folder_of(run)))
                except RunError as error:
                    self._end(one, problem=str(error))
            elif run in problems:
                self._end(one, problem=problems[run])

    def _report(self, one: _OpenTrial, run: str) -> None:
        """Report the validation losses of a trial, up to the one at which it is stopped early.

        The loss at the last step stops nothing: the run is complete.
        """
        last_step = self.pool.last_step(run)
        if last_step is None:
            return
        losses = self.losses.setdefault(run, ValidationLosses(self.pool.folder_of(run))).read()
        new: dict[int, float] = {}
        for step, loss in losses.items():
            if step not in one.reported and (one.judge is None or one.judge.pruned_at is None):
                new[step] = loss
                if one.judge is not None and step != last_step:
                    one.judge.take(step, loss)
        if new and not one.is_told:
            self.study.report(one.number, new)
        one.reported |= new

    def _end(self, one: _OpenTrial, **facts: Any) -> None:
        """Note the outcome of a trial, and show it."""
        one.outcome = Trial(one.trial.chosen, one.trial.run, one.trial.seed, **facts)
        if not one.is_told:
            self.pool.parts.take({"trial": one.shown, **asdict(one.outcome)})

    def _tell_first(self) -> bool:
        """Tell Optuna the outcome of the first open trial, if that has ended; return whether it has."""
        one = self.open[min(self.open)] if self.open else None
        if one is None or one.outcome is None or self._is_stopped:
            return False
        if not one.is_told:
            is_pruned = one.outcome.pruned_at is not None
            if one.outcome.problem is not None:
                self.study.note(one.number, problem=one.outcome.problem)
            self.study.tell(one.number, None if is_pruned else one.outcome.value, one.judge)
        if one.outcome.problem is not None and self.stops_on_error:
            self.pool.parts.stop()
        del self.open[one.number]
        return True

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
        reasons: dict[str, str] = {}
        for trial in trials.values():
            if trial.run and trial.pruned_at is not None:
                reasons[trial.run] = f"stopped early after step {trial.pruned_at}"
            elif trial.run and trial.problem:
                reasons[trial.run] = trial.problem
        reasons |= self.pool.problems()
        summaries = read_summaries(self.search.folder, self.seeds)
        return SearchResult(SweepResult(self.search.folder, summaries, reasons), dict(sorted(trials.items())), problem)
