"""The values that an override gives to its key: one, several, or an interval to search."""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra.core.override_parser.types import Glob, IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException

from bnlab.config.folders import known_options, search_folders
from bnlab.config.grammar import MOST_VALUES
from bnlab.errors import ConfigError

_PLAIN = re.compile(r"[\w.:+-]+")
"""A simple value: no function, no list, no quotes."""


def refuse_a_key_given_twice(parsed: Sequence[Override], *, in_one_run: bool = False) -> None:
    """Raise if two words set one key to different values: otherwise the first would be ignored silently.

    Args:
        parsed: Parsed overrides, with sweeps or without.
        in_one_run: Whether a key takes one value only; else a list of both values is the cure.

    Raises:
        ConfigError: A key is given twice.
    """
    word_of: dict[str, str] = {}
    for override in parsed:
        key, text = override.key_or_group, override.input_line or ""
        if word_of.get(key, text) != text:
            both = [word.partition("=")[2].split(",") for word in (word_of[key], text)]
            values = list(dict.fromkeys(itertools.chain(*both)))
            cure = "Give one of them, or one list of all values."
            if in_one_run:
                cure = "Give one of them."
            elif all(_PLAIN.fullmatch(value) for value in values):
                cure = f"Give one: {key}={','.join(values)}."
            raise ConfigError(f"{key} is given twice: {word_of[key]} and {text}. {cure}")
        word_of[key] = text


def sweep_values(override: Override, config_dir: Path | None) -> list[str]:
    """Return one override per value that an override sweeps over; a plain override is returned alone.

    Args:
        override: An override of one key, as `parse_overrides` returns it.
        config_dir: A folder of the user's own options, which ``glob`` searches too; None: only ./conf, if it exists.

    Raises:
        ConfigError: The override is an interval, which has infinitely many values, or has no values.

    Example:
        >>> from bnlab.config.grammar import parse_overrides
        >>> sweep_values(parse_overrides(["seed=range(3)"])[0], None)
        ['seed=0', 'seed=1', 'seed=2']
        >>> sweep_values(parse_overrides(["optim.lr=logspace(0.01, 1, 3)"])[0], None)
        ['optim.lr=0.01', 'optim.lr=0.1', 'optim.lr=1.0']
    """
    assert override.input_line is not None
    if not override.is_sweep_override():
        return [override.input_line]
    key, value = override.get_key_element(), override.value()
    if isinstance(value, Glob):
        options = value.filter(known_options(search_folders(config_dir)).get(override.key_or_group, []))
        if not options:
            raise ConfigError(f"{override.input_line} matches nothing in conf/{override.key_or_group}.")
        return [f"{key}={option}" for option in options]
    if override.is_discrete_sweep():
        return [f"{key}={text}" for text in _values_in_order(override)]
    raise ConfigError(
        f"{override.input_line}: an interval has no list of values. Use range(...) or choice(...), "
        "or hydra/sweeper=optuna, which searches it."
    )


def _values_in_order(override: Override) -> list[str]:
    """Return the values of a choice or a range, as a user would type them.

    Raises:
        ConfigError: There are no values.
    """
    text, key, value = override.input_line, override.get_key_element(), override.value()
    if isinstance(value, RangeSweep) and value.start is not None and value.stop is not None and value.step:
        num_values = (value.stop - value.start) / value.step
        if num_values > MOST_VALUES:
            raise ConfigError(f"{text} has {num_values:,.0f} values, {MOST_VALUES:,} at most. Give fewer.")
    try:
        # Hydra escapes the colon of package.module:Class, as if to parse the value again
        values = [value.replace("\\:", ":") for value in override.sweep_string_iterator()]
    except (ValueError, HydraException):
        raise ConfigError(
            f"{text}: range(start, stop, step) needs a step other than 0. Such as {key}=range(0,10,2)."
        ) from None
    if not values:
        raise ConfigError(f"{text} has no values. A range ends before its stop: {key}=range(3) is 0, 1 and 2.")
    return values


@dataclass(frozen=True)
class Axis:
    """The values that a search may give to one key.

    Attributes:
        key: The key, such as ``optim.lr`` or ``norm``.
        values: The values as one would type them. Of an interval, its two ends.
        is_interval: Whether values between the two ends may be chosen too.
        is_log: Whether values of an interval are chosen on a logarithmic scale.

    Example:
        >>> Axis("optim.lr", ("1.0", "4.0"), is_interval=True).is_real_interval
        True
        >>> Axis("model.depth", ("1", "4"), is_interval=True).is_real_interval
        False
    """

    key: str
    values: tuple[str, ...]
    is_interval: bool = False
    is_log: bool = False

    @property
    def is_real_interval(self) -> bool:
        """Whether it is an interval of real numbers: one of its ends is not written as a whole number."""
        return self.is_interval and not all(value.lstrip("-").isdigit() for value in self.values)


def search_axis(override: Override, config_dir: Path | None) -> Axis | None:
    """Return the values that an override lets a search choose from; None where it gives one value.

    Args:
        override: One override, parsed, such as that of ``optim.lr=interval(0.01, 1)``.
        config_dir: A folder of own options, for ``glob``.

    Raises:
        ConfigError: It is an empty interval, or one that has no logarithm.

    Example:
        >>> from bnlab.config.grammar import parse_overrides
        >>> search_axis(parse_overrides(["optim.lr=tag(log, interval(1e-3, 10))"])[0], None)
        Axis(key='optim.lr', values=('0.001', '10'), is_interval=True, is_log=True)
        >>> search_axis(parse_overrides(["norm=batch,none"])[0], None)
        Axis(key='norm', values=('batch', 'none'), is_interval=False, is_log=False)
    """
    value = override.value()
    if not isinstance(value, IntervalSweep):
        values = [text.partition("=")[2] for text in sweep_values(override, config_dir)]
        return Axis(override.get_key_element(), tuple(values)) if override.is_sweep_override() else None
    start, end, is_log = value.start, value.end, "log" in value.tags
    if start is None or end is None or not start < end or (is_log and start <= 0):
        law = "two numbers above 0, the smaller one first" if is_log else "two numbers, the smaller one first"
        raise ConfigError(f"{override.input_line}: interval(...) takes {law}.")
    # Hydra reads 1 as 1.0, and a setting such as model.depth takes whole numbers only
    ends = tuple(str(int(one) if float(one).is_integer() else one) for one in (start, end))
    return Axis(override.get_key_element(), ends, True, is_log)
