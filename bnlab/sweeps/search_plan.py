"""A search, planned: what it chooses, by which sampler and pruner of Optuna's, and where its trials are kept."""

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from bnlab.config.grammar import as_words, parse_overrides
from bnlab.config.swept_values import Axis, refuse_a_key_given_twice, search_axis
from bnlab.errors import ConfigError, RunBusyError
from bnlab.identity.changes import refuse_code_that_changed_here
from bnlab.identity.run_id import run_id
from bnlab.runfolder.finding import runs_root
from bnlab.runfolder.index import flatten
from bnlab.runfolder.writable import saying_where_it_cannot_write
from bnlab.schema import RunConfig
from bnlab.sweeps.cohorts import program
from bnlab.sweeps.earlier_runs import EarlierRuns, find_earlier
from bnlab.sweeps.grid import expand, sweep_name
from bnlab.sweeps.launcher_words import checked_launcher, split_off_hydra_words
from bnlab.sweeps.optuna_study import OptunaStudy, open_storage
from bnlab.sweeps.plan_file import write_with_earlier
from bnlab.sweeps.samplers import NEEDS_LISTS, choices, import_optuna
from bnlab.sweeps.sweep_files import set_by_file, with_file
from bnlab.sweeps.sweeper_words import Method, count, method_of, read_sweeper
from bnlab.world import refuse_to_share

JOURNAL = "search.journal"
"""Name of the file in a sweep's folder that keeps the trials, unless the user names a database."""


@dataclass(frozen=True)
class Search:
    """A search, every setting of which is in order.

    Attributes:
        folder: The sweep's folder, in which each run has a folder.
        overrides: All words of the config, those of a sweep's file among them.
        fixed: The overrides that give one value.
        axes: The settings that are chosen, and from which values.
        launcher: The words for the backend that trains the runs; empty: processes of this machine.
        method: How the settings are chosen.
        num_trials: Trials in all, at least 1.
        num_at_a_time: Trials in training at a time, at least 1. Each is chosen without the results of the others.
        config_dir: A folder with the user's own options, or None.
        warnings: Sentences about settings that are allowed and probably not meant.
        tried: Run id -> config, of the runs in which each value was tried.
        earlier: The runs of earlier commands in the folder, trials of this search among them.
    """

    folder: Path
    overrides: list[str]
    fixed: list[str]
    axes: list[Axis]
    launcher: list[str]
    method: Method
    num_trials: int
    num_at_a_time: int
    config_dir: Path | None
    warnings: list[str]
    tried: dict[str, RunConfig] = field(default_factory=dict)
    earlier: EarlierRuns = field(default_factory=EarlierRuns)

    def find_earlier(self, by_file: Mapping[str, str] | None = None) -> EarlierRuns:
        """Return the runs of other commands that are in the folder now.

        Args:
            by_file: Keys that a sweep's file sets, as for `find_earlier`.

        Raises:
            ConfigError: They are those of another sweep.
        """
        return find_earlier(self.folder, self.tried, {one.key for one in self.axes}, by_file)

    def with_its_runs_written(self, run_ids: Sequence[str]) -> "Search":
        """Write sweep.json; return this search, with the runs of other commands that are in the folder now.

        Args:
            run_ids: The runs of its trials.

        Raises:
            ConfigError: The folder cannot be written to, or holds another sweep by now.
            RunBusyError: Another process does not stop writing.
        """
        earlier = write_with_earlier(self.folder, self.overrides, run_ids, self.earlier, self.find_earlier)
        return dataclasses.replace(self, earlier=earlier)

    @property
    def journal(self) -> Path:
        """The file that keeps the trials, unless the user names a database."""
        return self.folder / JOURNAL

    def open_study(self, *, again: bool = False) -> OptunaStudy:
        """Return the study of this search, with the trials of earlier calls.

        Args:
            again: Begin a new study instead.

        Raises:
            ConfigError: The storage cannot be reached, or the study has trials of another search.
        """
        method = self.method
        digits = sweep_name(self.overrides)  # several searches may share a folder, if they share a name
        name = method.study_name or (digits if self.folder.name == digits else f"{self.folder.name}-{digits}")
        if again and method.storage is not None:
            raise ConfigError(
                f"--again would delete the study {name} from {method.storage}. Delete it yourself, or give another "
                "hydra.sweeper.study_name."
            )
        storage = open_storage(method.storage, self.journal)
        if again:
            with contextlib.suppress(KeyError):  # there is none
                import_optuna().delete_study(study_name=name, storage=storage)
        return OptunaStudy(name, storage, method, self.axes)


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
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


