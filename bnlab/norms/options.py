"""Checks of options that several norms have. Each error names the option, its range and the value."""

import math
from numbers import Real

from bnlab.errors import ConfigError, nearest_divisors

LARGEST = 10**18
"""A little below the largest whole number of 64 bits."""


def check_eps(eps: float) -> None:
    """Check the constant inside the root.

    Raises:
        ConfigError: eps is not a finite number above 0.
    """
    check_positive(eps=eps)


def check_momentum(momentum: float | None) -> None:
    """Check the share of the old running value that is kept.

    Raises:
        ConfigError: momentum is neither None nor a number in [0, 1].
    """
    if momentum is not None and not (_is_number(momentum) and 0 <= momentum <= 1):
        raise ConfigError(
            f"norm.momentum must be in [0, 1], got {momentum}: it is the share of the old running value "
            "that is kept (0.9 is PyTorch's 0.1)"
        )


def turned_round(momentum: float | None) -> float | None:
    """Return 1 - momentum: the share of the new value from that of the old one, or the reverse; None stays None.

    Example:
        >>> turned_round(0.9)
        0.1
    """
    return None if momentum is None else round(1 - momentum, 12)  # 1 - 0.9 is 0.09999999999999998


def check_finite(**numbers: float) -> None:
    """Check options that are any finite number.

    Raises:
        ConfigError: An option is none.
    """
    for name, value in numbers.items():
        if not (_is_number(value) and math.isfinite(value)):
            raise ConfigError(f"norm.{name} must be a finite number, got {value}")


def check_switches(**switches: bool) -> None:
    """Check options that are true or false: without a check, any text but an empty one would count as true.

    Raises:
        ConfigError: An option is neither true nor false.
    """
    for name, value in switches.items():
        if not isinstance(value, bool):
            raise ConfigError(f"norm.{name} must be true or false, got {value}")


def check_num_groups(num_groups: int, num_channels: int) -> None:
    """Check that the channels can be divided into groups of equal size.

    Raises:
        ConfigError: num_groups is not a whole number that divides num_channels.
    """
    if not isinstance(num_groups, int) or isinstance(num_groups, bool):
        raise ConfigError(f"norm.num_groups must be a whole number, got {num_groups}")
    if num_groups < 1 or num_channels % num_groups:
        raise ConfigError(
            f"norm.num_groups must divide num_channels: {num_channels} channels, {num_groups} groups. "
            f"Nearest divisors: {nearest_divisors(num_groups, num_channels)}."
        )


def check_positive(**numbers: float) -> None:
    """Check options that are numbers above 0.

    Raises:
        ConfigError: An option is not a finite number above 0.
    """
    for name, value in numbers.items():
        _refuse_slip(name, value)
        if not (_is_number(value) and math.isfinite(value) and value > 0):
            raise ConfigError(f"norm.{name} must be a number above 0, got {value}")


def check_at_least(least: float, **numbers: float) -> None:
    """Check options that are numbers with a smallest value.

    Raises:
        ConfigError: An option is not a finite number of at least this size.
    """
    for name, value in numbers.items():
        _refuse_slip(name, value)
        if not (_is_number(value) and math.isfinite(value) and value >= least):
            raise ConfigError(f"norm.{name} must be a number of at least {least:g}, got {value}")


def check_whole_at_least(least: int, **counts: int) -> None:
    """Check options that are counts.

    Raises:
        ConfigError: An option is not a whole number of at least this size.
    """
    for name, value in counts.items():
        _refuse_slip(name, value)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ConfigError(f"norm.{name} must be a whole number of at least {least}, got {value}")


def check_choice(choices: tuple[str, ...], **words: str) -> None:
    """Check options that are one of a few words.

    Raises:
        ConfigError: An option is another word.
    """
    for name, value in words.items():
        if value not in choices:
            raise ConfigError(f"norm.{name} must be {' or '.join(choices)}, got {value}")


def _refuse_slip(name: str, value: object) -> None:
    """Raise for a whole number that torch, which counts in 64 bits, could not take.

    Raises:
        ConfigError: The number is too large.
    """
    if isinstance(value, int) and value > LARGEST:
        raise ConfigError(f"norm.{name} must be at most {LARGEST:.0e}, got a number of {len(str(value))} digits")


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
