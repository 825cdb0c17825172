"""The grammar of overrides: Hydra's, with the function `logspace` added. Parses words; composes nothing."""

import contextlib
import functools
import math
import re
import shlex
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any, Union

import numpy as np
from hydra.core.override_parser.overrides_parser import OverridesParser, create_functions
from hydra.core.override_parser.types import ChoiceSweep, Override, RangeSweep
from hydra.errors import HydraException, OverrideParseException

from bnlab.errors import ConfigError, did_you_mean

DIGITS = 6
"""Significant digits of a logspace: 0.00316228 can be read and typed, 0.0031622776601683794 cannot."""

MOST_VALUES = 100_000
"""Values of one key, and runs of one sweep: to list more takes minutes and gigabytes, to train them years."""

Number = Union[int, float]  # noqa: UP007  (Hydra looks at annotations to check arguments, and knows this form only)


def logspace(start: Number, stop: Number, num: int) -> ChoiceSweep:
    """Return the sweep over num values from start to stop, both included, with a constant ratio between neighbors.

    Args:
        start: The first value, above 0.
        stop: The last value, above 0.
        num: The number of values, 2 to `MOST_VALUES`.

    Raises:
        ValueError: An argument is out of range.

    Example:
        >>> logspace(0.1, 10, 3).list
        [0.1, 1.0, 10.0]
    """
    if not (0 < start < math.inf and 0 < stop < math.inf and 2 <= num <= MOST_VALUES):
        raise ValueError(
            f"logspace(start, stop, num) needs two numbers above 0 and 2 to {MOST_VALUES:,} values, got "
            f"({start}, {stop}, {num})"
        )
    values = [float(f"{value:.{DIGITS}g}") for value in np.geomspace(start, stop, num)]
    return ChoiceSweep(list=list(values))


@functools.cache
def _functions() -> Any:
    functions = create_functions()
    functions.register(name="logspace", func=logspace)
    functions.functions["sort"] = functools.partial(_sort, functions.functions["sort"])
    return functions


def _sort(sort: Callable[..., Any], *values: Any, **options: Any) -> Any:
    """Sort a range as the list of its values.

    Hydra 1.3.8 turns a range round by its ends, which gives other values where the step does not divide the distance:
    49, 33, 17, 1 for ``sort(range(8,65,16),reverse=true)``, in place of 56, 40, 24, 8.
    """

    def listed(value: Any) -> Any:
        is_range = isinstance(value, RangeSweep) and value.start is not None and value.stop is not None
        return ChoiceSweep(list=list(value.range())) if is_range else value

    return sort(*map(listed, values), **{name: listed(value) for name, value in options.items()})


@functools.cache
def _parser() -> OverridesParser:
    return OverridesParser(_functions())


def parse_overrides(overrides: list[str]) -> list[Override]:
    """Parse overrides by Hydra's grammar; `logspace` is known besides Hydra's own functions.

    Raises:
        ConfigError: An override does not parse, or gives no value.
    """
    parsed = []
    for text in overrides:
        try:
            parsed.append(_parser().parse_override(text))
        except (OverrideParseException, HydraException) as error:
            if isinstance(error.__cause__, ValueError | TypeError):  # a function got a wrong argument
                raise ConfigError(f"{text}: {error.__cause__}.") from None
            raise ConfigError(_parse_error(text, str(error))) from None
        if text.startswith("="):
            raise ConfigError(_parse_error(text, ""))
        if text.endswith("=") and text.count("=") == 1:
            raise ConfigError(f"{text} has no value. Write one behind the equals sign, or leave {text} out.")
    return parsed


def as_words(overrides: Sequence[str]) -> list[str]:
    """Return overrides as a list.

    Raises:
        ConfigError: The overrides are one text instead of a list.
    """
    if isinstance(overrides, str):
        raise ConfigError(f"overrides must be a list of words, got the text {overrides!r}. Write {overrides.split()}.")
    return list(overrides)


