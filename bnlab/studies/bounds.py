"""Where the interval of a condition must lie: which bounds make sense, and how they are written beside an effect."""

import re
from dataclasses import dataclass

from bnlab.errors import ConfigError
from bnlab.studies.quantity import Quantity

SHARES = "share of images"
"""The unit whose differences are written in points, and whose values are written in percent."""

WRITTEN = frozenset({"times", "nats", "decades", "steps", "seconds"})
"""Units that stand behind a bound. All other bounds are bare numbers, as their effects are, or have a longer name."""

_NUMBER = r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?"
_BOUND = re.compile(rf"(above|below|within) ({_NUMBER})(?: and ({_NUMBER}))?")


@dataclass(frozen=True)
class Region:
    """Where a condition holds: between two ends, of which None is no end."""

    low: float | None
    high: float | None


def read_region(bound: str) -> Region | None:
    """Return where a bound in words says that a condition holds; None where it says nothing that is known.

    Example:
        >>> read_region("above 3"), read_region("below 1e-05")
        (Region(low=3.0, high=None), Region(low=None, high=1e-05))
        >>> read_region("within -0.015 and 0.015")
        Region(low=-0.015, high=0.015)
    """
    found = _BOUND.fullmatch(bound)
    if found is None or (found[1] == "within") != (found[3] is not None):
        return None
    if found[1] == "within":
        return Region(float(found[2]), float(found[3]))
    return Region(float(found[2]), None) if found[1] == "above" else Region(None, float(found[2]))


def in_unit(bound: str, kind: str, unit: str) -> str:
    """Return a bound in words with the unit in which the effect beside it is written.

    Args:
        bound: The bound as `Condition.bound` gives it, ``above 0.01``.
        kind: The form of the condition: ``pair``, ``arm``, ``recovered`` or ``law``.
        unit: The unit of the effect, as the results name it.

    Example:
        >>> in_unit("above 0.01", "pair", "share of images"), in_unit("below 0.95", "arm", "share of images")
        ('above 1 point', 'below 95%')
        >>> in_unit("within -0.015 and 0.015", "pair", "share of images"), in_unit("above 3", "pair", "times")
        ('within -1.5 and 1.5 points', 'above 3 times')
    """
    found = _BOUND.fullmatch(bound)
    if found is None:
        return bound
    word, *ends = (part for part in found.groups() if part is not None)
    return f"{word} {numbers_in_unit([float(end) for end in ends], kind, unit)}"


def numbers_in_unit(numbers: list[float], kind: str, unit: str) -> str:
    """Return one number, or two, with the unit in which effects are written behind the last one.

    Args:
        numbers: In the unit, such as shares.
        kind: The form of the condition: ``pair``, ``arm``, ``recovered`` or ``law``.
        unit: The unit of the effect, as the results name it.
    """
    if unit != SHARES:
        word = f" {unit}" if unit in WRITTEN else ""
        if unit == "decades" and numbers == [1.0]:
            word = " decade"
        return " and ".join(f"{number:.6g}" for number in numbers) + word
    percents = [f"{100 * number:.6g}" for number in numbers]
    if kind != "pair":
        return " and ".join(f"{percent}%" for percent in percents)
    return " and ".join(percents) + (" point" if percents == ["1"] else " points")


def check_bounds(quantity: Quantity, kind: str, ends: tuple[float | None, float | None]) -> None:
    """Raise if the bounds of a condition on runs can decide nothing, or are written in another unit.

    Args:
        quantity: What is measured.
        kind: The form of the condition: ``pair``, ``arm`` or ``recovered``.
        ends: Between what the interval must lie; None where there is no end. Of two arms that must be alike: -X and X.

    Raises:
        ConfigError: They do. The message begins with the key of the file.
    """
    low, high = ends
    if kind == "pair":
        _check_effect(quantity, "above" if high is None else "within", low if high is None else high)
    elif kind == "arm":
        key = "within" if low is not None and high is not None else "above" if high is None else "below"
        for end in (end for end in ends if end is not None):
            if quantity.is_share and not 0 <= end <= 1:
                raise ConfigError(f"{key} for {quantity.name} of one arm is a share, 0 to 1: 0.95 is 95%. Got {end:g}.")
            if quantity.is_of_positive_values and key == "below" and end <= 0:
                raise ConfigError(
                    f"below for {quantity.name} of one arm must be above 0, as its values are, got {end:g}."
                )


def _check_effect(quantity: Quantity, key: str, effect: float | None) -> None:
    """Raise if a number is no smallest effect of interest: of a ratio a factor of 1 or more, else 0 or more.

    Raises:
        ConfigError: It is none.
    """
    assert effect is not None
    is_ratio = quantity.scale == "ratio"
    if is_ratio and key == "within" and effect <= 1:
        raise ConfigError(f"within for {quantity.name} must be above 1 (a factor: 1.25 is a quarter), got {effect:g}.")
    if is_ratio and 0 < effect < 1:
        raise ConfigError(
            f"above for {quantity.name} must be 1 or more (a factor: 1.25 is a quarter more), got {effect:g}, with "
            f"which the first arm might be the worse one. To claim that they are alike, take within: {1 / effect:.4g}."
        )
    try:
        quantity.checked_sesoi(effect)
    except ConfigError as error:
        raise ConfigError(str(error).replace("--sesoi", key)) from None
