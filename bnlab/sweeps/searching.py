"""A search, made: told to Hydra's sweeper, watched, and made once more where a worker died."""

import dataclasses
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from bnlab import provenance
from bnlab.config.folders import conf_folder
from bnlab.config.grammar import Axis
from bnlab.results.sweep import write_sweep
from bnlab.sweeps.execute import OnError, SweepResult
from bnlab.sweeps.jobs import why_a_job_died
from bnlab.sweeps.launch import run_hydra
from bnlab.sweeps.progress import SweepView
from bnlab.sweeps.run_states import MOST_DEATHS, MOST_REFUSALS
from bnlab.sweeps.search import Search
from bnlab.sweeps.trials import SearchEnded, TheEnd, TrialRules, train_trial
from bnlab.sweeps.watch import Watch, read_summaries
from bnlab.training.interruption import Interruption


@dataclass(frozen=True)
class Trial:
    """One trial, as far as it has come.

    Attributes:
        chosen: Its settings, as one would type them.
        run: Its run's id; None where its settings make none.
        seed: Of the run.
        value: Its objective.
        problem: Why it has none.
    """

    chosen: Mapping[str, str]
    run: str | None = None
    seed: int = 0
    value: float | None = None
    problem: str | None = None

    @property
    def is_done(self) -> bool:
        """Whether it has come to its end, with an objective or without."""
        return self.value is not None or self.problem is not None


@dataclass(frozen=True)
class SearchResult:
    """What came out of a search.

    Attributes:
        sweep: Of its runs, in the order in which they were chosen first.
        trials: By number. Two may have the same run.
        problem: Why it came to no end, if it did not.
    """

    sweep: SweepResult
    trials: dict[int, Trial]
    problem: str | None

    @property
    def best(self) -> int | None:
        """The number of the trial with the lowest objective, the first of several; None: no trial has any."""
        values = [(trial.value, number) for number, trial in self.trials.items() if trial.value is not None]
        return min(values)[1] if values else None


@hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name="launch")
def _trial(config: DictConfig) -> float | TheEnd | None:
    chosen: Any = OmegaConf.to_container(config.trial)
    return train_trial(Path(config.folder), HydraConfig.get().job.num, chosen)


def run_search(
    search: Search,
    *,
    on_error: OnError = "continue",
    retries: int = 0,
    again: bool = False,
    view: SweepView | None = None,
    interruption: Interruption | None = None,
) -> SearchResult:
    """Make a search.

    A trial that fails is a trial without an objective: the sweeper learns nothing of it, and goes on.

    Args:
        search: What was planned.
        on_error: ``stop``: after a failure no further trial is begun.
        retries: How often a run that failed is tried again.
        again: Train anew what is finished.
        view: Shown what happens.
        interruption: Where a stop may be asked for, with a checkpoint.

    Raises:
        KeyboardInterrupt: It was cut off; what was recorded is kept.
    """
    import optuna  # noqa: PLC0415  (an extra; the search has been planned with it)

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    rules = TrialRules(
        sweep_folder=str(search.folder),
        config_dir=None if search.config_dir is None else str(search.config_dir.absolute()),
        fixed=search.fixed,
        keys=search.key_names(),
        began=provenance.now() if again else "",
        retries=retries,
        stop_on_error=on_error == "stop",
        suspects=[],
        failed={},
    )
    searching = _Searching(search, rules, view, interruption or Interruption())
    with searching.watch.watching():
        problem = searching.search_on()
    return searching.result(problem)


class _Searching:
    """One execution of a search: what is known of its trials."""

    def __init__(self, search: Search, rules: TrialRules, view: SweepView | None, interruption: Interruption) -> None:
        self.search = search
        self.rules = rules
        self.watch = Watch(search.folder, self._take, interruption, view)
        self.trials: dict[int, Trial] = {}
        self.deaths: Counter[str] = Counter()
        self.failed: dict[str, str] = {}
        self.interrupted: set[str] = set()

    def search_on(self) -> str | None:
        """Search, once more from the beginning whenever a worker has died; return why it came to no end, if so."""
        refusals = 0
        while refusals < MOST_REFUSALS:
            self.trials.clear()
            self.interrupted.clear()
            error = self._launched()
            num_done = sum(trial.is_done for trial in self.trials.values())
            if error is None or num_done >= self.search.num_trials or self.watch.is_over:
                return None  # an error at the end: Optuna has no best trial, since all failed
            said = why_a_job_died(error)
            in_training = {trial.run for trial in self.trials.values() if trial.run and not trial.is_done}
            self.deaths.update(in_training - self.interrupted)
            for name in in_training:
                if self.deaths[name] >= MOST_DEATHS:
                    self.failed[name] = f"its worker was lost each time that it was tried: {said}"
            refusals += not in_training
        return said

    def _launched(self) -> Exception | None:
        """Have the sweeper choose, and the trials made, from the first to the last; return what it raised, if it did.

        Never in this process, even where there is one trial at a time: its death, or a signal, would be ours.
        """
        named = zip(self.rules.keys, self.search.axes, strict=True)
        words = [f"+trial.{name}={_grammar(axis)}" for name, axis in named]
        at_a_time = max(2, self.search.num_at_a_time)
        folder = self.watch.folder
        self.watch.make_folder()
        dataclasses.replace(self.rules, suspects=list(self.deaths), failed=self.failed).write(folder)
        try:
            return run_hydra(_trial, folder, words, at_a_time, self.search.launcher, self.watch.interruption)
        except SearchEnded:
            return None
        finally:
            self.watch.look()

    def _take(self, line: dict[str, Any]) -> None:
        if "trial" in line:
            trial = Trial(**{key: value for key, value in line.items() if key != "trial"})
            self.trials[line["trial"]] = trial
            write_sweep(self.search.folder, self.search.overrides, list(self._seeds()))
            if trial.run and trial.problem:
                self.failed[trial.run] = trial.problem
        if line.get("ended", {}).get("status") == "interrupted":  # by a signal; it goes on from a checkpoint
            self.interrupted.add(line["ended"]["run_id"])

    def _seeds(self) -> dict[str, int]:
        return {trial.run: trial.seed for _, trial in sorted(self.trials.items()) if trial.run}

    def result(self, problem: str | None) -> SearchResult:
        """Return what came out, as the folders say."""
        summaries = read_summaries(self.search.folder, self._seeds())
        reasons = {trial.run: trial.problem for trial in self.trials.values() if trial.run and trial.problem}
        trials = dict(sorted(self.trials.items()))
        return SearchResult(SweepResult(self.search.folder, summaries, reasons), trials, problem)


def _grammar(axis: Axis) -> str:
    """Return what may be chosen, in the part of Hydra's grammar that its sweepers read as it is meant.

    A choice is a choice of words as they are typed, quoted: so a list, a class, or a word with a quote in it comes out
    as it went in. A range is one too, for the Optuna sweeper takes its end to belong to it.

    Example:
        >>> _grammar(Axis("optim.lr", ("0.001", "10.0"), is_interval=True, is_log=True))
        'tag(log, interval(0.001, 10.0))'
        >>> _grammar(Axis("norm", ("batch", "none")))
        "choice('batch', 'none')"
    """
    if axis.is_interval:
        interval = f"interval({', '.join(axis.values)})"
        return f"tag(log, {interval})" if axis.is_log else interval
    quoted = (value.replace("\\", "\\\\").replace("'", "\\'") for value in axis.values)
    return "choice(" + ", ".join(f"'{value}'" for value in quoted) + ")"