def _parse_error(text: str, said: str) -> str:
    """Return one sentence about a word that Hydra's grammar cannot read.

    Args:
        text: The word that does not parse.
        said: Hydra's error message for it.
    """
    key, equals, value = text.partition("=")
    unknown = re.search(r"Unknown function '(\w+)'", said)
    if unknown:
        return f"{text}: {unknown[1]} is no function. {did_you_mean(unknown[1], _functions().functions)}"
    fault = _fault_of_a_list(value)
    if "'" in value and '"' not in value and value.count("'") % 2 and not value.startswith("'"):
        fault = f"""an apostrophe begins a quote. Put double quotes around the value: {in_shell(f'{key}="{value}"')}."""
    if fault:
        return f"{text}: {fault}"
    return f"{_printable(text)} is not an override: Hydra's grammar cannot read it. {_cure(key, equals, value)}"


_ASCII = str.maketrans("\u2018\u2019\u201c\u201d\u2212\u2013", "''\"\"--")
"""Quotes and dashes that word processors put in place of those of a keyboard."""


def _cure(key: str, equals: str, value: str) -> str:
    """Return what to write in place of a word that does not parse: the first way of writing it that does."""
    plain = unicodedata.normalize("NFKC", value.strip()).translate(_ASCII).replace('"', "")
    quote = '"' if "'" in value else "'"
    ways = [
        ("Leave out the blanks", f"{key.strip()}={value.strip()}"),
        ("Write letters and digits of the keyboard", f"{key.strip()}={plain}"),
        ("Quote the value, inside the shell's quotes", f"{key.strip()}={quote}{value.strip()}{quote}"),
    ]
    for what, word in ways if equals and key.strip() else ():
        with contextlib.suppress(HydraException):
            _parser().parse_override(word)
            return f"{what}: {in_shell(word)}."
    return "Write key=value, without blanks around the equals sign, such as seed=1."


def in_shell(word: str) -> str:
    """Return a word as it is typed at a shell's prompt.

    Example:
        >>> print(in_shell("data.path='my file.npz'"), in_shell("seed=1"))
        "data.path='my file.npz'" seed=1
    """
    quoted = shlex.quote(word)
    return f'"{word}"' if quoted != word and not set(word) & set('"$`\\!') else quoted


def _printable(text: str) -> str:
    return f"'{text}'" if text.isprintable() else repr(text)


_CLOSING = {"(": ")", "[": "]", "{": "}"}


def _fault_of_a_list(value: str) -> str | None:
    """Return the mistake in the commas and brackets of a value, and the cure; None: there is no mistake.

    Example:
        >>> _fault_of_a_list("batch,none,")
        'the list ends in a comma, with no value behind it. Leave out the comma.'
        >>> _fault_of_a_list("range(0,3")
        'a bracket is not closed. Write ) behind it.'
    """
    bare = re.sub(r"""(['"])(?:\\.|(?!\1).)*\1""", "x", value)  # text in quotes is no list
    if "'" in bare or '"' in bare:
        return "a quote is not closed. Close it."
    expected: list[str] = []
    for letter in bare:
        if letter in _CLOSING:
            expected.append(_CLOSING[letter])
        elif letter in _CLOSING.values() and (not expected or expected.pop() != letter):
            return f"no bracket is open for its {letter}. Leave it out, or open one."
    if expected:
        return f"a bracket is not closed. Write {''.join(reversed(expected))} behind it."
    if re.search(r",\s*$", bare):
        return "the list ends in a comma, with no value behind it. Leave out the comma."
    if re.search(r"(^|[,(\[])\s*,", bare):
        return "a comma of the list has no value before it. Leave out the comma."
    return None


@functools.cache
def setting(text: str) -> tuple[str, Any]:
    """Return the key and the typed value of an override with one value.

    Example:
        >>> setting("optim.lr=0.1"), setting("train.eval_every=null")
        (('optim.lr', 0.1), ('train.eval_every', None))
    """
    (override,) = parse_overrides([text])
    return override.key_or_group, override.value()
