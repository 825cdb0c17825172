"""Configs of single runs at a share of what `compose_run` costs, for tests of what is done with a config."""

import functools
import operator
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import yaml

from bnlab.config.compose import compose_run
from bnlab.config.folders import conf_folder
from bnlab.config.grammar import setting
from bnlab.schema import RunConfig

GROUPS = {"data", "model", "norm", "optim", "diagnostics"}


def compose_parts(words: Sequence[str]) -> RunConfig:
    """Return the config of a run.

    Hydra composes each choice of data, model, optimizer and diagnostics once, with BatchNorm. Then bnlab's own norms
    come from their files, and single values are put in.

    Args:
        words: Options of config groups and values of keys, without sweeps.
    """
    pairs = [word.partition("=")[::2] for word in words]
    norms = [value for key, value in pairs if key == "norm" and ":" not in value]
    options = [f"{key}={value}" for key, value in pairs if key in GROUPS and (key != "norm" or ":" in value)]
    base = _composed(tuple(options))
    return changed(base, [f"{key}={value}" for key, value in pairs if key not in GROUPS], norm=norms[-1:])


def changed(config: RunConfig, words: Sequence[str], norm: Sequence[str] = ()) -> RunConfig:
    """Return a config with some values changed, and with one of bnlab's own norms where one is named."""
    facts = config.as_dict()
    for name in norm:
        facts["norm"] = dict(_section(name))
    for word in words:
        key, value = setting(word)
        *path, last = key.split(".")
        functools.reduce(operator.getitem, path, facts)[last] = value
    for key, value in facts["norm"].items():
        if isinstance(value, str) and value.startswith("${"):  # it is that of another key
            path = value[2:-1].removeprefix("oc.select:").partition(",")[0].split(".")
            facts["norm"][key] = functools.reduce(operator.getitem, path, facts)
    return RunConfig.model_validate(facts)


@functools.cache
def _composed(options: tuple[str, ...]) -> RunConfig:
    return compose_run(list(options))


@functools.cache
def _section(norm: str) -> Mapping[str, Any]:
    return MappingProxyType(yaml.safe_load((conf_folder() / "norm" / f"{norm}.yaml").read_text()))
