"""Overrides -> RunConfig: the only module that has Hydra compose them.

Hydra composes plain YAML, pydantic checks it, and this module turns errors into one sentence. Hydra is used through
its compose API: hydra.main prints to standard output, leaves folders behind and answers a typo with eleven lines.
"""

import contextlib
import copy
import functools
import glob
import operator
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from pydantic import ValidationError

from bnlab.config.complaints import say_what_is_wrong
from bnlab.config.folders import (
    conf_folder,
    config_groups,
    config_keys,
    dotted_keys,
    known_options,
    refuse_bad_files,
    refuse_damaged_files,
    search_folders,
)
from bnlab.config.grammar import parse_overrides, refuse_a_key_given_twice, setting, sweep_values
from bnlab.config.places import where_it_is_one
from bnlab.errors import ConfigError, did_you_mean
from bnlab.plugins import CLASS_PLACE, NORM_PLUGINS
from bnlab.schema import RunConfig

INITIALIZE_OPTIONS: dict[str, str] = {"version_base": "1.3"} if hydra.__version__.startswith("1.3.") else {}
"""Without version_base, Hydra 1.3 behaves like 1.1; with it, Hydra 1.4 warns on standard error."""


def compose_run(overrides: list[str], config_dir: Path | None = None) -> RunConfig:
    """Compose and check the config of one run.

    Args:
        overrides: Words of Hydra's grammar without sweeps, such as ``["norm=batch", "optim.lr=0.3"]``.
        config_dir: A folder of the user's own options, searched after bnlab's; None: only ./conf, if it exists.

    Raises:
        ConfigError: An override is misspelled, or a value breaks a law.
    """
    for text in overrides:
        if text.startswith(("hydra.", "hydra/")):
            raise ConfigError(f"{text} has no effect on a run, which Hydra does not start. Leave it out.")
    _refuse_sweeps_and_new_keys(parse_overrides(overrides), search_folders(config_dir))
    return compose_grid([overrides], config_dir)[0]


def compose_typed(overrides: list[str], config_dir: Path | None = None) -> RunConfig:
    """Compose and check the config of one run as its words were typed: where a key stands twice, one is a slip.

    A program that adds words to a list of its own means the last one, as in `compose_run`.

    Args:
        overrides: Words of Hydra's grammar without sweeps, such as ``["norm=batch", "optim.lr=0.3"]``.
        config_dir: A folder of the user's own options, searched after bnlab's; None: only ./conf, if it exists.

    Raises:
        ConfigError: As in `compose_run`; or a key is given twice.
    """
    refuse_a_key_given_twice(parse_overrides(overrides), in_one_run=True)
    return compose_run(overrides, config_dir)


def _checked(tree: dict[str, Any]) -> RunConfig:
    """Validate a composed config.

    Raises:
        ConfigError: A value breaks a law.
    """
    try:
        return RunConfig.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(say_what_is_wrong(error)) from None


class _Composed:
    """The config of one combination of groups, as Hydra returns it and as plain values."""

    def __init__(self, config: DictConfig) -> None:
        self.config = config
        self.refers = "${" in OmegaConf.to_yaml(config)
        self.tree = _plain(config)


_composed: dict[tuple[Any, ...], _Composed] = {}
"""What has been composed in this process, by the state of the files, the chosen options and the keys with a value."""

MOST_KEPT = 500
"""Compositions that are kept; each takes about 50 kB."""


class _Options:
    """The config options that exist now, and what has been composed of them.

    Args:
        config_dir: A folder of the user's own options; None: only ./conf, if it exists.
    """

    def __init__(self, config_dir: Path | None) -> None:
        folders = search_folders(config_dir)
        self._files = [mark for folder in folders for mark in _marks_of_files(folder)]
        self._config_dir = config_dir
        self._is_own_norm = functools.cache(functools.partial(_is_own_norm, folders=folders))
        self.groups = config_groups(folders)

    def compose(self, overrides: Sequence[str]) -> _Composed:
        """Compose, which takes 60 ms, or return what was composed of the same files, options and keys before.

        Args:
            overrides: The words of one run. Values of single keys do not matter here; the caller puts them in.

        Raises:
            ConfigError: As in `compose_run`.
        """
        pairs = [text.partition("=") for text in overrides]
        chosen = [text if pair[0] in self.groups else pair[0] for text, pair in zip(overrides, pairs, strict=True)]
        are_own = [self._is_own_norm(arm) for key, _, arm in pairs if key == "norm"]
        kind = (*self._files, *chosen, *are_own)
        if kind not in _composed:
            if len(_composed) >= MOST_KEPT:
                _composed.clear()
            _composed[kind] = _Composed(_compose(list(overrides), self._config_dir))
        return _composed[kind]


