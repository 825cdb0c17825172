"""The study of Optuna's that keeps the trials of a search.

A search that was cut off continues from its study and chooses what it would have chosen anyway, because nothing that is
chosen depends on the time at which results arrive. The sampler of a trial is built anew for it, from the seed and the
number of the trial, and sees the outcomes that were told before. The pruner of a trial is built anew, too, and compares
the trial with those whose outcomes were told before it was chosen.
"""

import contextlib
import hashlib
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bnlab.config.swept_values import Axis
from bnlab.errors import ConfigError
from bnlab.sweeps.samplers import build_pruner, build_sampler, import_optuna, suggest, typed
from bnlab.sweeps.sweeper_words import Method


class Judge:
    """Says at which step the pruner stops a trial.

    The trial is compared with the trials whose outcomes were told before it was chosen, in a study in memory. So the
    answer depends on its losses and on theirs, and not on which of several trials in training is faster.

    Args:
        pruner: A pruner of Optuna's, built for this trial.
        study_name: The name of the study: ``hyperband`` draws the bracket of a trial from it and the trial's number.
        earlier: The trials with lower numbers, in order; None for a trial whose outcome was not told.

    Attributes:
        pruned_at: The step at which the trial is stopped, or None.
    """

    def __init__(self, pruner: Any, study_name: str, earlier: Sequence[Any]) -> None:
        optuna = import_optuna()
        self._study = optuna.create_study(
            study_name=study_name, pruner=pruner, sampler=optuna.samplers.RandomSampler(seed=0)
        )
        not_told = optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL)
        self._study.add_trials([one or not_told for one in earlier])
        self._trial = self._study.ask()
        self.pruned_at: int | None = None

    def take(self, step: int, loss: float) -> None:
        """Take the validation loss at a step, later than those before; after the stop nothing is taken."""
        if self.pruned_at is None:
            self._trial.report(loss, step)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # wilcoxon warns that a trial had fewer steps than the best one
                if self._trial.should_prune():
                    self.pruned_at = step

    def facts(self) -> dict[str, Any]:
        """Return what the pruner has noted of the trial; later trials are compared with it."""
        return dict(self._study.trials[-1].system_attrs)


