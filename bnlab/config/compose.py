"""Overrides -> RunConfig: Hydra composes plain YAML, pydantic checks it, and errors become one sentence."""

import copy
import functools
import operator
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from pydantic import ValidationError

from bnlab.config.complaints import say_what_is_wrong
from bnlab.config.composition import compose_by_hydra, is_own, plain_values, refuse_sweeps_and_new_keys
from bnlab.config.folders import search_folders
from bnlab.config.grammar import parse_overrides, setting
from bnlab.config.kept import Composed, Options
from bnlab.config.places import naming_own_files
from bnlab.config.swept_values import refuse_a_key_given_twice
from bnlab.errors import ConfigError, did_you_mean
from bnlab.schema import RunConfig


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
    refuse_sweeps_and_new_keys(parse_overrides(overrides), search_folders(config_dir))
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


_SEED = re.compile(r"seed=(0|[1-9]\d{0,17})$")
"""A word that gives a seed that is in order: 10^18 is below the largest one."""


def compose_grid(combinations: Sequence[Sequence[str]], config_dir: Path | None = None) -> list[RunConfig]:
    """Compose and check the configs of many runs, once per combination of config options.

    Args:
        combinations: The overrides of each run.
        config_dir: A folder of the user's own options, searched after bnlab's; None: only ./conf, if it exists.

    Raises:
        ConfigError: As in `compose_run`, for the first run with an error.
    """
    options = Options(config_dir)
    configs = []
    of_first_seed: dict[tuple[str, ...], RunConfig] = {}
    for overrides in combinations:
        but_for_seed = tuple("seed" if _SEED.match(text) else text for text in overrides)
        known = of_first_seed.get(but_for_seed) if but_for_seed.count("seed") == 1 else None
        if known is not None:
            seed = int(overrides[but_for_seed.index("seed")].partition("=")[2])
            configs.append(known.model_copy(update={"seed": seed}))
            continue
        with naming_own_files(overrides, options.folders):
            configs.append(_compose_one(overrides, options, config_dir))
        if not _may_refer(overrides, options):
            of_first_seed[but_for_seed] = configs[-1]
    return configs


def _may_refer(overrides: Sequence[str], options: Options) -> bool:
    """Return whether a value may refer to another, as in ``data.split_seed=${seed}``, typed or in a file."""
    return any("${" in text for text in overrides) or options.compose(overrides).refers


def _compose_one(overrides: Sequence[str], options: Options, config_dir: Path | None) -> RunConfig:
    own = [setting(text) for text in overrides if text.partition("=")[0] not in options.groups]
    keys = [f"{key}." for key, _ in own]
    is_in_another = any(other != key and other.startswith(key) for key in keys for other in keys)
    if all(_can_be_put_in(key, value) for key, value in own) and not is_in_another:
        tree = _with_settings(options.compose(overrides), own)
    else:
        tree = compose_tree(list(overrides), config_dir)
    _leave_out_shares(tree, typed={key for key, _ in own})
    _decide_precision(tree)
    return _checked(tree)


def _leave_out_shares(tree: dict[str, Any], typed: Collection[str]) -> None:
    """Set the shares of data=npz and data=folder to null where the split is there itself; a typed share stays.

    Where it stays, opening the data says that the two do not go together.
    """
    data = tree["data"]
    if not isinstance(data, dict) or not isinstance(data.get("path"), str):
        return
    if data.get("name") in {"npz", "folder"}:
        from bnlab.data.image_folder import folders_of_splits  # noqa: PLC0415
        from bnlab.data.own_files import own_splits  # noqa: PLC0415  (NumPy takes 0.1 s, and few have such files)

        found = (
            own_splits(data["path"]) if data["name"] == "npz" else folders_of_splits(data["path"]).keys() - {"train"}
        )
        shares = {f"{split}_share" for split in found}
        data.update(dict.fromkeys(shares - {key.removeprefix("data.") for key in typed}))


def _decide_precision(tree: dict[str, Any]) -> None:
    """Replace ``train.precision=auto`` by the precision that the device computes fast, which decides the run's id."""
    train = tree["train"]
    if isinstance(train, dict) and train.get("precision") == "auto":
        from bnlab.bfloat16 import computes_bfloat16  # noqa: PLC0415  (torch takes seconds, and few configs ask)

        train["precision"] = "bfloat16" if computes_bfloat16(str(tree["device"])) else "float32"


def _can_be_put_in(key: str, value: Any) -> bool:
    """Return whether a value takes the place of another in a composed config; else Hydra has to find out what it means.

    A section in braces is merged with what is there, ``${...}`` refers to other values, and so on.
    """
    in_a_list = any(part.isdigit() for part in key.split("."))
    return not (in_a_list or isinstance(value, dict) or "${" in str(value) or value == "???")


def _with_settings(composed: Composed, settings: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return a composed config with some of its values replaced."""
    if composed.refers:  # to values that may be replaced
        config = copy.deepcopy(composed.config)
        for key, value in settings:
            OmegaConf.update(config, key, value, merge=False)
        return plain_values(config)
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
    return plain_values(compose_by_hydra(overrides, config_dir))


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
    config = compose_by_hydra(overrides, config_dir, with_hydra=what != "job")
    settings = [str(key) for key in config if key != "hydra"]
    with naming_own_files(overrides, search_folders(config_dir)):
        tree = plain_values(OmegaConf.masked_copy(config, settings))
        _leave_out_shares(tree, typed={text.partition("=")[0] for text in overrides})
        _decide_precision(tree)
        _checked(tree)
    for key, value in tree["data"].items():
        if value is None:
            OmegaConf.update(config, f"data.{key}", None)
    OmegaConf.update(config, "train.precision", tree["train"]["precision"])
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
    if is_own("norm", arm, search_folders(config_dir)):
        return None
    composed = Options(config_dir).compose([f"norm={arm}"] if arm else [])
    return {f"norm.{key}" for key in composed.tree["norm"] if key != "name"}
