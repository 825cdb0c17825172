"""Sweeps that are kept in files: conf/sweep/<name>.yaml, one line for each word."""

from pathlib import Path
from typing import Any

from bnlab.config.folders import refuse_hidden, search_folders
from bnlab.config.yaml_files import read_table
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


def set_by_file(overrides: list[str], words: list[str]) -> dict[str, str]:
    """Return the keys that a sweep's file sets, with the word that names it: nobody typed them.

    Args:
        overrides: The words of the command line, as they were typed.
        words: What `with_file` made of them.

    Example:
        >>> set_by_file(["sweep=short", "seed=0"], ["train.steps=500", "seed=0"])
        {'train.steps': 'sweep=short'}
    """
    named = "".join(text for text in overrides if text.startswith("sweep="))
    return {text.partition("=")[0]: named for text in words if text not in overrides}


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
    refuse_hidden(f"sweep/{name}", search_folders(config_dir))
    _, content = read_table(known[name])
    if not content or any(isinstance(value, dict) for value in content.values()):
        raise ConfigError(f"{known[name]} must hold lines like 'optim.lr: [0.1, 1]', dotted keys and no sections.")
    return {key: as_word(value) for key, value in content.items()}


def as_word(value: Any) -> str:
    """Return a value as a user types it on the command line; a list becomes several values.

    Args:
        value: A value of a YAML file.

    Example:
        >>> as_word([0.1, None, [1, 2]])
        '0.1,null,[1,2]'
    """
    if isinstance(value, list):
        return ",".join(f"[{as_word(one)}]" if isinstance(one, list) else as_word(one) for one in value)
    return _WORDS[value] if value is None or isinstance(value, bool) else str(value)
