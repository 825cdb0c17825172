"""One composition by Hydra, and one sentence about what it cannot compose.

Hydra is used through its compose API: hydra.main prints to standard output, leaves folders behind and answers a typo
with eleven lines.
"""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hydra
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from bnlab.config.folders import (
    OWN_PARTS,
    conf_folder,
    config_groups,
    config_keys,
    dotted_keys,
    known_options,
    refuse_bad_files,
    refuse_damaged_files,
    search_folders,
)
from bnlab.config.grammar import parse_overrides
from bnlab.config.places import where_it_is_one
from bnlab.config.swept_values import sweep_values
from bnlab.errors import ConfigError, did_you_mean
from bnlab.plugins import CLASS_PLACE, MODEL_PLUGINS, NORM_PLUGINS, OWN_PLACE

_INSIDE = re.compile(r"^\w+ raised while resolving interpolation: ")
"""How OmegaConf begins a sentence of its resolver's, such as "Environment variable 'X' not found"."""

INITIALIZE_OPTIONS: dict[str, str] = {"version_base": "1.3"} if hydra.__version__.startswith("1.3.") else {}
"""Without version_base, Hydra 1.3 behaves like 1.1; with it, Hydra 1.4 warns on standard error."""


def compose_by_hydra(overrides: list[str], config_dir: Path | None, with_hydra: bool = False) -> DictConfig:
    """Compose the config of one run.

    Args:
        overrides: Words of Hydra's grammar, without sweeps.
        config_dir: A folder of the user's own options, searched after bnlab's; None: only ./conf, if it exists.
        with_hydra: Whether the section ``hydra`` is returned too.

    Raises:
        ConfigError: An override is misspelled, or a file of options is damaged.
    """
    folders = search_folders(config_dir)
    parsed = parse_overrides(overrides)
    refuse_sweeps_and_new_keys(parsed, folders)
    groups = config_groups(folders)
    if unknown := _unknown_option(overrides, folders):  # Hydra passes over those that are optional
        raise ConfigError(unknown)
    refuse_bad_files({one.key_or_group: str(one.value()) for one in parsed if one.key_or_group in groups}, folders)
    arguments = _with_own_parts(overrides, folders) + search_path_words(folders)
    try:
        with initialized_hydra():
            return compose("train", arguments, return_hydra_config=with_hydra)
    except Exception as error:  # Hydra and OmegaConf have many
        if typo := _find_the_typo(overrides, config_dir):
            raise ConfigError(typo) from None
        refuse_damaged_files(folders)
        raise ConfigError(_first_line(error)) from error


def plain_values(config: DictConfig) -> dict[str, Any]:
    """Return a config as plain values.

    Raises:
        ConfigError: A value is missing.
    """
    try:
        tree = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        key = error.full_key or "a value"
        if isinstance(error, MissingMandatoryValue):
            raise ConfigError(f"{key} has no value yet. Write {key}=... on the command line.") from None
        raise ConfigError(
            f"{key} cannot be worked out: {_first_line(error)} Write a plain value; a $ of a text's own is written \\$."
        ) from None
    except RecursionError as error:
        raise ConfigError(_first_line(error)) from None
    assert isinstance(tree, dict)
    return {str(key): value for key, value in tree.items()}


def refuse_sweeps_and_new_keys(overrides: list[Override], folders: list[Path]) -> None:
    """Raise if an override is correct in Hydra's grammar but has no meaning for one run.

    Raises:
        ConfigError: Several values, an added or deleted key, or a group without the name of an option.
    """
    groups = config_groups(folders)
    for override in overrides:
        text, key = override.input_line, override.key_or_group
        if override.is_sweep_override():
            if override.is_discrete_sweep():
                sweep_values(override, None)  # an empty sweep needs another cure
            raise ConfigError(f"{text} gives several values, one run takes one. Add -m to sweep.")
        if override.is_add():
            raise ConfigError(f"{text}: every key is there already, none can be added. Leave out the +.")
        if override.package is not None:
            raise ConfigError(f"{text}: a group has one place, and takes no @. Write {key}=... instead.")
        if override.is_delete():
            raise ConfigError(f"{text}: a run needs every key. Give it another value instead.")
        if key in groups and not isinstance(override.value(), str | int | float):
            options = ", ".join(known_options(folders)[key])
            raise ConfigError(f"{text}: {key} takes one option. Known: {options}.")


@contextlib.contextmanager
def initialized_hydra() -> Iterator[None]:
    """Initialize Hydra for one composition, then restore the state of a notebook that had initialized it."""
    theirs = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(conf_folder()), job_name="bnlab", **INITIALIZE_OPTIONS):
            yield
    finally:
        GlobalHydra.instance().hydra = theirs  # not the instance from above: Hydra may have replaced it


