"""The plan of a sweep, before anything is trained: its runs, which of them have a result, which are missing."""

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bnlab.config.grammar import as_words
from bnlab.errors import BnlabError, ConfigError, RunError
from bnlab.identity.changes import (
    other_versions,
    refuse_code_found_by_importing,
    refuse_code_that_changed_here,
    what_is_unread,
)
from bnlab.identity.own_parts import own_code
from bnlab.identity.run_id import run_id
from bnlab.records import ENDED
from bnlab.results.arms import LEARNING_RATE, arm_keys, label_of
from bnlab.runfolder.finding import runs_root
from bnlab.runfolder.folder import RunFolder
from bnlab.runfolder.index import by_name, flatten
from bnlab.schema import RunConfig
from bnlab.sweeps.cohorts import PlannedCohort, plan_cohorts, program
from bnlab.sweeps.earlier_runs import EarlierRuns, find_earlier
from bnlab.sweeps.grid import expand_all
from bnlab.sweeps.launcher_words import checked_launcher, split_off_hydra_words
from bnlab.sweeps.sweep_files import set_by_file, with_file
from bnlab.world import refuse_to_share

if TYPE_CHECKING:
    from bnlab.sweeps.checked_programs import CheckedPrograms


SHORT = 5_000
"""Steps of all runs of a sweep, below which nobody is told how long it takes: to train a little of it takes a second,
and so do 1,000 to 5,000 steps of runs that are trained together."""


@dataclass(frozen=True)
class Sweep:
    """A sweep, every config of which is in order.

    Attributes:
        folder: The sweep's folder, in which each run has a folder.
        overrides: The words of the config, with the words of a sweep's file in place of ``sweep=NAME``.
        configs: Run id -> config, in the order of the sweep.
        swept: The dotted keys in which the runs differ.
        launcher: The words about the launcher; empty: processes of this machine.
        warnings: One sentence for each setting that is legal but probably a mistake.
        earlier: The runs of earlier commands in the folder.
        cohorts: The cohorts in which the runs are trained; empty until the sweep is `prepared`.
        cut_off: Cohorts of an earlier call that were cut off and can be resumed, without those that are planned now.
            They are resumed before a planned cohort that shares a run with them begins.
        checks: What was found for each program when the sweep was `prepared`; None before.
        others: The words of the other commands of which it is made; empty where ``overrides`` gives all of its runs.
        parts: The ids of the runs of each command, that of ``overrides`` last.
    """

    folder: Path
    overrides: list[str]
    configs: dict[str, RunConfig]
    swept: list[str]
    launcher: list[str]
    warnings: list[str]
    earlier: EarlierRuns = field(default_factory=EarlierRuns)
    cohorts: list[PlannedCohort] = field(default_factory=list)
    cut_off: list[PlannedCohort] = field(default_factory=list)
    checks: "CheckedPrograms | None" = None
    others: list[list[str]] = field(default_factory=list)
    parts: list[list[str]] = field(default_factory=list)

    def run_folder(self, name: str) -> RunFolder:
        """Return the folder of a run."""
        return RunFolder(self.folder / name)

    def arm(self, name: str) -> str:
        """Return the arm of a run: its values of the swept keys, without the learning rate and the seed."""
        return self._settings(name, arm_keys(self.swept)) or "all"

    def cell(self, name: str) -> str:
        """Return the cell of a run within its arm: its learning rate, if that is swept."""
        return self._settings(name, [key for key in self.swept if key == LEARNING_RATE])

    def _settings(self, name: str, keys: Sequence[str]) -> str:
        flat = by_name(flatten(self.configs[name].as_dict()))
        return label_of({key: flat.get(key) for key in keys})

    def to_train(self, names: Sequence[str]) -> list[tuple[PlannedCohort, set[str]]]:
        """Return the cohorts in which some runs are trained, each with those runs that no cohort before it has.

        Args:
            names: The ids of the runs, such as those of `missing`.
        """
        left = set(names)
        found = []
        for cohort in [*self.cut_off, *self.cohorts]:
            if brought := left & set(cohort.run_ids):
                left -= brought
                found.append((cohort, brought))
        return found

    def is_short(self, names: Sequence[str]) -> bool:
        """Return whether some runs take so few steps of small networks that an estimate would take as long.

        Args:
            names: The ids of the runs, such as those of `missing`.
        """
        cohorts = [cohort for cohort, _ in self.to_train(names)]
        num_steps = sum(len(cohort.configs) * (cohort.configs[0].train.steps or SHORT) for cohort in cohorts)
        return num_steps < SHORT and all(cohort.engine == "vectorized" for cohort in cohorts)

    def missing(self, *, only: str | None = None, again: bool = False) -> list[str]:
        """Return the runs that have no result, in the order of the sweep.

        Args:
            only: Return the runs with this status instead; None: the runs without a result.
            again: Return all runs, with a result or without.
        """
        if only is not None:
            return [name for name in self.configs if self._stands(name) == only]
        return [name for name in self.configs if again or self.run_folder(name).read_finished() is None]

    def of_other_versions(self) -> list[str]:
        """Return a sentence on the results that were computed with other versions of packages, if there are any."""
        found: dict[str, int] = {}
        for name in self.configs:
            with contextlib.suppress(RunError):
                manifest = self.run_folder(name).read_manifest()
                if manifest.get("status") in ENDED and (others := other_versions(manifest)):
                    found[others] = found.get(others, 0) + 1
        if not found:
            return []
        told = "; ".join(f"{number} with {others}" for others, number in found.items())
        return [f"Of {len(self.configs)} runs some were trained with other versions: {told}. --again trains them anew."]

    def _stands(self, name: str) -> str | None:
        folder = self.run_folder(name)
        return folder.read_status() if folder.path.exists() else None


