"""Inputs on which a law does not hold, as plain values that can be printed and written as JSON."""

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Example:
    """The smallest input found on which a law does not hold.

    Attributes:
        setting: Mode, data type and parameters of the layer, as text.
        shape: Shape of the input; () where the example is not one of an input.
        given: The input as nested lists; None if it has more than `MOST_VALUES` values.
        came: The layer's result, in the same form.
        expected: The correct result, in the same form; None where no single value would be right.
    """

    setting: str
    shape: tuple[int, ...] = ()
    given: Any = None
    came: Any = None
    expected: Any = None


MOST_VALUES = 24
"""An example with more values than this is shown by its shape only: nobody would read the values."""


def show(values: Tensor | None) -> Any:
    """Return a tensor's values as nested lists of short numbers, or None where there are too many to read."""
    if values is None or values.numel() > MOST_VALUES:
        return None
    return _short(values.detach().double().tolist())


def _short(value: Any) -> Any:
    if isinstance(value, list):
        return [_short(entry) for entry in value]
    return value if not math.isfinite(value) else float(f"{value:.7g}") + 0.0  # no -0
