"""A search, executed: trials are chosen by Optuna, trained as parts of a sweep, judged, and told to Optuna.

Trials are told in the order of their numbers, whichever ends first, and each is chosen as soon as all but the last few
before it have been told. So every choice is made from the same results, and the same command makes the same trials, cut
off or not. The outcome of a trial is known from the folder of its run.
"""

import contextlib
import math
import time
from dataclasses import asdict, dataclass, field
from typing import Any

from bnlab.errors import BnlabError, RunError
from bnlab.identity.run_id import run_id
from bnlab.runfolder.writable import finds_no_room
from bnlab.sweeps.backends.backend import Backend
from bnlab.sweeps.cohorts import plan_cohorts
from bnlab.sweeps.dispatcher import BUSY_S, Dispatcher
from bnlab.sweeps.execute import OnError, SweepResult
from bnlab.sweeps.grid import expand_one
from bnlab.sweeps.launcher_words import open_backend
from bnlab.sweeps.optuna_study import OptunaStudy
from bnlab.sweeps.progress import SweepView
from bnlab.sweeps.run_states import FAILED, GIVEN_UP
from bnlab.sweeps.samplers import typed
from bnlab.sweeps.search_plan import Search, alone_in
from bnlab.sweeps.trials import OpenTrial, SearchResult, Trial, ValidationLosses, objective
from bnlab.training.interruption import Interruption


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
        KeyboardInterrupt: It was interrupted; the records up to then are kept.
        ConfigError: The storage of the trials cannot be reached, or has trials of another search.
        RunBusyError: Another process executes a search in this folder.
        BnlabError: A trial cannot be told or kept, for another reason than a full disk.
        OSError: The file of the trials cannot be written, for another reason.
    """
    in_a_file = search.method.storage is None
    with contextlib.ExitStack() as stack:
        if in_a_file:
            stack.enter_context(alone_in(search.folder))
        study = search.open_study(again=again)
        study.trials()  # of another search: that is told before a folder is made
        if not in_a_file:
            stack.enter_context(alone_in(search.folder))
        swept = [axis.key for axis in search.axes]
        dispatcher = Dispatcher(search.folder, swept, again=again, retries=retries, view=view)
        backend = backend or open_backend(search.launcher, search.num_at_a_time)
        stops_on_error = on_error == "stop"
        execution = _SearchExecution(search, study, dispatcher, backend, interruption or Interruption(), stops_on_error)
        with dispatcher:
            try:
                execution.search_on()
            except (OSError, BnlabError) as error:  # such as the file of the trials
                if not finds_no_room(error):
                    raise
                dispatcher.find_no_room()
        return execution.result()


@dataclass
class _SearchExecution:
    """Chooses trials, has their runs trained, and tells Optuna what became of them.

    Attributes:
        search: What is chosen, and how.
        study: The trials.
        dispatcher: Has the runs trained.
        backend: Trains them.
        interruption: Asked whether the search should stop.
        stops_on_error: Whether no further trial is chosen after a failure.
        open: The trials of which Optuna has not been told the outcome, by number.
        seeds: Run id -> seed, of the runs of all trials in the order in which they were chosen first.
        losses: Run id -> its validation losses, of the runs that were read.
    """

    search: Search
    study: OptunaStudy
    dispatcher: Dispatcher
    backend: Backend
    interruption: Interruption
    stops_on_error: bool
    open: dict[int, OpenTrial] = field(default_factory=dict)
    seeds: dict[str, int] = field(default_factory=dict)
    losses: dict[str, ValidationLosses] = field(default_factory=dict)

    def search_on(self) -> None:
        """Make trials until there are enough, or until the search is stopped."""
        self._resume()
        while self.dispatcher.obstacle is None:
            self._choose()
            self._find_outcomes()
            if self._tell_first():
                continue
            if not self.open or (self._is_stopped and not self.dispatcher.is_training):
                return
            if self.interruption.is_asked and self.dispatcher.folder.halt():
                return
            self._train_open()

    @property
    def _is_stopped(self) -> bool:
        """Whether no trial is chosen and no outcome told any more: then the search can be continued to the same end."""
        return self.interruption.is_asked or self.dispatcher.folder.is_stopped

    def _wanted(self) -> list[OpenTrial]:
        return [one for one in self.open.values() if one.outcome is None]

    def _train_open(self) -> None:
        """Have the runs of open trials trained, stop those that no trial wants any more, and wait a moment."""
        dispatcher = self.dispatcher
        cohorts = {str(one.trial.run): one.cohort for one in self._wanted() if one.cohort is not None}
        dispatcher.stop_all_but(cohorts)
        if not self._is_stopped:
            dispatcher.look_at_folders(list(cohorts))
            if begun := dispatcher.cohorts_to_submit(cohorts.values()):
                dispatcher.submit([[cohort] for cohort in begun], self.backend)
        if dispatcher.is_training:
            dispatcher.watch()
            if dispatcher.is_stepping:
                self.interruption.begin()
        else:
            time.sleep(BUSY_S)  # another process trains the runs that are wanted

    def _resume(self) -> None:
        """Take up the trials of earlier calls that have no outcome, and those whose run has been lost."""
        states = self.study.states
        trials = self.study.trials()
        done = [trial for trial in trials if trial.state.is_finished()]
        values = [trial.value for trial in done if trial.state == states.COMPLETE]
        if done:
            self.dispatcher.folder.take({"told": len(done), "best": min(values, default=None)})
        if len(done) == len(trials) and not self._is_one_left():
            self._repeat_failures(done)
        for trial in trials:
            run = trial.user_attrs.get("run")
            if run is not None:
                self.seeds[run] = trial.user_attrs["seed"]
            is_lost = run is not None and trial.state == states.COMPLETE and not self.dispatcher.has_result(run)
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
        from bnlab.norms.catalog import is_vectorizable  # noqa: PLC0415  (it imports torch; a wrong word is told sooner)

        chosen = self.study.chosen(number)
        one = OpenTrial(number, self.study.root(number), Trial(chosen), is_told=is_told)
        self.open[number] = one
        try:
            overrides = [*self.search.fixed, *(f"{key}={value}" for key, value in chosen.items())]
            config = expand_one(overrides, self.search.config_dir)
            (one.cohort,) = plan_cohorts([config], is_vectorizable)
        except BnlabError as error:
            self._end(one, problem=str(error))
            return
        run = run_id(config)
        one.trial = Trial(chosen, run, config.seed)
        self.dispatcher.add([run])
        if not is_told:
            self.study.note(number, seed=config.seed, run=run)  # with a run there is a seed, kill or not
            one.judge = self.study.judge(number, told=number - self.search.num_at_a_time + 1)
        if run not in self.seeds:
            self.seeds[run] = config.seed
            self.search = self.search.with_its_runs_written(list(self.seeds))

    def _find_outcomes(self) -> None:
        problems = self._problems()
        for one in self._wanted():
            run = str(one.trial.run)
            is_done = self.dispatcher.has_result(run)  # before its losses are read: then they are complete
            if is_done or (one.judge is not None and self.dispatcher.has_begun(run)):
                self._report(one, run)
            if one.judge is not None and one.judge.pruned_at is not None:
                self._end(one, value=one.reported[one.judge.pruned_at], pruned_at=one.judge.pruned_at)
            elif is_done:
                try:
                    self._end(one, value=objective(self.dispatcher.run_folder(run)))
                except RunError as error:
                    self._end(one, problem=str(error))
            elif run in problems:
                self._end(one, problem=problems[run])

    def _problems(self) -> dict[str, str]:
        """Return the runs that have no result and are not trained any more, and why: run id -> one sentence."""
        states = self.dispatcher.states
        return {run: states.reasons[run] for run in states.those_in(FAILED, GIVEN_UP)}

    def _last_step(self, run: str) -> float | None:
        """Return the step at which the training of a run is complete, as far as it is known yet; else None.

        A run that diverged has no such step.
        """
        result = self.dispatcher.run_folder(run).read_finished() if self.dispatcher.has_result(run) else None
        if result is None:
            return self.dispatcher.num_steps.get(run)
        return result.steps if result.status == "finished" else math.inf

    def _report(self, one: OpenTrial, run: str) -> None:
        """Report the validation losses of a trial, up to the one at which it is stopped early.

        The loss at the last step stops nothing: the run is complete.
        """
        last_step = self._last_step(run)
        if last_step is None:
            return
        losses = self.losses.setdefault(run, ValidationLosses(self.dispatcher.run_folder(run))).read()
        new: dict[int, float] = {}
        for step, loss in losses.items():
            if step not in one.reported and (one.judge is None or one.judge.pruned_at is None):
                new[step] = loss
                if one.judge is not None and step != last_step:
                    one.judge.take(step, loss)
        if new and not one.is_told:
            self.study.report(one.number, new)
        one.reported |= new

    def _end(self, one: OpenTrial, **facts: Any) -> None:
        """Note the outcome of a trial, and show it."""
        one.outcome = Trial(one.trial.chosen, one.trial.run, one.trial.seed, **facts)
        if not one.is_told:
            self.dispatcher.folder.take({"trial": one.shown, **asdict(one.outcome)})

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
            self.dispatcher.folder.stop()
        del self.open[one.number]
        return True

    def result(self) -> SearchResult:
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
        reasons |= self._problems()
        sweep = SweepResult(self.search.folder, self.dispatcher.read_summaries(self.seeds), reasons)
        return SearchResult(sweep, dict(sorted(trials.items())), self.dispatcher.obstacle)
