"""Finds where a setting stands, for a message about it: the group that it belongs to, or the user's file with it."""

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bnlab.config.folders import chosen_options, config_groups, default_options, own_file, read_option
from bnlab.config.yaml_files import line_of
from bnlab.errors import ConfigError, did_you_mean

_SETTING = re.compile(r"\w+(\.\w+)+")
"""A setting at the beginning of a sentence: optim.lr."""

MOST_NAMED = 3
"""Options that a sentence names; the others are counted."""

ELSEWHERE = {
    "learning_rate": "optim.lr",
    "num_epochs": "train.epochs",
    "num_layers": "model.depth",
    "hidden_size": "model.width",
}
"""Names that other frameworks have for settings, and ours."""


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
        if len(having) > MOST_NAMED + 1:
            having = [*having[:MOST_NAMED], f"{len(having) - MOST_NAMED} others"]
        chosen = [text for text in overrides if text.startswith(f"{group}=")] or [f"{group}={default_options()[group]}"]
        return f" with {chosen[-1]}; {' and '.join(having)} {'have' if having[1:] else 'has'} it."
    if ELSEWHERE.get(key.rpartition(".")[2]) in known:
        return f". Did you mean {ELSEWHERE[key.rpartition('.')[2]]}?"
    namesakes = [setting for setting in known if setting.endswith(f".{key}")]
    if namesakes:
        return f". Did you mean {' or '.join(namesakes[:3])}?"
    cure = did_you_mean(key, {*known, *config_groups(folders)})
    return f". {cure}" if cure.startswith("Did") else ". All settings: bnlab train --cfg job."


@contextlib.contextmanager
def naming_own_files(overrides: Sequence[str], folders: list[Path]) -> Iterator[None]:
    """Put the file and the line before each sentence about a setting that a file of the user's gives, or should give.

    Args:
        overrides: The words of one run; of a setting that stands there, no file is named.
        folders: The folders in which options are searched, bnlab's first.

    Raises:
        ConfigError: The one that was raised inside, with the files named.
    """
    try:
        yield
    except ConfigError as error:
        typed = dict(text.partition("=")[::2] for text in overrides)
        lines = str(error).splitlines()
        named = [_own_place(line, typed, folders) + line for line in lines]
        if named == lines:
            raise
        raise ConfigError("\n".join(named)) from None


def _own_place(line: str, typed: dict[str, str], folders: list[Path]) -> str:
    found = _SETTING.match(line)
    group, _, key = found[0].partition(".") if found else ("", "", "")
    option = chosen_options(typed).get(group)
    path = own_file(f"{group}/{option}", folders) if option else None
    if path is None or f"{group}.{key}" in typed:
        return ""
    number = line_of(path, key)
    return f"{path}, line {number}: " if number else f"{path}: "


def _keys(folders: list[Path], group: str, option: str) -> dict[str, Any]:
    try:
        return read_option(folders, group, option)[1]
    except ConfigError:  # a damaged file that nobody asked for
        return {}