def is_search(words: Sequence[str], config_dir: Path | None = None) -> bool:
    """Whether the words ask for a search: then a sampler chooses the runs while others are in training.

    Args:
        words: The words of the command line, as for `plan_sweep`.
        config_dir: A folder with the user's own options; None: bnlab's conf/ and ./conf alone.

    Raises:
        ConfigError: The file of a sweep is missing, or cannot be read.

    Example:
        >>> is_search(["hydra/sweeper=optuna"]), is_search(["hydra/sweeper=basic", "seed=0,1"])
        (True, False)
    """
    chosen = [
        text.partition("=")[2] for text in with_file(list(words), config_dir) if text.startswith("hydra/sweeper=")
    ]
    return any(name != "basic" for name in chosen)


def plan_sweep(overrides: Sequence[str], runs: Path | None = None, config_dir: Path | None = None) -> Sweep:
    """Expand a sweep. It knows which runs have a result; before the others are trained, it must be `prepared`.

    Args:
        overrides: Hydra's grammar with sweeps and launchers; ``sweep=<name>`` for a file of conf/sweep.
        runs: The folder for all runs; None: BNLAB_RUNS, else ./runs.
        config_dir: A folder with the user's own options; None: bnlab's conf/ and ./conf alone.

    Raises:
        ConfigError: The config of a run is wrong, an own class changed after this process had imported it, or the
            folder holds another sweep.
        DataError: The file that data.path names cannot be read.
    """
    refuse_to_share("a sweep")
    typed = as_words(overrides)
    with_those_of_file = with_file(typed, config_dir)
    words, of_hydra = split_off_hydra_words(with_those_of_file)
    if is_search(of_hydra):
        raise ConfigError("hydra/sweeper=...: only the command bnlab sweep can search.")
    launcher = checked_launcher(of_hydra, config_dir)
    return _plan([words], launcher, set_by_file(typed, with_those_of_file), runs, config_dir)


def plan_arms(commands: Sequence[Sequence[str]], runs: Path | None = None, config_dir: Path | None = None) -> Sweep:
    """Expand several commands into one sweep, whose arms need not be a grid; see `plan_sweep`.

    Args:
        commands: The words of each arm, with those that all arms share in each of them.
        runs: The folder for all runs; None: BNLAB_RUNS, else ./runs.
        config_dir: A folder with the user's own options; None: bnlab's conf/ and ./conf alone.

    Raises:
        ConfigError: As for `plan_sweep`; or a word names a sweep's file, or something of Hydra's.
        DataError: The file that data.path names cannot be read.
    """
    refuse_to_share("a sweep")
    for word in (word for words in commands for word in words):
        if word.startswith(("hydra/", "hydra.", "sweep=")):
            raise ConfigError(f"{word} is for bnlab sweep. Leave it out here.")
    return _plan([list(words) for words in commands], [], {}, runs, config_dir)