def plan_search(
    overrides: Sequence[str], runs: Path | None = None, config_dir: Path | None = None, jobs: int | None = None
) -> Search:
    """Find out whether a search will work, before its first trial: each value of each key is tried in a config.

    Args:
        overrides: Hydra's grammar with sweeps, intervals among them, and ``hydra/sweeper=optuna``.
        runs: The folder for all runs; None: BNLAB_RUNS, else ./runs.
        config_dir: A folder with the user's own options, searched after bnlab's conf/.
        jobs: Trials in training at a time; None: as ``hydra.sweeper.n_jobs`` says.

    Raises:
        ConfigError: A setting that cannot work, an own class that changed after this process had imported it, or the
            folder holds runs of another sweep.
        DataError: The data are missing or damaged.
    """
    refuse_to_share("a search")
    typed = as_words(overrides)
    with_those_of_file = with_file(typed, config_dir)
    words, of_hydra = split_off_hydra_words(with_those_of_file)
    sweeper, of_launcher = read_sweeper(of_hydra)
    launcher = checked_launcher(of_launcher, config_dir)
    parsed = parse_overrides(words)
    refuse_a_key_given_twice(parsed)
    axes = {text: axis for text, one in zip(words, parsed, strict=True) if (axis := search_axis(one, config_dir))}
    if not axes:
        raise ConfigError(
            "a search needs something to choose, such as norm=batch,none or 'optim.lr=tag(log, interval(1e-3, 10))'."
        )
    method, num_trials = method_of(sweeper), count(sweeper, "n_trials")
    num_jobs = jobs if jobs is not None and "n_jobs" not in sweeper else count(sweeper, "n_jobs")
    fixed = [text for text in words if text not in axes]
    configs, warnings = _tried(fixed, list(axes.values()), config_dir)
    refuse_code_that_changed_here(configs)
    if "seed" in {axis.key for axis in axes.values()}:
        warnings.append("seed is searched like any other setting: the best trial will be the luckiest. Give one seed.")
    flat = flatten(configs[0].as_dict())
    numbers = [_as_its_type(axis, flat.get(axis.key)) for axis in axes.values()]
    if method.sampler in NEEDS_LISTS:
        num_trials = min(num_trials, _num_combinations(method.sampler, numbers))
    folder = runs_root(runs) / (configs[0].name or sweep_name(words))
    search = Search(
        folder=folder,
        overrides=words,
        fixed=fixed,
        axes=numbers,
        launcher=launcher,
        method=method,
        num_trials=num_trials,
        num_at_a_time=num_jobs,
        config_dir=config_dir,
        warnings=warnings,
        tried={run_id(config): config for config in configs},
    )
    return dataclasses.replace(search, earlier=search.find_earlier(set_by_file(typed, with_those_of_file)))


def _num_combinations(sampler: str, axes: Sequence[Axis]) -> int:
    """Return the number of combinations of the values of some axes.

    Raises:
        ConfigError: One of them is an interval of real numbers.
    """
    for axis in axes:
        if axis.is_real_interval:
            raise ConfigError(
                f"hydra.sweeper.sampler={sampler} tries every combination, and {axis.key} is an interval. Give it "
                f"values, such as {axis.key}=logspace({','.join(axis.values)},9), or choose another sampler."
            )
    return math.prod(len(choices(axis)) for axis in axes)


def _tried(fixed: Sequence[str], axes: Sequence[Axis], config_dir: Path | None) -> tuple[list[RunConfig], list[str]]:
    """Return configs in which each value of each key appears, with each norm, and warnings about them.

    Raises:
        ConfigError: One of them is wrong.
        DataError: The data are missing or damaged.
    """
    from bnlab.experiment.checking import check  # noqa: PLC0415  (it imports torch; a wrong word is told sooner)

    configs: list[RunConfig] = []
    warnings: list[str] = []
    for axis in axes:
        values = [(one.key, one.values if one in {axis} or one.key == "norm" else one.values[:1]) for one in axes]
        grid = expand([*fixed, *(f"{key}={','.join(some)}" for key, some in values)], config_dir)
        configs += grid.configs
        warnings += grid.warnings
    programs = {program(config): config for config in configs}
    for config in programs.values():
        warnings += check(config).warnings
    return configs, list(dict.fromkeys(warnings))


def _as_its_type(axis: Axis, value: Any) -> Axis:
    """Return an interval with the ends of a setting's own type: Hydra reads the ends of all intervals as real numbers.

    Args:
        axis: The values of the setting.
        value: Any value of the setting.
    """
    if not axis.is_interval:
        return axis
    ends = map(float, axis.values)
    if isinstance(value, int) and not isinstance(value, bool):
        return dataclasses.replace(axis, values=tuple(str(round(end)) for end in ends))
    return dataclasses.replace(axis, values=tuple(map(repr, ends)))
