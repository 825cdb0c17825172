"""The words ``hydra/sweeper=optuna`` and ``hydra.sweeper.<key>=...``, and the way of searching that they mean."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from bnlab.config.folders import conf_folder
from bnlab.config.grammar import parse_overrides
from bnlab.errors import ConfigError, did_you_mean
from bnlab.sweeps.samplers import build_pruner, build_sampler

SEED = 0
"""Seed of the sampler where the user gives none: without one, the same command would choose other settings."""

MOST_SEED = 2**32 - 1
"""The largest seed that numpy takes."""

_NO_PLACE = dict.fromkeys(
    ("params", "search_space", "custom_search_space"),
    "what is searched is said by words such as optim.lr=interval(0.1,1)",
) | {"max_failure_rate": "a search continues after a failure, unless you give --on-error stop"}
"""Settings of Hydra's own plugin for Optuna, and what bnlab has in their place."""


@dataclass(frozen=True)
class Method:
    """How the settings of the trials are chosen, and where the trials are kept.

    Attributes:
        sampler: Name of a sampler, a key of `SAMPLERS`.
        sampler_options: Arguments of the sampler's class, by name.
        seed: Seed of the sampler, from 0 to `MOST_SEED`.
        pruner: Name of a pruner, a key of `PRUNERS`; ``none``: no trial is stopped early.
        pruner_options: Arguments of the pruner's class, by name.
        storage: URL of a database; None: the file `JOURNAL` in the sweep's folder.
        study_name: Name of the study in the storage; None: one that follows from the sweep's words.
    """

    sampler: str
    sampler_options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = SEED
    pruner: str = "none"
    pruner_options: Mapping[str, Any] = field(default_factory=dict)
    storage: str | None = None
    study_name: str | None = None


def _defaults() -> dict[str, Any]:
    text = (conf_folder() / "hydra" / "sweeper" / "optuna.yaml").read_text(encoding="utf-8")
    defaults: dict[str, Any] = yaml.safe_load(text)
    return defaults


def read_sweeper(words: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the settings of the search by key, such as ``n_trials`` and ``sampler.seed``, and the other words.

    Args:
        words: Words that begin with ``hydra/`` or ``hydra.``.

    Raises:
        ConfigError: A word that is not known, or that has no place in a search.
    """
    sweeper: dict[str, Any] = {}
    launcher = []
    for text, override in zip(words, parse_overrides(list(words)), strict=True):
        path = override.key_or_group.replace("/", ".").split(".")
        if path[:2] != ["hydra", "sweeper"]:
            launcher.append(text)
            continue
        key, value = ".".join(path[2:]), override.value()
        if override.is_sweep_override() or override.is_delete():
            raise ConfigError(f"{text}: a search takes one value of it. Give one, or leave the word out.")
        if sweeper.get(key, value) != value:
            raise ConfigError(f"{override.key_or_group} is given twice: {sweeper[key]} and {value}. Give one of them.")
        _check_key(key, value)
        sweeper[key] = value
    return sweeper, launcher


def _check_key(key: str, value: Any) -> None:
    """Check a word of the search, but for the options of a sampler or a pruner.

    Raises:
        ConfigError: It is not known, or has no place here.
    """
    known = set(_defaults())
    if key == "" and value != "optuna":
        raise ConfigError(f"hydra/sweeper={value} is not known. {did_you_mean(str(value), ['optuna', 'basic'])}")
    if key in _NO_PLACE and value:
        raise ConfigError(f"hydra.sweeper.{key} has no place here: {_NO_PLACE[key]}. Leave it out.")
    if key and key not in known | set(_NO_PLACE) and not key.startswith(("sampler.", "pruner.")):
        raise ConfigError(f"hydra.sweeper.{key} is not a setting. {did_you_mean(key, known)}")
    if key == "direction" and value != "minimize":
        raise ConfigError(
            f"hydra.sweeper.direction={value}: the objective is the validation loss, which is minimized. "
            "Leave the word out."
        )


def count(sweeper: Mapping[str, Any], key: str) -> int:
    """Return a setting that is a number of trials.

    Raises:
        ConfigError: It is no whole number above 0.
    """
    value = sweeper.get(key, _defaults()[key])
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"hydra.sweeper.{key} must be at least 1, got {value}.")
    return value


def method_of(sweeper: Mapping[str, Any]) -> Method:
    """Return how the settings are chosen.

    Raises:
        ConfigError: The sampler or the pruner cannot be built.
    """
    all_settings = {**_defaults(), **sweeper}
    options: dict[str, dict[str, Any]] = {"sampler": {}, "pruner": {}}
    for key, value in sweeper.items():
        kind, _, option = key.partition(".")
        if option:
            options[kind][option] = value
    seed = options["sampler"].pop("seed", None)
    seed = SEED if seed is None else seed
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= MOST_SEED:
        raise ConfigError(f"hydra.sweeper.sampler.seed must be a whole number from 0 to {MOST_SEED}, got {seed}.")
    names = {key: None if all_settings[key] is None else str(all_settings[key]) for key in ("storage", "study_name")}
    sampler, pruner = str(all_settings["sampler"]), str(all_settings["pruner"])
    method = Method(sampler, options["sampler"], seed, pruner, options["pruner"], **names)
    build_sampler(sampler, method.sampler_options, seed, [])
    build_pruner(pruner, method.pruner_options)
    return method
