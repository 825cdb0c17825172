"""Finds the group of a setting, for a message about a setting that is written in the wrong place."""

from pathlib import Path
from typing import Any

from bnlab.config.folders import config_groups, default_options, read_option
from bnlab.errors import ConfigError, did_you_mean


def where_it_is_one(key: str, known: list[str], overrides: list[str], folders: list[Path]) -> str:
    """Return the end of a sentence about a key that is no setting: with which option it is one, or a similar key.

    Args:
        key: The key that the user typed, dotted or not.
        known: All dotted keys of the composed config.
        overrides: All words that the user typed.
        folders: The folders in which options are searched.
    """
    group, _, name = key.partition(".")
    options = config_groups(folders).get(group, [])
    having = [f"{group}={option}" for option in options if name in _keys(folders, group, option)]
    if having:
        chosen = [text for text in overrides if text.startswith(f"{group}=")] or [f"{group}={default_options()[group]}"]
        return f" with {chosen[-1]}; {' and '.join(having)} {'have' if having[1:] else 'has'} it."
    namesakes = [setting for setting in known if setting.endswith(f".{key}")]
    if namesakes:
        return f". Did you mean {' or '.join(namesakes[:3])}?"
    cure = did_you_mean(key, {*known, *config_groups(folders)})
    return f". {cure}" if cure.startswith("Did") else ". All settings: bnlab train --cfg job."


def _keys(folders: list[Path], group: str, option: str) -> dict[str, Any]:
    try:
        return read_option(folders, group, option)[1]
    except ConfigError:  # a damaged file that nobody asked for
        return {}
