"""What a sweep will do, known before it does anything: its runs, what is there, what is missing."""

import contextlib
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bnlab.config.compose import search_path_words
from bnlab.config.folders import search_folders
from bnlab.config.grammar import as_words
from bnlab.errors import BnlabError, ConfigError
from bnlab.results.arms import LEARNING_RATE, arm_keys, label_of
from bnlab.runfolder.finding import runs_root
from bnlab.runfolder.folder import RunFolder
from bnlab.runfolder.identity import run_id
from bnlab.runfolder.index import by_name, flatten
from bnlab.schema import RunConfig
from bnlab.sweeps.cohorts import PlannedCohort, plan_cohorts, program
from bnlab.sweeps.grid import expand
from bnlab.sweeps.launch import launcher_class
from bnlab.sweeps.sweep_files import with_file


@dataclass(frozen=True)
class Sweep:
    """A sweep, every config of which is in order.

    Attributes:
        folder: Where its runs' folders lie.
        overrides: What was asked for, a file's words in its place.
        configs: By run id, in the order of the sweep.
        swept: The dotted keys in which they differ.
        launcher: What the user says of Hydra's launcher.
        warnings: What is legal and probably not meant.
        cohorts: Which of them are trained together; empty until `prepared`.
        cut_off: Others, of an earlier call, that can go on. They are trained before those that share a run with them,
            in which their runs then have their results already.
    """

    folder: Path
    overrides: list[str]
    configs: dict[str, RunConfig]
    swept: list[str]
    launcher: list[str]
    warnings: list[str]
    cohorts: list[PlannedCohort] = field(default_factory=list)
    cut_off: list[PlannedCohort] = field(default_factory=list)

    def run_folder(self, name: str) -> RunFolder:
        """Return the folder of a run."""
        return RunFolder(self.folder / name)

    def arm(self, name: str) -> str:
        """Return what a run is compared as: its settings of what is swept, but for the learning rate and the seed."""
        return self._settings(name, arm_keys(self.swept)) or "all"

    def cell(self, name: str) -> str:
        """Return what a run shares with those that differ from it by the seed alone, but for its arm."""
        return self._settings(name, [key for key in self.swept if key == LEARNING_RATE])

    def _settings(self, name: str, keys: Sequence[str]) -> str:
        flat = by_name(flatten(self.configs[name].as_dict()))
        return label_of({key: flat.get(key) for key in keys})

    def to_train(self, names: Sequence[str]) -> list[tuple[PlannedCohort, set[str]]]:
        """Return the cohorts that some runs are trained in, and those of the runs that each of them brings.

        Args:
            names: Run ids.
        """
        left = set(names)
        found = []
        for cohort in [*self.cut_off, *self.cohorts]:
            if brought := left & ids_of(cohort):
                left -= brought
                found.append((cohort, brought))
        return found

    def missing(self, *, only: str | None = None, again: bool = False) -> list[str]:
        """Return the runs that have no result, in the order of the sweep.

        Args:
            only: A status: those that have it.
            again: All of them, whatever is there.
        """
        if only is not None:
            return [name for name in self.configs if self._stands(name) == only]
        return [name for name in self.configs if again or self.run_folder(name).read_finished() is None]

    def _stands(self, name: str) -> str | None:
        folder = self.run_folder(name)
        return folder.read_status() if folder.path.exists() else None


def ids_of(cohort: PlannedCohort) -> set[str]:
    """Return the ids of a cohort's runs."""
    return {run_id(config) for config in cohort.configs}


def is_search(words: Sequence[str], config_dir: Path | None = None) -> bool:
    """Whether a sweeper other than Hydra's own is to choose the runs, as they go.

    Args:
        words: As for `plan_sweep`.
        config_dir: A folder of own options.

    Raises:
        ConfigError: The file of a sweep is not there, or cannot be read.

    Example:
        >>> is_search(["hydra/sweeper=optuna"]), is_search(["hydra/sweeper=basic", "seed=0,1"])
        (True, False)
    """
    chosen = [
        text.partition("=")[2] for text in with_file(list(words), config_dir) if text.startswith("hydra/sweeper=")
    ]
    return any(name != "basic" for name in chosen)