def _marks_of_files(folder: Path) -> Iterator[tuple[Any, ...]]:
    """Yield, for each file of options, a mark that changes when the file does."""
    names = glob.glob("**/*.yaml", root_dir=folder, recursive=True)  # noqa: PTH207  (a path's glob enters no links)
    for name in sorted(names):
        with contextlib.suppress(OSError):  # it has just gone, or is a link that leads nowhere
            facts = (folder / name).stat()
            yield str(folder / name), facts.st_mtime_ns, facts.st_ctime_ns, facts.st_size, facts.st_ino


def compose_grid(combinations: Sequence[Sequence[str]], config_dir: Path | None = None) -> list[RunConfig]:
    """Compose and check the configs of many runs, once per combination of config options.

    Args:
        combinations: The overrides of each run.
        config_dir: A folder of the user's own options, searched after bnlab's; None: only ./conf, if it exists.

    Raises:
        ConfigError: As in `compose_run`, for the first run with an error.
    """
    options = _Options(config_dir)
    configs = []
    for overrides in combinations:
        own = [setting(text) for text in overrides if text.partition("=")[0] not in options.groups]
        keys = [f"{key}." for key, _ in own]
        is_in_another = any(other != key and other.startswith(key) for key in keys for other in keys)
        if all(_can_be_put_in(key, value) for key, value in own) and not is_in_another:
            tree = _with_settings(options.compose(overrides), own)
        else:
            tree = compose_tree(list(overrides), config_dir)
        configs.append(_checked(tree))
    return configs


def _can_be_put_in(key: str, value: Any) -> bool:
    """Return whether a value takes the place of another in a composed config; else Hydra has to find out what it means.

    A section in braces is merged with what is there, ``${...}`` refers to other values, and so on.
    """
    in_a_list = any(part.isdigit() for part in key.split("."))
    return not (in_a_list or isinstance(value, dict) or "${" in str(value) or value == "???")