class OptunaStudy:
    """The trials of a search, in one of Optuna's storages.

    Args:
        name: The name of the study.
        storage: A storage of Optuna's.
        method: The sampler that chooses the settings, and the pruner that stops trials.
        axes: The settings that are chosen.
    """

    def __init__(self, name: str, storage: Any, method: Method, axes: Sequence[Axis]) -> None:
        self._optuna = import_optuna()
        self.states = self._optuna.trial.TrialState
        self._method = method
        self._axes = axes
        self._storage = storage
        self._study = self._optuna.create_study(
            study_name=name,
            storage=storage,
            sampler=self._optuna.samplers.RandomSampler(),  # chooses nothing: see `chosen`
            load_if_exists=True,
            direction="minimize",
        )
        self._id = storage.get_study_id_from_name(name)

    def trials(self) -> list[Any]:
        """Return all trials in order, as Optuna's ``FrozenTrial``.

        Raises:
            ConfigError: They were chosen from other settings.
        """
        ours = {axis.key: None if axis.is_interval else axis.values for axis in self._axes}
        trials: list[Any] = self._study.get_trials(deepcopy=False)
        for trial in trials:
            theirs = {key: getattr(one, "choices", None) for key, one in trial.distributions.items()}
            is_whole = trial.state.is_finished() and trial.params
            if not theirs.items() <= ours.items() or (is_whole and theirs.keys() != ours.keys()):
                raise ConfigError(
                    f"hydra.sweeper.study_name={self._study.study_name}: trial {trial.number + 1} of this study chose "
                    f"from other values of {', '.join(theirs)}. Give this search another hydra.sweeper.study_name."
                )
        return trials

    def begin(self) -> int:
        """Begin a trial; return its number. Trials that wait to be tried again come first."""
        number: int = self._study.ask().number
        return number

    def chosen(self, number: int) -> dict[str, str]:
        """Return the settings of a trial as one would type them; those that have no value yet get it now.

        Settings that are sampled by themselves have a seed each: a trial of which a kill left only some settings gets
        the others that it would have got.

        Args:
            number: The number of a trial that has not been told.
        """
        begun = self._storage.get_trial(self._id_of(number))
        params = begun.params
        if params.keys() >= {axis.key for axis in self._axes}:
            return typed(params)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an experimental part of a sampler
            chooser = self._optuna.load_study(
                study_name=self._study.study_name,
                storage=self._storage,
                pruner=self._build_pruner(),  # hyperband samples by brackets, and remembers their number
            )
            # nsgaii keeps the parents of a generation, and reads them in another order: only what is read counts
            for _ in range(2 if self._method.sampler.startswith("nsga") else 1):
                chooser.sampler = self._build_sampler(number)
                trial = self._optuna.trial.Trial(chooser, self._id_of(number))
                together = {} if "fixed_params" in begun.system_attrs else trial.relative_params
            for axis in self._axes:
                if axis.key not in together:
                    chooser.sampler = self._build_sampler(number, axis.key)
                params[axis.key] = suggest(trial, axis)
        return typed({axis.key: params[axis.key] for axis in self._axes})

    def _build_sampler(self, number: int, key: str = "") -> Any:
        """Return a sampler for a trial, or for one setting of it.

        The choices of ``grid`` and ``qmc`` are one sequence: the seed of the search gives its order, the number of the
        trial a place in it.
        """
        method = self._method
        seed = method.seed
        if method.sampler != "grid" and (key or method.sampler != "qmc"):
            digest = hashlib.sha256(f"{seed}/{number}/{key}".encode()).digest()
            seed = int.from_bytes(digest[:4], "big")  # all that numpy's generator takes
        return build_sampler(method.sampler, method.sampler_options, seed, self._axes)

    def _build_pruner(self) -> Any:
        return build_pruner(self._method.pruner, self._method.pruner_options)

    def root(self, number: int) -> int:
        """Return the number of the first trial with the settings of a trial that repeats it; else its own number."""
        first: int = self._storage.get_trial(self._id_of(number)).user_attrs.get("repeats", number)
        return first

    def judge(self, number: int, told: int) -> Judge | None:
        """Return a judge that says whether a trial is stopped early; None: no trial is.

        Args:
            number: The number of the trial.
            told: The outcomes of all trials with a lower number than this were told when the trial was chosen.
        """
        if self._method.pruner == "none":
            return None
        trials = self._study.trials[:number]
        earlier = [trial if trial.number < told and trial.state.is_finished() else None for trial in trials]
        return Judge(self._build_pruner(), self._study.study_name, earlier)

    def note(self, number: int, **facts: Any) -> None:
        """Note facts of a trial that has not been told, such as its run: dashboards show them."""
        for name, value in facts.items():
            self._storage.set_trial_user_attr(self._id_of(number), name, value)

    def report(self, number: int, losses: Mapping[int, float]) -> None:
        """Record validation losses of a trial that has not been told.

        Args:
            number: The number of the trial.
            losses: By step; those that the study has already change nothing.
        """
        known = self._storage.get_trial(self._id_of(number)).intermediate_values
        for step, loss in losses.items():
            if step not in known:
                self._storage.set_trial_intermediate_value(self._id_of(number), step, loss)

    def tell(self, number: int, value: float | None, judge: Judge | None = None) -> None:
        """Tell the outcome of a trial.

        Args:
            number: The number of the trial.
            value: Its objective; None: it has none, since it failed or was stopped early.
            judge: Who was asked whether it is stopped early.
        """
        for name, fact in ({} if judge is None else judge.facts()).items():
            self._storage.set_trial_system_attr(self._id_of(number), name, fact)
        is_pruned = judge is not None and judge.pruned_at is not None
        without = self.states.PRUNED if is_pruned else self.states.FAIL
        self._study.tell(number, value, state=without if value is None else None)

    def repeat(self, number: int) -> None:
        """Have the settings of a trial that failed tried again, by a further trial."""
        failed = self._storage.get_trial(self._id_of(number))
        self._study.enqueue_trial(failed.params, user_attrs={"repeats": self.root(number)})

    def _id_of(self, number: int) -> int:
        trial_id: int = self._storage.get_trial_id_from_study_id_trial_number(self._id, number)
        return trial_id


def open_storage(url: str | None, journal: Path) -> Any:
    """Return the storage of a search.

    Args:
        url: A URL of a database, as Optuna takes it; None: a file.
        journal: That file. It is made if it is not there.

    Raises:
        ConfigError: There is no such database, or it cannot be reached.
    """
    optuna = import_optuna()
    if url is None:
        _cut_off_half_a_line(journal)
        place = optuna.storages.journal
        lock = place.JournalFileOpenLock(str(journal)) if os.name == "nt" else None  # no links on Windows
        return place.JournalStorage(place.JournalFileBackend(str(journal), lock))
    try:
        return optuna.storages.get_storage(url)
    except Exception as error:  # of a database driver, or that there is none
        first = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ConfigError(
            f"hydra.sweeper.storage={url}: {first}. Give the URL of a database, such as sqlite:///searches.db."
        ) from None


def _cut_off_half_a_line(journal: Path) -> None:
    """Cut off half a last line, which a full disk can leave: Optuna would append to it, and read neither ever again."""
    with contextlib.suppress(FileNotFoundError), journal.open("r+b") as file:
        written = file.read()
        file.truncate(written.rfind(b"\n") + 1)