def search_path_words(folders: list[Path]) -> list[str]:
    """Return the overrides that make Hydra search all folders, bnlab's own first."""
    return [f"hydra.searchpath=[{','.join(_quoted(folder) for folder in folders[1:])}]"] if folders[1:] else []


def _quoted(folder: Path) -> str:
    return '"file://' + folder.as_posix().replace('"', '\\"') + '"'


def is_own(group: str, option: str, folders: list[Path]) -> bool:
    """Return whether an option is the user's: the place of a class or function, or a name from an installed package.

    Args:
        group: The group of the option, such as ``norm``.
        option: The option, as it stands behind the equals sign.
        folders: The folders in which options are searched.

    Raises:
        ConfigError: Two packages add this name.
    """
    if group not in OWN_PARTS:
        return False
    if (OWN_PLACE if group == "model" else CLASS_PLACE).match(option):
        return True
    plugins = {"norm": NORM_PLUGINS, "model": MODEL_PLUGINS}.get(group)
    if plugins is None or not option or option in config_groups(folders)[group]:
        return False
    return plugins.find(option) is not None


def _with_own_parts(overrides: list[str], folders: list[Path]) -> list[str]:
    """Rewrite norm=package.module:Class and its like, or its installed name, to ``own``, which accepts any options.

    Raises:
        ConfigError: The name is given a second time, as an option.
    """
    for group in OWN_PARTS:
        chosen = [text for text in overrides if text.startswith(f"{group}=")]
        own = [text for text in chosen if is_own(group, text.removeprefix(f"{group}="), folders)]
        if not own:
            continue
        rewritten = [f"{group}=own", f"{group}.name={own[-1].removeprefix(f'{group}=')}"]
        for text in overrides:
            if text.startswith(f"{group}.name="):
                raise ConfigError(f"{text}: {own[-1]} is the name, and no option. Leave {text} out.")
            if text.startswith(f"{group}."):
                rewritten.append(text if group == "data" else f"+{text}")
            elif text not in own:
                rewritten.append(text)
        overrides = rewritten
    return overrides


def _groups_of_own(overrides: list[str], folders: list[Path]) -> set[str]:
    """Return the groups whose option is the user's class or function."""
    pairs = [text.partition("=") for text in overrides]
    return {group for group, _, option in pairs if is_own(group, option, folders)}


def _unknown_option(overrides: list[str], folders: list[Path]) -> str | None:
    """Return one sentence about the first option that no file has; None: all are known."""
    groups = config_groups(folders)
    of_own = _groups_of_own(overrides, folders)
    for override in parse_overrides(overrides):
        key, value = override.key_or_group, override.value()
        if key in groups and str(value) not in groups[key] and key not in of_own:
            cure = did_you_mean(str(value), known_options(folders)[key])
            module, _, last = str(value).rpartition(".")
            if is_own(key, place := f"{module}:{last}", folders) and module not in groups[key]:
                cure = f"If it is yours, write a colon before the last name: {key}={place}"
            if key == "data" and str(value).endswith((".npz", ".mat")):
                cure = f"Write data=npz data.path={value}."
            return f"{key}={value} is not known. {cure}"
    return None


def _find_the_typo(overrides: list[str], config_dir: Path | None) -> str | None:
    """Return one sentence about the first override with an unknown key; None: all are known."""
    folders = search_folders(config_dir)
    groups = config_groups(folders)
    of_own = _groups_of_own(overrides, folders)
    choices = [text for text in overrides if text.partition("=")[0] in groups]
    known = config_keys(folders)
    if choices != overrides:  # otherwise the choices themselves do not compose
        with contextlib.suppress(ConfigError):
            known = dotted_keys(plain_values(compose_by_hydra(choices, config_dir)))
    for override in parse_overrides(overrides):
        key = override.key_or_group
        if key.partition(".")[0] in of_own & {"norm", "model"}:  # its constructor checks them
            continue
        if (
            key not in groups and not key.startswith("hydra") and key not in known
        ):  # keys of Hydra's own are not checked here
            section = [k for k in known if k.startswith(f"{key}.")]
            if section:
                return f"{override.input_line}: {key} is a section. Set one of its keys: {', '.join(section)}."
            return f"{key} is not a setting{where_it_is_one(key, known, overrides, folders)}"
    return None


def _first_line(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "the config refers to itself: a file's defaults, or a value's ${...}, lead back to where they began."
    said = (str(error).strip() or type(error).__name__).splitlines()[0]
    said = _INSIDE.sub("", said).strip('"').rstrip(".") + "."
    if said.startswith("In '"):  # In 'optim/x': Could not load 'optim/y'.
        return f"{said} Name files that are there, in the list after 'defaults:'."
    return said
