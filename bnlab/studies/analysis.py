"""An analysis that an honest colleague might choose: one choice for each factor.

Such as the test set at the end, each arm's best learning rate, the mean over seeds. The first choice of each factor is
the one that decides; all others are there to see whether the verdict depends on it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bnlab.stats.trainable import MARGIN, Rule

WIDER_MARGIN = 2 * MARGIN
"""10 points below the best, in place of 5, for the largest rate that trains."""

FARTHER = 1.5
"""A second target for steps: one and a half times as far from 100% as the first one, 85% for 90%."""


@dataclass(frozen=True)
class Choice:
    """One way to do one part of an analysis.

    Attributes:
        factor: The part: ``figure``, ``images``, ``steps``, ``target``, ``bar``, ``rate`` or ``center``.
        words: The choice in words, to stand after "with".
        value: What it is; its type depends on the factor.
    """

    factor: str
    words: str
    value: Any


Analysis = Mapping[str, Choice]
"""Factor -> its choice."""

BARS_OF_LR_SENSITIVITY = (Choice("bar", "the accuracy", "accuracy"), Choice("bar", "the loss (any difference)", "loss"))

BARS_OF_THE_GRID = (
    Choice("bar", "a limit of 5 points below the best accuracy", Rule()),
    Choice("bar", "a limit of 10 points below it", Rule(margin=WIDER_MARGIN)),
    Choice("bar", "half of the loss at the start as the limit", Rule(by="loss")),
)


def targets(target: float, most_at_start: float) -> tuple[Choice, ...]:
    """Return the targets of an accuracy: the one that was asked for, and one that is nearer, if no run starts there.

    Args:
        target: The accuracy, as a share.
        most_at_start: The highest accuracy at which any run starts.
    """
    nearer = 1 - FARTHER * (1 - target)
    choices = [Choice("target", f"a target of {100 * target:g}%", target)]
    if nearer > most_at_start:
        choices.append(Choice("target", f"a target of {100 * nearer:.3g}%", nearer))
    return tuple(choices)
