"""Choosing and sorting rows of runs, and their columns, for `bnlab list runs`; on plain dictionaries.

No pandas here: it takes a fifth of a second to import, and a list should be there at once.
"""

import fnmatch
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bnlab.errors import ConfigError, did_you_mean

Row = Mapping[str, Any]

_CONDITION = re.compile(r"^\s*(?P<column>[^<>=!\s]+)\s*(?P<operator><=|>=|!=|==|=|<|>)\s*(?P<wanted>.*?)\s*$")
_WORDS: dict[str, Any] = {"null": None, "": None, "true": True, "false": False}
_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda came, bound: came < bound,
    "<=": lambda came, bound: came <= bound,
    ">": lambda came, bound: came > bound,
    ">=": lambda came, bound: came >= bound,
}
MARKS = ("tags", "note")
"""Columns that the user may give to a run, and that exist even where no run has them."""

SAME = 1e-9
"""Relative difference of two numbers that are called equal: 0.30000000000000004 is what a sweep makes of 0.3."""


@dataclass(frozen=True)
class Condition:
    """One condition on a row.

    Attributes:
        column: The column of the row whose value is compared.
        operator: One of ``= != < <= > >=``.
        wanted: The value to compare with; for ``=`` and ``!=`` several, with commas between.
    """

    column: str
    operator: str
    wanted: str

    def holds(self, row: Row) -> bool:
        """Return whether a row fulfills it; a missing value is neither above nor below any bound."""
        came = row.get(self.column)
        if self.operator in _ORDERS:
            if isinstance(came, str):  # dates, such as started
                return _ORDERS[self.operator](came, self.wanted)
            bound = _number(self.wanted)
            if bound is None or came is None or isinstance(came, bool | list):
                return False
            return _ORDERS[self.operator](came, bound)
        values = came if self.column == "tags" and came else [came]
        return any(_is(value, word.strip()) for value in values for word in self.wanted.split(",")) == (
            self.operator == "="
        )


def read_condition(text: str, rows: Sequence[Row]) -> Condition:
    """Return a condition from words such as ``norm=batch,none``, ``lr>0.1``, ``test_accuracy>=90%``, ``run_id=*-s0-*``.

    Args:
        text: A column, an operator, a value. ``*`` and ``?`` stand for any letters, ``null`` for a missing value.
        rows: The rows whose columns it may name; the last part of a name will do where only one column ends in it.

    Raises:
        ConfigError: It is no condition, or names a column that no row has.

    Example:
        >>> rows = [{"norm": "batch", "optim.lr": 0.1}, {"norm": "none", "optim.lr": 1.0}]
        >>> condition = read_condition("lr>=0.5", rows)
        >>> condition.column, [condition.holds(row) for row in rows]
        ('optim.lr', [False, True])
    """
    match = _CONDITION.match(text)
    if match is None:
        raise ConfigError(
            f"--where takes a column, an operator (= != < <= > >=) and a value, got {text!r}. "
            "Examples: --where norm=batch,none --where 'optim.lr>0.1'"
        )
    column, operator, wanted = match["column"], match["operator"].replace("==", "="), match["wanted"]
    name = find_column(column, rows, "--where")
    if any(_CONDITION.match(word) for word in wanted.split(",")[1:]):
        raise ConfigError(f"--where takes one condition, got {text!r}. Give --where once for each.")
    values = [row.get(name) for row in rows]
    if operator in _ORDERS and _number(wanted) is None and not any(isinstance(value, str) for value in values):
        raise ConfigError(f"--where {text}: {operator} compares with a number, got {wanted!r}.")
    return Condition(name, operator, wanted)