def _with_settings(composed: _Composed, settings: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return a composed config with some of its values replaced."""
    if composed.refers:  # to values that may be replaced
        config = copy.deepcopy(composed.config)
        for key, value in settings:
            OmegaConf.update(config, key, value, merge=False)
        return _plain(config)
    tree = copy.deepcopy(composed.tree)  # twenty times as fast
    for key, value in settings:
        *sections, name = key.split(".")
        functools.reduce(operator.getitem, sections, tree)[name] = copy.deepcopy(value)
    return tree


def compose_tree(overrides: list[str], config_dir: Path | None = None) -> dict[str, Any]:
    """Compose the config of one run as plain values, not yet checked against the schema.

    Args:
        overrides: Words of Hydra's grammar, without sweeps.
        config_dir: A folder of the user's own options, searched after bnlab's; None: only ./conf, if it exists.

    Raises:
        ConfigError: An override is misspelled, or a value is missing.
    """
    return _plain(_compose(overrides, config_dir))


def _plain(config: DictConfig) -> dict[str, Any]:
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


def render_config(overrides: list[str], config_dir: Path | None, what: str, resolve: bool) -> str:
    """Return the composed config as YAML, as Hydra's --cfg does.

    Args:
        overrides: Words of Hydra's grammar, without sweeps.
        config_dir: A folder of the user's own options, searched after bnlab's; None: only ./conf, if it exists.
        what: The part to return: ``job``, ``hydra`` or ``all``.
        resolve: True replaces interpolations by their values; False keeps them.

    Raises:
        ConfigError: An override is misspelled, or ``what`` is none of the three.
    """
    if what not in {"job", "hydra", "all"}:
        raise ConfigError(f"--cfg takes job, hydra or all, got {what}. {did_you_mean(what, ['job', 'hydra', 'all'])}")
    refuse_a_key_given_twice(parse_overrides(overrides), in_one_run=True)
    config = _compose(overrides, config_dir, with_hydra=what != "job")
    settings = [str(key) for key in config if key != "hydra"]
    _checked(_plain(OmegaConf.masked_copy(config, settings)))
    if what == "hydra":
        config = OmegaConf.masked_copy(config, "hydra")
        resolve = False  # Hydra's own part can be resolved only while Hydra runs the job
    if resolve and what == "all":  # as above
        part = OmegaConf.masked_copy(config, "hydra")
        return OmegaConf.to_yaml(part) + OmegaConf.to_yaml(OmegaConf.masked_copy(config, settings), resolve=True)
    return OmegaConf.to_yaml(config, resolve=resolve)


def arm_options(arm: str, config_dir: Path | None) -> set[str] | None:
    """Return the keys in the YAML file of an arm, such as ``norm.eps``; None for a class without such a file.

    Args:
        arm: The value of ``norm=``; empty for the default.
        config_dir: A folder of the user's own options; None: only ./conf, if it exists.
    """
    if _is_own_norm(arm, search_folders(config_dir)):
        return None
    composed = _Options(config_dir).compose([f"norm={arm}"] if arm else [])
    return {f"norm.{key}" for key in composed.tree["norm"] if key != "name"}


def _compose(overrides: list[str], config_dir: Path | None, with_hydra: bool = False) -> DictConfig:
    folders = search_folders(config_dir)
    parsed = parse_overrides(overrides)
    _refuse_sweeps_and_new_keys(parsed, folders)
    groups = config_groups(folders)
    if unknown := _unknown_option(overrides, folders):  # Hydra passes over those that are optional
        raise ConfigError(unknown)
    refuse_bad_files({one.key_or_group: str(one.value()) for one in parsed if one.key_or_group in groups}, folders)
    arguments = _with_own_norm(overrides, folders) + search_path_words(folders)
    try:
        with initialized_hydra():
            return compose("train", arguments, return_hydra_config=with_hydra)
    except Exception as error:  # Hydra and OmegaConf have many
        if typo := _find_the_typo(overrides, config_dir):
            raise ConfigError(typo) from None
        refuse_damaged_files(folders)
        raise ConfigError(_first_line(error)) from error


def _refuse_sweeps_and_new_keys(overrides: list[Override], folders: list[Path]) -> None:
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


def _is_own_norm(arm: str, folders: list[Path]) -> bool:
    """Return whether an arm is a user's class, given by its place or by a name from an installed package.

    Raises:
        ConfigError: Two packages add this name.
    """
    if CLASS_PLACE.match(arm):
        return True
    return bool(arm) and arm not in config_groups(folders)["norm"] and NORM_PLUGINS.find(arm) is not None


def _with_own_norm(overrides: list[str], folders: list[Path]) -> list[str]:
    """Rewrite norm=package.module:Class, or its installed name, to the arm ``own``, which accepts any options.

    Raises:
        ConfigError: The name is given a second time, as an option.
    """
    chosen = [text for text in overrides if text.startswith("norm=")]
    own = [text for text in chosen if _is_own_norm(text.removeprefix("norm="), folders)]
    if not own:
        return overrides
    rewritten = ["norm=own", f"norm.name={own[-1].removeprefix('norm=')}"]
    for text in overrides:
        if text.startswith("norm.name="):
            raise ConfigError(f"{text}: {own[-1]} is the name, and no option. Leave {text} out.")
        if text.startswith("norm."):
            rewritten.append(f"+{text}")
        elif text not in own:
            rewritten.append(text)
    return rewritten


def _unknown_option(overrides: list[str], folders: list[Path]) -> str | None:
    """Return one sentence about the first option that no file has; None: all are known."""
    groups = config_groups(folders)
    with_own_norm = _with_own_norm(overrides, folders) != overrides
    for override in parse_overrides(overrides):
        key, value = override.key_or_group, override.value()
        if key in groups and str(value) not in groups[key] and not (key == "norm" and with_own_norm):
            return f"{key}={value} is not known. {did_you_mean(str(value), known_options(folders)[key])}"
    return None


def _find_the_typo(overrides: list[str], config_dir: Path | None) -> str | None:
    """Return one sentence about the first override with an unknown key; None: all are known."""
    folders = search_folders(config_dir)
    groups = config_groups(folders)
    with_own_norm = _with_own_norm(overrides, folders) != overrides
    choices = [text for text in overrides if text.partition("=")[0] in groups]
    known = config_keys(folders)
    if choices != overrides:  # otherwise the choices themselves do not compose
        with contextlib.suppress(ConfigError):
            known = dotted_keys(compose_tree(choices, config_dir))
    for override in parse_overrides(overrides):
        key = override.key_or_group
        if key.startswith("norm.") and with_own_norm:  # its constructor checks them
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
    said = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".") + "."
    if said.startswith("In '"):  # In 'optim/x': Could not load 'optim/y'.
        return f"{said} Name files that are there, in the list after 'defaults:'."
    return said
