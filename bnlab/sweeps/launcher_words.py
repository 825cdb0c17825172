"""The words ``hydra/launcher=...`` and ``hydra.launcher.<key>=...``, and the backend that they mean."""

import functools
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra import compose
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from pydantic import TypeAdapter

from bnlab.config.complaints import type_fault
from bnlab.config.composition import initialized_hydra, search_path_words
from bnlab.config.folders import conf_folder, dotted_keys, search_folders
from bnlab.config.grammar import parse_overrides
from bnlab.errors import ConfigError, did_you_mean
from bnlab.sweeps.backends.backend import Backend

_NEEDS = {
    "slurm": ("submitit", "bnlab[slurm]"),
    "submitit_local": ("submitit", "bnlab[slurm]"),
    "ray": ("ray", "bnlab[ray]"),
}
"""Backend -> the package that it needs, and what brings the package."""

_PLUGINS = {"ray_aws": "hydra-ray-launcher"}
"""Launcher of Hydra's that bnlab has no backend for -> what brings it."""


def split_off_hydra_words(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the words of the config, and the words about the launcher and the sweeper.

    Example:
        >>> split_off_hydra_words(["norm=batch", "hydra/launcher=slurm", "+hydra.launcher.setup=[]"])
        (['norm=batch'], ['hydra/launcher=slurm', '+hydra.launcher.setup=[]'])
    """
    of_hydra = [text for text in words if text.lstrip("+~").startswith(("hydra/", "hydra."))]
    return [text for text in words if text not in of_hydra], of_hydra


def checked_launcher(words: Sequence[str], config_dir: Path | None) -> list[str]:
    """Return the words about the launcher, with the folders in which its file may lie; empty: there are none.

    Args:
        words: The words about the launcher.
        config_dir: A folder with the user's own options; None: bnlab's conf/ and ./conf alone.

    Raises:
        ConfigError: As for `launcher_settings`.
    """
    if not words:
        return []
    launcher = [*words, *search_path_words(search_folders(config_dir))]
    launcher_settings(tuple(launcher))
    return launcher


def open_backend(words: Sequence[str], num_jobs: int) -> Backend:
    """Return the backend that a user wants.

    Args:
        words: The words about the launcher; empty: processes of this machine.
        num_jobs: Parts in training at a time on this machine, unless ``hydra.launcher.n_jobs`` says another number. A
            cluster decides by itself.

    Raises:
        ConfigError: As for `launcher_settings`.
    """
    settings = dict(launcher_settings(tuple(words)))
    name = settings.pop("backend")
    if name == "local":
        from bnlab.sweeps.backends.local import LocalBackend  # noqa: PLC0415  (each backend imports its own package)

        return LocalBackend(settings["n_jobs"] if settings["n_jobs"] > 0 else num_jobs)
    if name in {"slurm", "submitit_local"}:
        from bnlab.sweeps.backends.slurm import SlurmBackend, SubmititBackend  # noqa: PLC0415

        return SlurmBackend(settings) if name == "slurm" else SubmititBackend("local", settings, num_jobs)
    if name == "ray":
        from bnlab.sweeps.backends.ray import RayBackend  # noqa: PLC0415

        return RayBackend(settings["ray"])
    from bnlab.sweeps.backends.hydra import HydraBackend  # noqa: PLC0415

    return HydraBackend(words)


@functools.cache
def launcher_settings(words: tuple[str, ...]) -> dict[str, Any]:
    """Return the settings of the launcher that a user wants.

    Args:
        words: The words about the launcher, and ``hydra.searchpath=...`` for folders with the user's own launchers.

    Returns:
        ``backend``, and the settings of that backend. ``{"backend": "hydra"}`` where the launcher is a plugin of
        Hydra's that bnlab has no backend for.

    Raises:
        ConfigError: There is no such launcher, it has no such setting, a value has a wrong type, or a package that it
            needs is not installed.
    """
    chosen, folders, settings, others = list[str](), [conf_folder()], list[Override](), list[str]()
    for override in parse_overrides(list(words)):
        key, value = override.key_or_group, override.value()
        if key == "hydra/launcher":
            chosen.append(str(value))
        elif key == "hydra.searchpath":
            folders += [Path(str(folder).removeprefix("file://")) for folder in value]  # type: ignore[union-attr]
        elif key == "hydra.launcher":
            raise ConfigError(f"hydra.launcher={value}: hydra.launcher is a section. Write hydra/launcher={value}.")
        elif key.startswith("hydra.launcher."):
            settings.append(override)
        elif key.startswith("hydra/") and (key, value) != ("hydra/sweeper", "basic"):
            raise ConfigError(
                f"{key} is not a choice of Hydra's. {did_you_mean(key, ['hydra/launcher', 'hydra/sweeper'])}"
            )
        elif not key.startswith("hydra/"):
            others.append(key)
    if len(chosen) > 1:
        both = " and ".join(f"hydra/launcher={one}" for one in chosen)
        raise ConfigError(f"hydra/launcher is given twice: {both}. Give one of them.")
    name = chosen[0] if chosen else "joblib"
    config = _own_settings(name, folders)
    if config is None:
        compose_launch(words)
        return {"backend": "hydra"}
    for key in others:
        if key.startswith("hydra.sweeper."):
            raise ConfigError(f"{key} has no effect without hydra/sweeper=optuna. Add that word, or leave {key} out.")
        raise ConfigError(f"{key} has no effect on a sweep. {did_you_mean(key, ['hydra.launcher'])}")
    for override in settings:
        _set(config, override)
    package, extra = _NEEDS.get(config.backend, ("hydra", ""))
    if importlib.util.find_spec(package) is None:
        raise ConfigError(
            f"hydra/launcher={name} needs {package}, which is not installed. Install it by pip install '{extra}'."
        )
    found: Any = OmegaConf.to_container(config, resolve=True)
    return dict(found)


def _own_settings(name: str, folders: Sequence[Path]) -> DictConfig | None:
    """Return what the file of a launcher says, and the files that it names as its defaults; None: Hydra must do it."""
    if name == "basic":  # no file of this name: Hydra would take it for its own launcher's, in every composition
        return OmegaConf.create({"backend": "local", "n_jobs": 1})
    path = next((path for folder in folders if (path := folder / "hydra" / "launcher" / f"{name}.yaml").exists()), None)
    content = yaml.safe_load(path.read_text(encoding="utf-8")) if path else {"_target_": None}
    if not isinstance(content, dict) or "_target_" in content:
        return None
    names = content.pop("defaults", [])
    merged = OmegaConf.create()
    for part in names if "_self_" in names else [*names, "_self_"]:
        settings = OmegaConf.create(content) if part == "_self_" else _own_settings(str(part), folders)
        if settings is None:
            return None
        merged.merge_with(settings)
    return merged


def _set(config: DictConfig, override: Override) -> None:
    """Give a setting of a launcher the value that a user wants.

    Raises:
        ConfigError: There is no such setting, or the value has another type than the default.
    """
    key, word = override.key_or_group.removeprefix("hydra.launcher."), override.input_line
    if override.is_sweep_override() or override.is_delete():
        raise ConfigError(f"{word}: a setting of a launcher has one value.")
    value: Any = override.value()
    default = OmegaConf.select(config, key)
    if default is None and key not in (known := dotted_keys(OmegaConf.to_container(config))) and not override.is_add():  # type: ignore[arg-type]
        raise ConfigError(f"hydra.launcher.{key} is not a setting. {did_you_mean(key, known)}")
    kind = list if OmegaConf.is_list(default) else type(default)
    if kind in {bool, int, float, list} and value is not None and (fault := type_fault(value, TypeAdapter(kind))):
        raise ConfigError(f"hydra.launcher.{key} {fault}")
    OmegaConf.update(config, key, value)


def compose_launch(words: Sequence[str]) -> DictConfig:
    """Compose conf/launch.yaml with all that Hydra adds to it.

    Args:
        words: The words about the launcher.

    Raises:
        ConfigError: There is no such launcher, or it has no such setting.
    """
    try:
        with initialized_hydra():
            return compose("launch", list(words), return_hydra_config=True)
    except MissingConfigException as error:
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        if name in _PLUGINS:
            raise ConfigError(f"{group}={name} is not installed. Install it by pip install {_PLUGINS[name]}.") from None
        raise ConfigError(
            f"{group}={name} is not known. {did_you_mean(name, {*_PLUGINS, *(error.options or ())})}"
        ) from None
    except HydraException as error:
        said = str(error.__cause__ or error).strip().splitlines()[0].rstrip(".")
        guilty = next((word for word in words if word.partition("=")[0] in str(error)), " ".join(words))
        raise ConfigError(f"{guilty}: {said}.") from None
