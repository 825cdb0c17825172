"""The cells of a sweep: runs that differ by their seed alone, as one figure with an interval."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bnlab.runfolder.sweep import LEARNING_RATE, SEED, SweepRuns
from bnlab.stats.estimate import Estimate, mean_over_seeds


@dataclass(frozen=True)
class Cell:
    """Runs with the same settings but for the seed.

    Attributes:
        settings: Of what is swept, without the seed.
        num_runs: How many there are.
        num_diverged: How many of them diverged; they have no part in the means.
        num_missing: How many have no result.
        validation_loss: Mean over the seeds that finished; None where none did.
        validation_accuracy: Likewise.
        test_accuracy: Likewise.
    """

    settings: dict[str, Any]
    num_runs: int
    num_diverged: int
    num_missing: int
    validation_loss: Estimate | None
    validation_accuracy: Estimate | None
    test_accuracy: Estimate | None

    @property
    def is_whole(self) -> bool:
        """Whether all of its runs finished."""
        return self.num_diverged == self.num_missing == 0


@dataclass(frozen=True)
class Arm:
    """The cells of one arm, over the learning rates.

    Attributes:
        settings: Of what is compared.
        cells: In the order of the sweep.
        best: The cell with the lowest mean validation loss, of those whose runs all finished; None: there is none.
        at_the_edge: The best learning rate is the lowest or highest that was tried: there may be a better one beyond.
    """

    settings: dict[str, Any]
    cells: list[Cell]
    best: Cell | None
    at_the_edge: bool


def cells_of(sweep: SweepRuns) -> list[Cell]:
    """Return the cells of a sweep, in its order."""
    keys = [key for key in sweep.swept if key != SEED]
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in sweep.rows:
        groups.setdefault(repr([row.get(key) for key in keys]), []).append(row)
    return [_cell({key: rows[0].get(key) for key in keys}, rows) for rows in groups.values()]


def arms_of(sweep: SweepRuns) -> list[Arm]:
    """Return the arms of a sweep, in its order."""
    arms: dict[str, list[Cell]] = {}
    for cell in cells_of(sweep):
        settings = {key: value for key, value in cell.settings.items() if key != LEARNING_RATE}
        arms.setdefault(repr(settings), []).append(cell)
    return [_arm(cells) for cells in arms.values()]


def _arm(cells: list[Cell]) -> Arm:
    settings = {key: value for key, value in cells[0].settings.items() if key != LEARNING_RATE}
    whole = [(cell.validation_loss.value, i) for i, cell in enumerate(cells) if cell.validation_loss and cell.is_whole]
    best = cells[min(whole)[1]] if whole else None
    rates = [cell.settings[LEARNING_RATE] for cell in cells if LEARNING_RATE in cell.settings]
    at_the_edge = best is not None and len(rates) > 1 and best.settings[LEARNING_RATE] in {min(rates), max(rates)}
    return Arm(settings, cells, best, at_the_edge)


def _cell(settings: dict[str, Any], rows: Sequence[dict[str, Any]]) -> Cell:
    finished = [row for row in rows if row["status"] == "finished"]
    num_diverged = sum(row["status"] == "diverged" for row in rows)

    def mean(key: str) -> Estimate | None:
        values = [row[key] for row in finished if row.get(key) is not None]
        return mean_over_seeds(values) if values else None

    return Cell(
        settings,
        num_runs=len(rows),
        num_diverged=num_diverged,
        num_missing=len(rows) - len(finished) - num_diverged,
        validation_loss=mean("validation_loss"),
        validation_accuracy=mean("validation_accuracy"),
        test_accuracy=mean("test_accuracy"),
    )
