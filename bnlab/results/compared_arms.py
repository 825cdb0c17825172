"""Any runs as arms: those of one sweep, of several, or picked one by one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnlab.results.arms import LEARNING_RATE, SEED, Arm, arm_keys, folder_name, label_of, read_arms
from bnlab.results.outcomes import Row
from bnlab.results.swept import swept_keys

SWEEP = "sweep"
"""The column with the name of a run's sweep: it tells arms apart where nothing else does."""


@dataclass(frozen=True)
class ComparedArms:
    """Runs sorted into arms.

    Attributes:
        rows: The runs.
        swept: The settings that tell them apart.
        arms: The arms; where all runs are of one arm and their learning rates differ, one per learning rate.
    """

    rows: tuple[Row, ...]
    swept: tuple[str, ...]
    arms: tuple[Arm, ...]

    @property
    def has_seeds(self) -> bool:
        """Whether there are two arms or more, of which one has results of two seeds or more at a learning rate."""
        return len(self.arms) > 1 and any(len(cell.outcomes) > 1 for arm in self.arms for cell in arm.cells)


def as_arms(rows: Sequence[dict[str, Any]]) -> ComparedArms:
    """Return some runs as arms.

    Args:
        rows: The runs, as `read_run_rows` returns them; from one folder or from several.
    """
    named = [{**row, SWEEP: Path(row["folder"]).parent.name} for row in rows]
    # when and how a run is measured does not change what it is
    told = [{key: value for key, value in row.items() if not key.startswith("diagnostics")} for row in named]
    swept = swept_keys(told)
    if _is_there_twice(named, swept):
        swept = [*swept, SWEEP]
    arms = read_arms(named, swept, [row["run_id"] for row in named]).arms
    if len(arms) == 1 and LEARNING_RATE in swept:
        swept = [key for key in swept if key != LEARNING_RATE]
        arms = tuple(_at_rate(cell.lr, arms[0]) for cell in arms[0].cells)
    return ComparedArms(tuple(named), tuple(swept), arms)


def _is_there_twice(rows: Sequence[Row], swept: Sequence[str]) -> bool:
    """Return whether two folders have runs that nothing tells apart: the same settings and the same seed."""
    keys = {*arm_keys(swept), LEARNING_RATE, SEED}
    places: dict[str, set[str]] = {}
    for row in rows:
        places.setdefault(repr([row.get(key) for key in sorted(keys)]), set()).add(row[SWEEP])
    return any(len(folders) > 1 for folders in places.values())


def _at_rate(lr: float, arm: Arm) -> Arm:
    """Return an arm at one of its learning rates, as an arm of its own."""
    settings = {LEARNING_RATE: lr}
    cells = tuple(cell for cell in arm.cells if cell.lr == lr)
    return Arm(label_of(settings), folder_name(settings), settings, cells)
