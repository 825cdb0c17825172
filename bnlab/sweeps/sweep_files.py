"""Sweeps that are kept in files: conf/sweep/<name>.yaml, one line for each word."""

from pathlib import Path
from typing import Any

import yaml

from bnlab.config.folders import search_folders
from bnlab.errors import ConfigError, did_you_mean

_WORDS = {None: "null", True: "true", False: "false"}


def with_file(overrides: list[str], config_dir: Path | None) -> list[str]:
    """Put the words of a sweep's file in place of ``sweep=<name>``; a typed word wins over the file.

    Args:
        overrides: The words of the command line, as they were typed.
        config_dir: A folder with the user's own options; None: there is none but ./conf.

    Raises:
        ConfigError: There is no such file, or it is not a table of keys and values; or two files are named.
    """
    named = [text.removeprefix("sweep=") for text in overrides if text.startswith("sweep=")]
    if not named:
        return overrides
    if len(named) > 1:
        raise ConfigError(f"sweep is given twice: sweep={named[0]} and sweep={named[1]}. Give one of them.")
    typed = [text for text in overrides if not text.startswith("sweep=")]
    keys = {text.partition("=")[0] for text in typed}
    words = _words_of(named[0], config_dir)
    return [*(f"{key}={value}" for key, value in words.items() if key not in keys), *typed]


def known_sweeps(config_dir: Path | None) -> dict[str, Path]:
    """Return the files that hold sweeps: name -> file. A file of bnlab's wins over one of the user's."""
    found: dict[str, Path] = {}
    for folder in search_folders(config_dir):
        for path in sorted((folder / "sweep").glob("*.yaml")):
            found.setdefault(path.stem, path)
    return found


def _words_of(name: str, config_dir: Path | None) -> dict[str, str]:
    known = known_sweeps(config_dir)
    if name not in known:
        raise ConfigError(f"sweep={name} is not known. {did_you_mean(name, known)}")
    try:
        text = known[name].read_text(encoding="utf-8")
        _refuse_a_key_given_twice(known[name], text)
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{known[name]} cannot be read as YAML: {str(error).splitlines()[0]}.") from None
    if not isinstance(content, dict) or any(isinstance(value, dict) for value in content.values()):
        raise ConfigError(f"{known[name]} must hold lines like 'optim.lr: [0.1, 1]', dotted keys and no sections.")
    return {str(key): _written(value) for key, value in content.items()}


def _refuse_a_key_given_twice(path: Path, text: str) -> None:
    """Raise where a key stands in two lines: YAML would take the last one, without a word.

    Raises:
        ConfigError: A key stands in two lines.
    """
    table = yaml.compose(text, yaml.SafeLoader)
    line_of: dict[str, int] = {}
    for key, _ in table.value if isinstance(table, yaml.MappingNode) else ():
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            continue
        if key.value in line_of:
            raise ConfigError(
                f"{path}: {key.value} is given twice, in lines {line_of[key.value]} and {line}. "
                "Give one of them, or one list of all values."
            )
        line_of[key.value] = line


def _written(value: Any) -> str:
    """Return a value as a user types it on the command line; a list becomes several values."""
    if isinstance(value, list):
        return ",".join(_written(one) for one in value)
    return _WORDS[value] if value is None or isinstance(value, bool) else str(value)
