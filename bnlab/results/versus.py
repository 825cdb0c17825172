"""Arms against the first one, seed by seed, each at its best learning rate.

A seed stands for the same initial weights (where shapes allow) and the same batches in all arms: what it adds to both
cancels in their difference. Every difference has its own 95% interval, the one by which verdicts are reached. With
several arms one of these intervals easily lies off 0 by chance; so `Versus.is_apart` asks the interval of all
comparisons together, at 1 - 5% / (number of arms - 1).

Nothing here is a verdict: no smallest effect was named before the runs. `bnlab judge` gives one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bnlab.results.arms import Arm
from bnlab.results.outcomes import Cell
from bnlab.stats.estimate import LEVEL, Estimate
from bnlab.stats.mean_interval import mean_of_differences

Figure = Literal["test_accuracy", "accuracy", "loss"]
"""What is compared: test accuracy, validation accuracy, validation loss."""

FIGURES: tuple[Figure, ...] = ("test_accuracy", "accuracy", "loss")

_VALUES: Mapping[Figure, Callable[[Cell], dict[int, float]]] = {
    "test_accuracy": Cell.test_accuracies,
    "accuracy": lambda cell: {seed: outcome.accuracy for seed, outcome in cell.outcomes.items()},
    "loss": lambda cell: {seed: outcome.loss for seed, outcome in cell.outcomes.items()},
}

_WITHIN = {"test_accuracy": (-1.0, 1.0), "accuracy": (-1.0, 1.0), "loss": (float("-inf"), float("inf"))}
"""Where the mean of a difference must lie."""

ROUNDING = 1e-9
"""Part of a difference up to which two of them are the same: 0.91 - 0.81 is not 0.9 - 0.8 in floats."""


@dataclass(frozen=True)
class Versus:
    """One figure of an arm less that of the first arm.

    Attributes:
        difference: The mean over common seeds, with its 95% interval; shares for accuracies, not points.
        is_apart: Whether 0 lies outside the interval even where all comparisons with the first arm share the 5%.
            Never with fewer than 3 seeds, and never where all seeds agree exactly: a grid of images makes them agree.
    """

    difference: Estimate
    is_apart: bool


def against_first(arms: Sequence[Arm]) -> list[dict[Figure, Versus]]:
    """Return each arm's figures less those of the first arm; empty for the first, and for one without common seeds.

    Args:
        arms: The arms, each of which is taken at its best learning rate.
    """
    bests = [None if (best := arm.best()) is None else best.cell for arm in arms]
    return cells_against_first(bests)


def cells_against_first(cells: Sequence[Cell | None]) -> list[dict[Figure, Versus]]:
    """Return the figures of cells less those of the first one, as `against_first` does.

    Args:
        cells: One per arm; None for an arm without any outcome.
    """
    found: list[dict[Figure, Versus]] = [{} for _ in cells]
    first, *others = cells or [None]
    level_of_all = 1 - (1 - LEVEL) / max(1, len(others))
    for place, cell in enumerate(others, 1):
        for figure in FIGURES if cell is not None and first is not None else ():
            own, of_first = _VALUES[figure](cell), _VALUES[figure](first)  # type: ignore[arg-type]
            differences = [value - of_first[seed] for seed, value in own.items() if seed in of_first]
            if differences:
                found[place][figure] = versus(differences, _WITHIN[figure], level_of_all)
    return found


def versus(differences: Sequence[float], within: tuple[float, float], level_of_all: float) -> Versus:
    """Return the mean of some differences, and whether it is apart from 0.

    Args:
        differences: One per seed, at least 1.
        within: Where their mean must lie.
        level_of_all: The level at which 0 must lie outside.
    """
    shared = mean_of_differences(differences, level_of_all)
    is_apart = shared.low is not None and shared.high is not None and not shared.low <= 0 <= shared.high
    agree = max(differences) - min(differences) <= ROUNDING * max(map(abs, differences))
    return Versus(mean_of_differences(differences, within=within), is_apart and not agree)
