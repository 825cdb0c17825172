"""Reads YAML files that people write: one sentence about a file that is no table of keys and values."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from bnlab.errors import ConfigError

_PLAIN = {f"tag:yaml.org,2002:{kind}" for kind in ("map", "seq", "str", "int", "float", "bool", "null", "timestamp")}
_WORD = "tag:yaml.org,2002:str"
_MERGE = "tag:yaml.org,2002:merge"

MOST_BYTES = 1_000_000
"""Size of a file beyond which it is not read: a config has a few hundred bytes."""


def read_table(path: Path) -> tuple[str, dict[str, Any]]:
    """Return the text of a YAML file, and the table of keys and values that it holds; empty: an empty table.

    Args:
        path: A file that may be written by a user.

    Raises:
        ConfigError: It cannot be read, is no YAML, or holds anything but a table whose keys are words, each once.
    """
    text = _read_text(path)
    try:
        node = yaml.compose(text, yaml.SafeLoader)
        fault = None if node is None else next(_faults(node, ()), None)
        table = {} if node is None or fault else yaml.SafeLoader("").construct_document(node)
    except yaml.MarkedYAMLError as error:
        in_block = "block" in str(error.context)  # then it begins far above the fault
        mark = error.problem_mark if in_block else error.context_mark or error.problem_mark
        line = f", line {mark.line + 1}" if mark else ""
        said = " ".join(f"{error.context or ''} {error.problem or ''}".split()).replace("<stream end>", "its end")
        cure = "Write lines like 'lr: 0.1'."
        if "mapping values" in said:
            cure = """A text with a colon in it needs quotes: claim: "Batch norm: faster"."""
        raise ConfigError(f"{path}{line} cannot be read as YAML: {said}. {cure}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} cannot be read as YAML: {str(error).splitlines()[0]}.") from None
    except RecursionError:
        raise ConfigError(f"{path} cannot be read as YAML: its brackets are nested too deep.") from None
    except ValueError as error:  # a number or a date that Python refuses
        raise ConfigError(f"{path} cannot be read as YAML: {error}. Quote the value.") from None
    if fault:
        raise ConfigError(f"{path}, line {fault[0].line + 1}: {fault[1]}")
    if not isinstance(table, dict):
        came = "a list" if isinstance(table, list) else f"one value, {table}"
        raise ConfigError(f"{path} must hold lines like 'lr: 0.1', keys and values, got {came:.60}.")
    return text, table


def line_of(path: Path, key: str) -> int | None:
    """Return the line of a YAML table, counted from 1, that gives a key; None where none does.

    Args:
        path: A file that `read_table` can read.
        key: A dotted key, such as ``schedule.epochs``.
    """
    node = yaml.compose(_read_text(path), yaml.SafeLoader)
    line = None
    for name in key.split("."):
        pairs = node.value if isinstance(node, yaml.MappingNode) else ()
        found, node = next(((first, value) for first, value in pairs if first.value == name), (None, None))
        if found is None:
            return None
        line = found.start_mark.line + 1
    return line


def _read_text(path: Path) -> str:
    try:
        if path.exists() and not path.is_file():
            raise ConfigError(f"{path} is not a file. Put a YAML file there, or give the folder another name.")
        if path.stat().st_size > MOST_BYTES:
            raise ConfigError(f"{path} has {path.stat().st_size:,} bytes, too many for a config. Remove or rename it.")
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}, line {line} is not text in UTF-8. Save the file as UTF-8.") from None


def _faults(node: yaml.Node, above: tuple[yaml.Node, ...]) -> Iterator[tuple[yaml.Mark, str]]:
    """Yield the place and the fault of whatever YAML allows and a config cannot hold, from the top down."""
    if node in above:
        yield above[above.index(node)].start_mark, "a value that contains itself. Write it out."
        return
    if node.tag not in _PLAIN:
        yield node.start_mark, f"{node.tag.replace('tag:yaml.org,2002:', '!!')} is no plain value. Leave the tag out."
    if isinstance(node, yaml.SequenceNode):
        for entry in node.value:
            yield from _faults(entry, (*above, node))
    if isinstance(node, yaml.MappingNode):
        line_of: dict[str, int] = {}
        for key, value in node.value:
            if key.tag == _MERGE:
                continue
            if key.tag != _WORD:
                came = key.value if isinstance(key, yaml.ScalarNode) else "a list or a table"
                yield key.start_mark, f"a key must be a word, got {came or 'none'}. Quotes make it one: 'on': 1."
            elif key.value in line_of:
                both = f"{key.value} is given twice, in line {line_of[key.value]} too"
                yield key.start_mark, f"{both}. Give one of them, or one list of all values."
            else:
                line_of[key.value] = key.start_mark.line + 1
                yield from _faults(value, (*above, node))