def _plan(
    commands: list[list[str]],
    launcher: list[str],
    by_file: Mapping[str, str],
    runs: Path | None,
    config_dir: Path | None,
) -> Sweep:
    """Return a sweep that is made of one command or of several.

    Raises:
        ConfigError: A config is wrong, or the folder holds another sweep.
    """
    grid = expand_all(commands, config_dir)
    refuse_code_that_changed_here(grid.configs)
    ids = [run_id(config) for config in grid.configs]
    configs = dict(zip(ids, grid.configs, strict=True))
    own = {config.norm.name: config for config in grid.configs}.values()
    warnings = list(dict.fromkeys([*grid.warnings, *(text for config in own for text in what_is_unread(config))]))
    if len(configs) < len(grid.configs):  # two paths to the same data
        warnings.append(
            f"{len(grid.configs)} combinations are {len(configs)} runs: some of them have the same data at two places."
        )
    folder = runs_root(runs) / grid.name
    earlier = find_earlier(folder, configs, by_file=by_file)
    parts = [[ids[place] for place in part] for part in grid.parts]
    *others, words = commands
    return Sweep(folder, words, configs, grid.swept, launcher, warnings, earlier, others=others, parts=parts)


def prepared(sweep: Sweep, *, again: bool = False) -> Sweep:
    """Return a sweep with its cohorts, after checking that each of its programs will work.

    Of the runs of one program, which differ in numbers only, the first one is checked: of the cohorts that were cut
    off, if there are any, else of those that are planned now.

    Args:
        sweep: A sweep from `plan_sweep`.
        again: Resume no cohort that was cut off: all runs are trained anew.

    Raises:
        ConfigError: A config cannot be trained.
        DataError: The data are missing or damaged.
    """
    from bnlab.sweeps.checked_programs import CheckedPrograms  # noqa: PLC0415  (torch; a finished sweep need not wait)

    checks = CheckedPrograms()
    of_each = {(c.norm.name, c.model.name, c.data.name): c for c in sweep.configs.values()}
    before = [(own_code(config), config) for config in of_each.values()]
    cohorts = plan_cohorts(list(sweep.configs.values()), _is_vectorizable)
    names = {id(config): name for name, config in sweep.configs.items()}
    cohorts = [dataclasses.replace(one, planned_ids=tuple(names[id(c)] for c in one.configs)) for one in cohorts]
    for code, config in before:  # own classes have just been imported
        refuse_code_found_by_importing(code, config)
    cut_off = [] if again else _cut_off(sweep, cohorts)
    first_of: dict[str, RunConfig] = {}
    for cohort in [*cut_off, *cohorts]:
        first_of.setdefault(program(cohort.configs[0]), cohort.configs[0])
    found = [warning for config in first_of.values() for warning in checks.check(config).warnings]
    warnings = list(dict.fromkeys([*sweep.warnings, *found]))
    return dataclasses.replace(sweep, cohorts=cohorts, cut_off=cut_off, checks=checks, warnings=warnings)


def _is_vectorizable(norm: str) -> bool:
    from bnlab.norms.catalog import is_vectorizable  # noqa: PLC0415  (it waits for torch)

    return is_vectorizable(norm)


def _cut_off(sweep: Sweep, planned: Sequence[PlannedCohort]) -> list[PlannedCohort]:
    """Return the cohorts that were cut off and can be resumed, as manifests tell them, without those planned now.

    They differ from those planned now where the sweep had fewer runs then, or another engine.
    """
    from bnlab.experiment.manifest import cohort_from  # noqa: PLC0415  (experiment waits for torch)

    found: dict[tuple[str, ...], PlannedCohort] = {}
    for name in sweep.missing():
        folder = sweep.run_folder(name)
        if not (folder.checkpoint_path.exists() or folder.previous_checkpoint_path.exists()):
            continue
        with contextlib.suppress(BnlabError, KeyError):  # a damaged manifest: the run begins anew
            manifest = folder.read_manifest()
            cohort = PlannedCohort(manifest["engine"], tuple(cohort_from(manifest)))
            found[_key(cohort)] = cohort
    known = set(map(_key, planned))
    return [cohort for key, cohort in found.items() if key not in known]


def _key(cohort: PlannedCohort) -> tuple[str, ...]:
    return (cohort.engine, *cohort.run_ids)