def plan_sweep(overrides: Sequence[str], runs: Path | None = None, config_dir: Path | None = None) -> Sweep:
    """Expand a sweep. What is there already can be told by it; to train what is missing, it must be `prepared`.

    Args:
        overrides: Hydra's grammar with sweeps and launchers; ``sweep=<name>`` for a file of conf/sweep.
        runs: The folder for all runs; None: BNLAB_RUNS, else ./runs.
        config_dir: A folder of own options.

    Raises:
        ConfigError: Any run has a config that is wrong.
        DataError: The file that data.path names cannot be read.
    """
    words = with_file(as_words(overrides), config_dir)
    launcher = [text for text in words if text.lstrip("+~").startswith(("hydra/", "hydra."))]
    words = [text for text in words if text not in launcher]
    if is_search(launcher):
        raise ConfigError("hydra/sweeper=...: a search goes by bnlab sweep alone, one run per trial.")
    if launcher:
        launcher += search_path_words(search_folders(config_dir))
        launcher_class(tuple(launcher))
    grid = expand(words, config_dir)
    configs = {run_id(config): config for config in grid.configs}
    return Sweep(runs_root(runs) / grid.name, words, configs, grid.swept, launcher, grid.warnings)


def prepared(sweep: Sweep, *, again: bool = False) -> Sweep:
    """Return a sweep with its cohorts, after checking that each of its programs will work.

    One config of each program is checked: the others differ in numbers only.

    Args:
        sweep: As it was planned.
        again: Nothing is to go on: all runs are trained anew.

    Raises:
        ConfigError: A config that will not work.
        DataError: The data are not there, or damaged.
    """
    from bnlab.experiment.checking import check  # noqa: PLC0415  (it waits for torch; a finished sweep need not)

    cohorts = plan_cohorts(list(sweep.configs.values()), _is_vectorizable)
    cut_off = [] if again else _cut_off(sweep, cohorts)
    programs = {program(cohort.configs[0]): cohort.configs[0] for cohort in [*cut_off, *cohorts]}
    warnings = dict.fromkeys(warning for config in programs.values() for warning in check(config).warnings)
    warnings = dict.fromkeys([*sweep.warnings, *warnings])
    return dataclasses.replace(sweep, cohorts=cohorts, cut_off=cut_off, warnings=list(warnings))


def _is_vectorizable(norm: str) -> bool:
    from bnlab.norms.catalog import is_vectorizable  # noqa: PLC0415  (it waits for torch)

    return is_vectorizable(norm)


def _cut_off(sweep: Sweep, planned: Sequence[PlannedCohort]) -> list[PlannedCohort]:
    """Return the cohorts of runs that were cut off and can go on, as their manifests tell them, but for those planned.

    They may be others than those planned now, if the sweep was smaller then, or its engine another one.
    """
    from bnlab.experiment.manifest import cohort_from  # noqa: PLC0415  (experiment waits for torch)

    found: dict[tuple[str, ...], PlannedCohort] = {}
    for name in sweep.missing():
        folder = sweep.run_folder(name)
        if not (folder.checkpoint_path.exists() or folder.previous_checkpoint_path.exists()):
            continue
        with contextlib.suppress(BnlabError, KeyError):  # what cannot be told any more begins anew
            manifest = folder.read_manifest()
            cohort = PlannedCohort(manifest["engine"], tuple(cohort_from(manifest)))
            found[_key(cohort)] = cohort
    known = set(map(_key, planned))
    return [cohort for key, cohort in found.items() if key not in known]


def _key(cohort: PlannedCohort) -> tuple[str, ...]:
    return (cohort.engine, *map(run_id, cohort.configs))
