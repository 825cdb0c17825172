"""The door to Hydra's launchers: which machine trains which part of a sweep is theirs to decide."""

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig

from bnlab.config.folders import conf_folder
from bnlab.errors import ConfigError
from bnlab.sweeps.parts import train_part

EXTRA_OF = {"submitit": "slurm", "ray": "ray", "optuna": "optuna"}
"""Beginning of a launcher's or sweeper's name -> which of bnlab's extras brings it."""


@hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name="launch")
def _job(config: DictConfig) -> None:
    train_part(Path(config.folder), int(config.part))


def launch(folder: Path, parts: Sequence[int], num_jobs: int, words: Sequence[str]) -> Exception | None:
    """Have some parts of a sweep trained, and wait for them.

    Args:
        folder: Where they are written down.
        parts: Which of them.
        num_jobs: How many at a time, where that is ours to say: on this machine.
        words: What the user says of the launcher: ``hydra/launcher=...``, ``hydra.launcher.<key>=...``.

    Returns:
        What the launcher raised, which says little of the parts: some may be done; None: nothing.

    Raises:
        ConfigError: There is no such launcher.
    """
    own = any(word.startswith("hydra/launcher=") for word in words)
    local = [] if own else [f"hydra.launcher.n_jobs={num_jobs}"]
    place = folder.as_posix().replace("\\", "\\\\").replace("'", "\\'")
    arguments = [f"folder='{place}'", f"part={','.join(map(str, parts))}", *local, *words]
    with _as_if_started_by_hydra(["-m", *arguments]):
        try:
            _job()
        except HydraException as error:
            raise ConfigError(_say_what_is_missing(words, error)) from None
        except Exception as error:  # a launcher's own: a worker that was killed, a cluster that is gone
            return error
    return None


def _say_what_is_missing(words: Sequence[str], error: Exception) -> str:
    for word in words:
        key, _, name = word.partition("=")
        extra = next((extra for start, extra in EXTRA_OF.items() if name.startswith(start)), None)
        if key in {"hydra/launcher", "hydra/sweeper"} and extra and f"'{key}/{name}'" in str(error):
            return f"{word} is not installed. Install it by pip install 'bnlab[{extra}]'."
    return f"{' '.join(words)}: {str(error).strip().splitlines()[0]}"


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
