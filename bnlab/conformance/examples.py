"""Inputs on which a law does not hold, as plain values that can be printed and written as JSON."""

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Example:
    """The smallest input found on which a law does not hold.

    Attributes:
        setting: Mode, type and parameters, as text.
        shape: Of the input.
        given: The input as nested lists, or None where it is too large to read.
        came: What the layer gave.
        expected: What it should have given, or None where no single value would be right.
    """

    setting: str
    shape: tuple[int, ...]
    given: Any
    came: Any
    expected: Any


MOST_VALUES = 24
"""An example of more values than these is named by its shape only: nobody reads it."""


def show(values: Tensor | None) -> Any:
    """Return a tensor's values as nested lists of short numbers, or None where there are too many to read."""
    if values is None or values.numel() > MOST_VALUES:
        return None
    return _short(values.detach().double().tolist())


def _short(value: Any) -> Any:
    if isinstance(value, list):
        return [_short(entry) for entry in value]
    return value if not math.isfinite(value) else float(f"{value:.7g}") + 0.0  # no -0
