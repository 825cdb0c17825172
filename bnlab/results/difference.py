"""How two runs differ: in settings, in what they were trained by, and in their results."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bnlab.runfolder.immaterial import IMMATERIAL

OUTCOMES = (
    *("status", "steps", "diverged_at_step", "test_accuracy", "test_loss", "validation_accuracy", "validation_loss"),
    *("train_loss", "duration_s"),
)
"""Columns of a run's row that are results, in the order in which they are told."""

_OF_THE_FILES = frozenset({"run_id", "folder", "sweep", "started", "problem", "cached", "tags", "note"})
"""Columns that name a run, and say nothing of it."""


@dataclass(frozen=True)
class Difference:
    """One thing in which two runs differ, or a result of both.

    Attributes:
        name: The column: a dotted key of the config, or a figure.
        first: The value of the first run; None if it has none.
        second: The value of the second run; None if it has none.
    """

    name: str
    first: Any
    second: Any


@dataclass(frozen=True)
class RunDifference:
    """How two runs differ.

    Attributes:
        settings: Settings that can change the numbers, and differ, in the order of the config.
        immaterial: Settings that differ and cannot change the numbers, such as the device.
        outcomes: All results of both runs, equal or not.
    """

    settings: tuple[Difference, ...]
    immaterial: tuple[Difference, ...]
    outcomes: tuple[Difference, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values: section -> name -> the two values."""
        sections = {"settings": self.settings, "immaterial": self.immaterial, "outcomes": self.outcomes}
        return {key: {one.name: [one.first, one.second] for one in found} for key, found in sections.items()}


def difference_of(first: Mapping[str, Any], second: Mapping[str, Any]) -> RunDifference:
    """Return how two runs differ.

    Args:
        first: The row of the first run, as `read_run_rows` returns it.
        second: The row of the second run.

    Example:
        >>> found = difference_of({"seed": 0, "status": "finished"}, {"seed": 1, "status": "finished"})
        >>> found.settings
        (Difference(name='seed', first=0, second=1),)
    """
    names = dict.fromkeys([*first, *second])
    differing = [
        Difference(name, first.get(name), second.get(name))
        for name in names
        if first.get(name) != second.get(name) and name not in _OF_THE_FILES and name not in OUTCOMES
    ]
    outcomes = [Difference(name, first.get(name), second.get(name)) for name in OUTCOMES]
    return RunDifference(
        settings=tuple(one for one in differing if one.name not in IMMATERIAL),
        immaterial=tuple(one for one in differing if one.name in IMMATERIAL),
        outcomes=tuple(one for one in outcomes if (one.first, one.second) != (None, None)),
    )
