"""A search, planned: what it may choose, and by whom.

Each run of it is chosen by what came out of the ones before, by a sweeper of Hydra's. The sweeper has no say in what
is there: runs lie in their folders as those of any sweep, finished ones are not trained again, and the same seed makes
the same choices. So a search that was cut off is made once more from its beginning, and is where it was in no time.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from bnlab.config.compose import search_path_words
from bnlab.config.folders import search_folders
from bnlab.config.grammar import Axis, as_words, parse_overrides, refuse_a_key_given_twice, search_axis
from bnlab.errors import ConfigError
from bnlab.runfolder.finding import runs_root
from bnlab.runfolder.index import flatten
from bnlab.schema import RunConfig
from bnlab.sweeps.cohorts import program
from bnlab.sweeps.grid import expand, sweep_name
from bnlab.sweeps.launch import compose_launch
from bnlab.sweeps.sweep_files import with_file

SEED = 0
"""Of the choices, where none is given: else the same command would make other trials each time."""


@dataclass(frozen=True)
class Search:
    """A search, every setting of which is in order.

    Attributes:
        folder: Where its runs' folders lie.
        overrides: What was asked for, a file's words in its place.
        fixed: Those that give one value.
        axes: What is chosen.
        launcher: What the user says of Hydra's launcher and sweeper.
        num_trials: How many, at most.
        num_at_a_time: So many are chosen before the first of them has a result.
        config_dir: A folder of own options.
        warnings: What is legal and probably not meant.
    """

    folder: Path
    overrides: list[str]
    fixed: list[str]
    axes: list[Axis]
    launcher: list[str]
    num_trials: int
    num_at_a_time: int
    config_dir: Path | None
    warnings: list[str]

    def key_names(self) -> dict[str, str]:
        """Return what is searched, by the name that Hydra knows it by."""
        return {axis.key.replace(".", "__"): axis.key for axis in self.axes}


def plan_search(
    overrides: Sequence[str], runs: Path | None = None, config_dir: Path | None = None, jobs: int | None = None
) -> Search:
    """Find out whether a search will work, before its first trial: each value of each key is tried in a config.

    Args:
        overrides: Hydra's grammar with sweeps, intervals among them, and ``hydra/sweeper=optuna``.
        runs: The folder for all runs; None: BNLAB_RUNS, else ./runs.
        config_dir: A folder of own options.
        jobs: Trials at a time; None: as the sweeper says.

    Raises:
        ConfigError: A setting that cannot work.
        DataError: The data are not there, or damaged.
    """
    words = with_file(as_words(overrides), config_dir)
    told = [text for text in words if text.lstrip("+~").startswith(("hydra/", "hydra."))]
    words = [text for text in words if text not in told]
    launcher, sweeper = _sweeper(told + search_path_words(search_folders(config_dir)), jobs)
    parsed = parse_overrides(words)
    refuse_a_key_given_twice(parsed)
    axes = {text: axis for text, one in zip(words, parsed, strict=True) if (axis := search_axis(one, config_dir))}
    if not axes:
        raise ConfigError(
            "a search needs something to choose, such as norm=batch,none or 'optim.lr=tag(log, interval(1e-3, 10))'."
        )
    fixed = [text for text in words if text not in axes]
    configs, warnings = _tried(fixed, list(axes.values()), config_dir)
    if "seed" in {axis.key for axis in axes.values()}:
        warnings.append("seed is searched like any other setting: the best trial will be the luckiest. Give one seed.")
    floats = {key for key, value in flatten(configs[0].as_dict()).items() if isinstance(value, float)}
    return Search(
        folder=runs_root(runs) / (configs[0].name or sweep_name(words)),
        overrides=words,
        fixed=fixed,
        axes=[_as_float(axis) if axis.key in floats else axis for axis in axes.values()],
        launcher=launcher,
        num_trials=sweeper.n_trials,
        num_at_a_time=sweeper.n_jobs,
        config_dir=config_dir,
        warnings=warnings,
    )


def _sweeper(told: list[str], jobs: int | None) -> tuple[list[str], DictConfig]:
    """Return what Hydra is told of the launcher and the sweeper, and what it makes of the latter.

    Raises:
        ConfigError: It is a sweeper that is not known here, or it is told what makes no sense here.
    """
    keys = {word.partition("=")[0] for word in told}
    if jobs is not None and "hydra.sweeper.n_jobs" not in keys:
        told = [*told, f"hydra.sweeper.n_jobs={jobs}"]
    sweeper = compose_launch(told).hydra.sweeper
    if not str(sweeper._target_).endswith(".OptunaSweeper"):
        raise ConfigError("hydra/sweeper=... is known for optuna alone. Write hydra/sweeper=optuna.")
    if str(getattr(sweeper.direction, "name", sweeper.direction)) != "minimize":
        raise ConfigError(
            f"hydra.sweeper.direction={sweeper.direction}: the objective is the validation loss. Leave the word out."
        )
    for key in ("storage", "params", "search_space", "custom_search_space"):
        if sweeper[key]:
            raise ConfigError(
                f"hydra.sweeper.{key} has no place here: what is searched is said by words such as "
                "optim.lr=interval(0.1,1), and what came out is kept in the runs' folders. Leave it out."
            )
    for key in ("n_trials", "n_jobs"):
        if sweeper[key] < 1:
            raise ConfigError(f"hydra.sweeper.{key} must be at least 1, got {sweeper[key]}.")
    if sweeper.sampler.get("seed", SEED) is None:
        told = [*told, f"hydra.sweeper.sampler.seed={SEED}"]
    return told, sweeper


def _tried(fixed: Sequence[str], axes: Sequence[Axis], config_dir: Path | None) -> tuple[list[RunConfig], list[str]]:
    """Return configs in which each value of each key appears, with each norm, and what is to be said of them.

    Raises:
        ConfigError: One of them is wrong.
        DataError: The data are not there, or damaged.
    """
    from bnlab.experiment.checking import check  # noqa: PLC0415  (it waits for torch)

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


def _as_float(axis: Axis) -> Axis:
    """Return an interval of real numbers, whose ends may have been typed as whole ones: Optuna would take no other."""
    if not axis.is_interval:
        return axis
    return dataclasses.replace(axis, values=tuple(repr(float(value)) for value in axis.values))
