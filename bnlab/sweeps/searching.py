"""A search, made: told to Hydra's sweeper, watched, and made once more where a worker died."""

import contextlib
import dataclasses
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from bnlab import provenance
from bnlab.config.folders import conf_folder
from bnlab.config.grammar import Axis
from bnlab.records import RunSummary
from bnlab.runfolder.folder import RunFolder
from bnlab.runfolder.index import write_sweep
from bnlab.sweeps.execute import LOOK_EVERY_S, MOST_DEATHS, MOST_REFUSALS, OnError, SweepResult
from bnlab.sweeps.jobs import why_a_job_died
from bnlab.sweeps.launch import run_hydra
from bnlab.sweeps.parts import STOP, write_surroundings
from bnlab.sweeps.progress import ProgressReader, SweepView
from bnlab.sweeps.search import Search
from bnlab.sweeps.trials import TrialRules, train_trial


@dataclass
class Trial:
    """One trial, as far as it has come.

    Attributes:
        chosen: Its settings, as one would type them.
        run: Its run's id; None where its settings make none.
        seed: Of the run.
        begun: Whether it is or was in training, or its result was looked up.
        value: Its objective.
        is_done: Whether it has come to its end, with an objective or without.
        problem: Why it has none.
    """

    chosen: dict[str, str] = field(default_factory=dict)
    run: str | None = None
    seed: int = 0
    begun: bool = False
    value: float | None = None
    is_done: bool = False
    problem: str | None = None


@dataclass(frozen=True)
class SearchResult:
    """What came out of a search.

    Attributes:
        sweep: Of its runs, in the order in which they were chosen first.
        trials: By number. Two may have the same run.
        best: The number of the trial with the lowest objective; None: no trial has any.
        problem: Why it came to no end, if it did not.
    """

    sweep: SweepResult
    trials: dict[int, Trial]
    best: int | None
    problem: str | None


@hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name="launch")
def _trial(config: DictConfig) -> float | None:
    chosen: Any = OmegaConf.to_container(config.trial)
    return train_trial(Path(config.folder), HydraConfig.get().job.num, chosen)


def run_search(
    search: Search,
    *,
    on_error: OnError = "continue",
    retries: int = 0,
    again: bool = False,
    view: SweepView | None = None,
) -> SearchResult:
    """Make a search.

    A trial that fails is a trial without an objective: the sweeper learns nothing of it, and goes on.

    Args:
        search: What was planned.
        on_error: ``stop``: after a failure no further trial is begun.
        retries: How often a run that failed is tried again.
        again: Train anew what is finished.
        view: Shown what happens.

    Raises:
        KeyboardInterrupt: It was cut off; what was recorded is kept.
        SystemExit: It was ended by SIGTERM; likewise.
    """
    import optuna  # noqa: PLC0415  (an extra; the search has been planned with it)

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    searching = _Searching(search, on_error, retries, again, view)
    with searching.watched(), _ended_by_a_signal():
        problem = searching.search_on()
    return searching.result(problem)


class _Searching:
    """One execution of a search: what is known of its trials."""

    def __init__(self, search: Search, on_error: OnError, retries: int, again: bool, view: SweepView | None) -> None:
        self.search = search
        self.rules = TrialRules(
            sweep_folder=str(search.folder),
            config_dir=None if search.config_dir is None else str(search.config_dir.absolute()),
            fixed=search.fixed,
            keys=search.key_names(),
            began=provenance.now() if again else "",
            retries=retries,
            stop_on_error=on_error == "stop",
        )
        self.view = view
        self.trials: dict[int, Trial] = {}
        self.deaths: Counter[str] = Counter()
        self.interrupted: set[str] = set()
        self.looking = threading.Lock()
        self.folder = search.folder / ".parts" / f"{provenance.now().replace(':', '')}-{threading.get_native_id()}"
        self.reader = ProgressReader(self.folder / "progress")

    def search_on(self) -> str | None:
        """Search, once more from the beginning whenever a worker has died; return why it came to no end, if so."""
        named = zip(self.rules.keys, self.search.axes, strict=True)
        words = [f"+trial.{name}={_grammar(axis)}" for name, axis in named]
        refusals = 0
        while True:
            self.trials.clear()
            self.interrupted.clear()
            self.folder.mkdir(parents=True, exist_ok=True)
            write_surroundings(self.folder)
            self._write_rules()
            error = run_hydra(_trial, self.folder, words, self.search.num_at_a_time, self.search.launcher)
            self._look()
            num_done = sum(trial.is_done for trial in self.trials.values())
            if error is None or num_done >= self.search.num_trials or (self.folder / STOP).exists():
                return None  # an error at the end: Optuna has no best trial, since all failed
            said = why_a_job_died(error)
            in_training = {one.run for one in self.trials.values() if one.run and one.begun and not one.is_done}
            self.deaths.update(in_training - self.interrupted)
            refusals += not in_training
            if refusals >= MOST_REFUSALS:
                return said

    def _write_rules(self) -> None:
        given_up = [name for name, times in self.deaths.items() if times >= MOST_DEATHS]
        dataclasses.replace(self.rules, suspects=list(self.deaths), given_up=given_up).write(self.folder)

    def _take(self, line: dict[str, Any]) -> None:
        if "trial" in line:
            trial = self.trials.setdefault(line["trial"], Trial())
            if "chosen" in line:
                self.trials[line["trial"]] = Trial(line["chosen"])
            if "run" in line:
                trial.run, trial.seed = line["run"], line["seed"]
                write_sweep(self.search.folder, self.search.overrides, self._run_ids())
            trial.begun |= "begun" in line
            trial.problem = line.get("failed", trial.problem)
            if "value" in line:
                trial.value, trial.is_done = line["value"], True
        if line.get("ended", {}).get("status") == "interrupted":  # by a signal; it goes on from a checkpoint
            self.interrupted.add(line["ended"]["run_id"])
        if self.view is not None:
            self.view.take(line)

    def _run_ids(self) -> list[str]:
        return list(dict.fromkeys(trial.run for _, trial in sorted(self.trials.items()) if trial.run))

    def _look(self) -> None:
        with self.looking:
            for line in self.reader.new_lines():
                self._take(line)

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Look at what the trials say, in a thread; leave nothing of them but their runs."""
        done = threading.Event()

        def watch() -> None:
            while not done.wait(LOOK_EVERY_S):
                self._look()

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            self._look()
            shutil.rmtree(self.folder, ignore_errors=True)
            with contextlib.suppress(OSError):  # another execution's may still be there
                self.folder.parent.rmdir()

    def result(self, problem: str | None) -> SearchResult:
        """Return what came out, as the folders say."""
        seeds = {trial.run: trial.seed for trial in self.trials.values()}
        summaries = []
        for name in self._run_ids():
            folder = RunFolder(self.search.folder / name)
            summary = folder.read_finished()
            if summary is None:
                status = folder.read_status() if folder.path.exists() else "interrupted"
                summary = RunSummary(name, status, str(folder.path), seeds[name])
            summaries.append(summary)
        reasons = {trial.run: trial.problem for trial in self.trials.values() if trial.run and trial.problem}
        values = [(trial.value, number) for number, trial in self.trials.items() if trial.value is not None]
        best = min(values)[1] if values else None
        trials = dict(sorted(self.trials.items()))
        return SearchResult(SweepResult(self.search.folder, summaries, reasons), trials, best, problem)


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


@contextlib.contextmanager
def _ended_by_a_signal() -> Iterator[None]:
    """Have SIGTERM end what lasts, as Ctrl-C does, so that no job is left; without it Python would just be gone."""

    def end(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