def find_column(word: str, rows: Sequence[Row], asked_by: str) -> str:
    """Return the column that a word names: the whole name, or its last part where only one column ends in it.

    Args:
        word: The name, or its last part, as typed.
        rows: The rows whose columns are searched.
        asked_by: The option that the word was given to, for the error's message.

    Raises:
        ConfigError: There is no such column, or more than one.
    """
    columns = all_columns(rows)
    if word in columns or not columns or word in MARKS:
        return word
    ending = [column for column in columns if column.endswith((f".{word}", f"_{word}"))]
    dotted = [column for column in ending if column.endswith(f".{word}")]
    for found in (dotted, ending):
        if len(found) == 1:
            return found[0]
    cure = f"Did you mean {' or '.join(ending)}?" if ending else did_you_mean(word, columns)
    raise ConfigError(f"{asked_by} {word}: runs have no such column. {cure}")


def all_columns(rows: Sequence[Row]) -> list[str]:
    """Return the columns of all rows, in the order of their appearance."""
    return list(dict.fromkeys(column for row in rows for column in row))


def pick_columns(wanted: Sequence[str], rows: Sequence[Row]) -> list[str]:
    """Return the columns that words name; ``optim.*`` names several.

    Raises:
        ConfigError: There is no such column.
    """
    columns = all_columns(rows)
    picked: list[str] = []
    for word in wanted:
        matching = [column for column in columns if fnmatch.fnmatchcase(column, word)]
        picked += matching or [find_column(word, rows, "--columns")]
    return list(dict.fromkeys(picked))


def sort_rows(rows: Sequence[dict[str, Any]], keys: Sequence[str], reverse: bool = False) -> list[dict[str, Any]]:
    """Return rows in order.

    Args:
        rows: The rows to sort.
        keys: Columns, the most important first; a minus before one turns its order round. Numbers come before words,
            and a missing value comes last either way.
        reverse: Turn the order of every key round; without keys, the order that the rows came in.

    Raises:
        ConfigError: There is no such column.

    Example:
        >>> [row["a"] for row in sort_rows([{"a": 1}, {"a": None}, {"a": 10}], ["-a"])]
        [10, 1, None]
    """
    ordered = list(rows) if keys or not reverse else list(rows)[::-1]
    for key in reversed(keys):  # sorting is stable: the most important comes last
        falling = key.startswith("-") != reverse
        column = find_column(key.removeprefix("-"), rows, "--sort")
        there = [row for row in ordered if row.get(column) is not None]
        there.sort(key=lambda row: _order(row[column]), reverse=falling)
        ordered = there + [row for row in ordered if row.get(column) is None]
    return ordered


def describe_column(column: str, rows: Sequence[Row]) -> str:
    """Return the values of a column in words, for a reader whose condition no row fulfills.

    Example:
        >>> describe_column("lr", [{"lr": 0.1}, {"lr": 10.0}])
        'lr goes from 0.1 to 10'
    """
    values = [row.get(column) for row in rows if row.get(column) is not None]
    if not values:
        return f"{column} is null in all of them"
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) == len(values):
        return f"{column} goes from {min(numbers):.6g} to {max(numbers):.6g}"
    words = sorted({value if isinstance(value, str) else json.dumps(value) for value in values})
    more = f" and {len(words) - 6} more" if len(words) > 6 else ""
    return f"{column} is {', '.join(words[:6])}{more}"


def _order(value: Any) -> tuple[int, float, str]:
    if isinstance(value, int | float):
        return (0, value, "")
    return (1, 0.0, value if isinstance(value, str) else json.dumps(value))


def _is(came: Any, word: str) -> bool:
    if isinstance(came, str):
        return fnmatch.fnmatchcase(came, word)
    if word.lower() in _WORDS:
        return bool(came is _WORDS[word.lower()])
    number = _number(word)
    if isinstance(came, int | float) and not isinstance(came, bool) and number is not None:
        return math.isclose(came, number, rel_tol=SAME)
    return came is not None and json.dumps(came) == word


def _number(word: str) -> float | None:
    """Return a number, or a percentage as the share that it is."""
    share = word.endswith("%")
    try:
        return float(word.removesuffix("%")) / (100 if share else 1)
    except ValueError:
        return None
