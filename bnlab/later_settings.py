"""Settings that the first version with today's schema did not have: the one table of them.

Each has a value with which runs are trained as they were before it was added. With this value it is no part of a run's
id, and where a run's files lack it, it is read as this value: earlier runs keep their ids, and are found, resumed,
loaded and compared as today's.
"""

from collections.abc import Mapping
from typing import Any

LATER_SETTINGS = {
    "train.parameters": "all",
    "train.processes": 1,
    "train.label_smoothing": 0.0,
    "train.mirrored_evaluation": False,
    "train.keep_weights": True,
    "data.size": None,
    "data.padding_value": None,
}
"""Dotted key, section and name -> the value with which nothing changes."""


def with_later_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config with the later settings that it lacks; sections that it lacks are not made.

    Args:
        config: The settings of a run as plain values; it is not changed.

    Example:
        >>> with_later_settings({"seed": 0, "data": {}})
        {'seed': 0, 'data': {'size': None, 'padding_value': None}}
    """
    filled = dict(config)
    for key, value in LATER_SETTINGS.items():
        section, _, name = key.partition(".")
        if isinstance(filled.get(section), Mapping):
            filled[section] = {**filled[section], name: filled[section].get(name, value)}
    return filled


def without_later_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config without the later settings that have the value with which nothing changes.

    Args:
        config: All settings of a run as plain values; it is not changed.

    Example:
        >>> without_later_settings({"train": {"steps": 9, "parameters": "all"}, "data": {"padding_value": None}})
        {'train': {'steps': 9}, 'data': {}}
        >>> without_later_settings({"train": {"parameters": "norms"}, "data": {"padding_value": 0.0}})
        {'train': {'parameters': 'norms'}, 'data': {'padding_value': 0.0}}
    """
    left = dict(config)
    for key, value in LATER_SETTINGS.items():
        section, _, name = key.partition(".")
        left[section] = {own: given for own, given in left[section].items() if own != name or given != value}
    return left
