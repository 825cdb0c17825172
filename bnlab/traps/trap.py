"""The type of a trap, and the limits that define some."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from bnlab.trap_names import TrapName

FEW_VALUES = 8
"""Values per channel below which a statistic of the batch is called few.

Wu & He 2018 (arXiv:1803.08494): on ImageNet, at 2 images per batch, BatchNorm's error is 10.6 points above GroupNorm's.
On (N, C) two values always become +1 and -1."""

SMALL_MOMENTUM = 0.5
"""Share of the old running value below which the two senses of momentum were probably mixed up: PyTorch's usual 0.1 and
0.01 are 0.9 and 0.99 here."""

LARGE_OFFSET = 30
"""Mean of a group, in its standard deviations, from which on a variance taken in float32 as E[x^2] - E[x]^2 costs
digits that are seen: the output errs by 1e-3 there, and by ten times as much at three times the mean."""

LARGEST_START_SHARE = 0.05
"""Largest share of the initial statistics, mean 0 and variance 1, that may be left at the end of a run."""


@dataclass(frozen=True)
class Trap:
    """A setting or network that runs, but is probably a mistake; or one that cannot work.

    Attributes:
        name: The name of the trap, as in ``accept``.
        severity: ``warning``: legal; ``error``: it cannot work.
        message: One or two sentences: place, law, actual value, cure.
    """

    name: TrapName
    severity: Literal["warning", "error"]
    message: str


def some_of(roles: Iterable[str]) -> str:
    """Return the names of layers, the first three of many.

    Example:
        >>> some_of(["a", "b", "c", "d", "e"])
        'a, b, c and 2 more'
    """
    names: Sequence[str] = list(dict.fromkeys(roles))
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
