"""What a trap is."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from bnlab.schema import TrapName

FEW_VALUES = 8
"""Values per channel below which a statistic of the batch is called few.

Wu & He 2018 (arXiv:1803.08494): on ImageNet, at 2 images per batch, BatchNorm's error is 10.6 points above GroupNorm's.
On (N, C) two values come out as +1 and -1, whatever they were."""

SMALL_MOMENTUM = 0.5
"""Share of the old running value below which the two senses of momentum were probably mixed up: PyTorch's usual 0.1 and
0.01 are 0.9 and 0.99 here."""

LARGEST_START_SHARE = 0.05
"""Share of the starting statistics, mean 0 and variance 1, that a run may end with."""


@dataclass(frozen=True)
class Trap:
    """Something that runs, or would, and is probably not what was meant.

    Attributes:
        name: What ``accept`` calls it.
        severity: ``warning``: legal; ``error``: it cannot work.
        message: One sentence or two: place, law, what came, cure.
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
