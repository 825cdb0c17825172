"""The door to Hydra's launchers: which machine trains which part of a sweep is theirs to decide."""

import contextlib
import functools
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf

from bnlab.config.folders import conf_folder, dotted_keys
from bnlab.errors import ConfigError, did_you_mean
from bnlab.sweeps.jobs import no_jobs_left
from bnlab.sweeps.parts import part_path, train_part
from bnlab.training.interruption import Interruption

EXTRA_OF = {
    "hydra/launcher": {"submitit_local": "slurm", "submitit_slurm": "slurm", "slurm": "slurm", "ray": "ray"}
    | {"ray_aws": "ray", "ray_cluster": "ray"},
    "hydra/sweeper": {"optuna": "optuna"},
}
"""Launchers and sweepers that bnlab's extras bring."""


@hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name="launch")
def _job(config: DictConfig) -> None:
    train_part(part_path(Path(config.folder), int(config.part)))


def launch(
    folder: Path, parts: Sequence[int], num_jobs: int, words: Sequence[str], interruption: Interruption | None = None
) -> Exception | None:
    """Have some parts of a sweep trained, and wait for them.

    Args:
        folder: Where they are written down.
        parts: Which of them.
        num_jobs: How many at a time, where that is ours to say: on this machine.
        words: What the user says of the launcher: ``hydra/launcher=...``, ``hydra.launcher.<key>=...``.
        interruption: Where a stop may be asked for.

    Returns:
        What the launcher raised, which says little of the parts: some may be done; None: nothing.

    Raises:
        ConfigError: There is no such launcher.
    """
    return run_hydra(_job, folder, [f"part={','.join(map(str, parts))}"], num_jobs, words, interruption)


def run_hydra(
    job: Callable[[], None],
    folder: Path,
    arguments: Sequence[str],
    num_jobs: int,
    words: Sequence[str],
    interruption: Interruption | None = None,
) -> Exception | None:
    """Have Hydra run a job many times, by the launcher that the user wants; see `launch`.

    What launchers print to standard output goes to standard error: the former is for results.

    Args:
        job: Decorated by ``hydra.main``.
        folder: Where what concerns it is written down.
        arguments: Overrides of conf/launch.yaml.
        num_jobs: As for `launch`.
        words: As for `launch`.
        interruption: As for `launch`.

    Raises:
        ConfigError: There is no such launcher.
    """
    launcher = launcher_class(tuple(words))
    local = [f"hydra.launcher.n_jobs={num_jobs}"] if launcher == _JOBLIB else []
    every = ["-m", f"folder={_quoted(folder.as_posix())}", *arguments, *local, *words]
    with _as_if_started_by_hydra(every), contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        # joblib replaces a worker whose memory has grown by 300 MB since its first task, as another data set does, and
        # warns; where a warning is an error, the thread that would start the new one dies of it, and all wait for ever
        warnings.filterwarnings("ignore", "A worker stopped while some jobs were given", UserWarning)
        try:
            with no_jobs_left(launcher, interruption or Interruption()):
                job()
        except HydraException as error:
            raise ConfigError(_say_what_is_wrong(words, error)) from None
        except Exception as error:  # a launcher's own: a worker that was killed, a cluster that is gone
            return error
    return None


def _quoted(text: str) -> str:
    r"""Return a text as a word that Hydra and OmegaConf read as it is: no end of a quote in it, and no interpolation.

    Example:
        >>> _quoted("it's"), _quoted("a ${b}")
        ("'it\\'s'", "'a \\${b}'")
    """
    no_interpolation = re.sub(r"(\\*)\$\{", r"\1\1\\${", text)
    no_end = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), no_interpolation)
    return f"'{no_end}'"


_JOBLIB = "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher"


@functools.cache
def launcher_class(words: tuple[str, ...]) -> str:
    """Return the place of the launcher's class: own configs of launchers may go by any name.

    Args:
        words: What the user says of the launcher.

    Raises:
        ConfigError: There is no such launcher, or it has no such setting.
    """
    if not words:
        return _JOBLIB
    chosen = compose_launch(words).hydra.launcher
    if not isinstance(chosen, DictConfig):
        raise ConfigError(f"hydra.launcher={chosen}: hydra.launcher is a section. Write hydra/launcher={chosen}.")
    return str(chosen._target_)


def has_a_process_per_part(words: Sequence[str]) -> bool:
    """Whether a launcher starts a process anew for each part of a sweep, and so should be given few."""
    return launcher_class(tuple(words)).startswith("hydra_plugins.hydra_submitit_launcher.")


def starts_all_at_once(words: Sequence[str]) -> bool:
    """Whether a launcher starts all parts of a sweep on this machine at the same time, however many there are."""
    return launcher_class(tuple(words)).endswith("submitit_launcher.LocalLauncher")


def compose_launch(words: Sequence[str]) -> DictConfig:
    """Compose what Hydra will be told of a launch.

    Args:
        words: What the user says of launcher and sweeper.

    Raises:
        ConfigError: There is no such launcher, or it has no such setting.
    """
    with _as_if_started_by_hydra([]), initialize_config_dir(str(conf_folder()), version_base="1.3", job_name="bnlab"):
        try:
            return compose("launch", list(words), return_hydra_config=True)
        except HydraException as error:
            raise ConfigError(_say_what_is_wrong(words, error)) from None


def _say_what_is_wrong(words: Sequence[str], error: Exception) -> str:
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.rpartition("/")
        extras = EXTRA_OF.get(group, {})
        if name in extras:
            return f"{group}={name} is not installed. Install it by pip install 'bnlab[{extras[name]}]'."
        return f"{group}={name} is not known. {did_you_mean(name, {*extras, *(error.options or ())})}"
    first = str(error.__cause__ or error).strip().splitlines()[0].rstrip(".")
    for word in words:
        key = word.partition("=")[0].lstrip("+")
        if key.startswith("hydra.") and f"'{key}'" in str(error):
            choices = [one for one in words if "/" in one.partition("=")[0]]
            known: Any = OmegaConf.to_container(compose_launch(choices).hydra)
            section, _, name = key.removeprefix("hydra.").rpartition(".")
            near = {one.removeprefix(f"{section}.") for one in dotted_keys(known) if one.startswith(section)}
            return f"{key} is not a setting. {did_you_mean(name, near)}"
        if key.startswith("hydra/") and f"'{key}'" in str(error):
            return f"{key} is not a choice of Hydra's. {did_you_mean(key, EXTRA_OF)}"
    guilty = next((word for word in words if word in str(error)), " ".join(words))
    return f"{guilty}: {first}."


@contextlib.contextmanager
def _as_if_started_by_hydra(arguments: Sequence[str]) -> Iterator[None]:
    """Let Hydra find its arguments where it looks for them, and leave no trace of it behind.

    Raised errors come out as they are: else Hydra prints them and ends the process.
    """
    theirs, their_config = GlobalHydra.instance().hydra, HydraConfig.instance().cfg
    argv, full_error = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    GlobalHydra.instance().clear()
    sys.argv = [argv[0], *arguments]
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        sys.argv = argv
        if full_error is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = full_error
        GlobalHydra.instance().hydra = theirs
        HydraConfig.instance().cfg = their_config
