"""Several runs side by side: final figures, and of each diagnostic the last value where they differ most."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnlab.errors import ConfigError
from bnlab.report.network.labels import Shown
from bnlab.report.network.read import Key, Measured, RunInside, read_inside
from bnlab.report.wording import is_counted_share, write_value
from bnlab.results.query import read_condition
from bnlab.runfolder.figure_paths import comparison_folder
from bnlab.runfolder.finding import find_folder, find_run_folders, runs_root
from bnlab.runfolder.folder import RunFolder
from bnlab.runfolder.index import read_run_rows

MOST_RUNS = 12
"""That a table and a figure can show at a glance."""

FIGURES = ("test_accuracy", "test_loss", "validation_accuracy", "validation_loss", "train_loss")

TELLING_FACTOR, TELLING_POINTS = 2.0, 0.1
"""From which on a difference is marked: largest over smallest value, or between shares."""


@dataclass(frozen=True)
class ComparedRow:
    """One line of the table.

    Attributes:
        name: Of the figure or the diagnostic.
        key: Of the diagnostic: the layer and facet in which the runs differ most. None for a final figure.
        unit: Of the values.
        values: One per run; None where it has none.
    """

    name: str
    key: Key | None
    unit: str
    values: tuple[float | None, ...]

    @property
    def difference(self) -> str:
        """How far the runs are apart: in points, or as a factor; empty where that says nothing."""
        known = [value for value in self.values if value is not None and math.isfinite(value)]
        if len(known) < 2:
            return ""
        low, high = min(known), max(known)
        if is_counted_share(self.unit):
            return f"{100 * (high - low):.1f} points"
        return f"x {write_value(high / low)}" if low > 0 else write_value(high - low)

    @property
    def is_telling(self) -> bool:
        """Whether the runs are far apart, or some of them have no number."""
        known = [value for value in self.values if value is not None]
        if any(not math.isfinite(value) for value in known):
            return True
        if len(known) < 2:
            return False
        if is_counted_share(self.unit):
            return max(known) - min(known) >= TELLING_POINTS
        return min(known) > 0 and max(known) >= TELLING_FACTOR * min(known)


def find_compared(given: Sequence[str], conditions: Sequence[str] = ()) -> list[RunInside]:
    """Return the runs that some names stand for, each once.

    Args:
        given: Runs and sweeps, by name or folder.
        conditions: Which of them, as ``bnlab list runs --where`` takes it.

    Raises:
        ConfigError: Less than two, too many, or nothing was measured inside any.
    """
    folders = {folder.path: folder for name in given for folder in find_run_folders(find_folder(name))}
    chosen = _chosen(list(folders.values()), conditions)
    if len(chosen) < 2:
        raise ConfigError(
            f"compare needs 2 or more runs, {' '.join(given)} {'gives' if chosen else 'holds'} {len(chosen)}. "
            "Name several, or a sweep."
        )
    if len(chosen) > MOST_RUNS:
        raise ConfigError(
            f"compare shows at most {MOST_RUNS} runs, {' '.join(given)} gives {len(chosen)}. Choose some of them: "
            "--where seed=0"
        )
    runs = [read_inside(folder, needed=False) for folder in chosen]
    if not any(run.measured for run in runs):
        raise ConfigError("nothing was measured inside any of these runs. Train them with diagnostics=full.")
    return runs


def _chosen(folders: list[RunFolder], conditions: Sequence[str]) -> list[RunFolder]:
    if not conditions:
        return folders
    rows = [row for folder in folders for row in read_run_rows(folder.path)]
    asked = [read_condition(text, rows) for text in conditions]
    return [RunFolder(Path(row["folder"])) for row in rows if all(condition.holds(row) for condition in asked)]


def folder_of_comparison(given: Sequence[str], shown: Sequence[Shown]) -> Path:
    """Return where the figures of a comparison go if nobody says: beside the sweeps, where no run is looked for.

    Args:
        given: What was asked for.
        shown: The runs.
    """
    first = shown[0].run.folder
    root = runs_root()
    if root not in first.parents:
        root = first.parent
    names = [Path(name).name for name in given] if len(given) == 1 else [each.label for each in shown]
    return comparison_folder(root, names, [each.run.run_id for each in shown])


def compared_figures(runs: Sequence[RunInside]) -> list[ComparedRow]:
    """Return the final figures of some runs."""
    rows = []
    for name in FIGURES:
        values = tuple(_number(run.row.get(name)) for run in runs)
        unit = "share" if name.endswith("accuracy") else "nats per image"
        rows.append(ComparedRow(name, None, unit, values))
    return rows


def compared_diagnostics(runs: Sequence[RunInside]) -> list[ComparedRow]:
    """Return, for each diagnostic, its last value in each run, where they differ most."""
    names = dict.fromkeys(name for run in runs for name in run.measured)
    return [_row(name, [run.measured.get(name) for run in runs]) for name in names]


def _row(name: str, found: Sequence[Measured | None]) -> ComparedRow:
    there = [measured for measured in found if measured is not None]
    keys = list(dict.fromkeys(key for measured in there for key in measured.curves))
    shared = [key for key in keys if all(key in measured.curves for measured in there)]
    key = max(shared or keys, key=lambda key: _apart([_last(measured, key) for measured in there]))
    return ComparedRow(name, key, there[0].unit(key.facet), tuple(_last(measured, key) for measured in found))


def _last(measured: Measured | None, key: Key) -> float | None:
    return None if measured is None or key not in measured.curves else measured.curves[key].last


def _apart(values: Sequence[float | None]) -> float:
    """Return how far values are apart: as a logarithm of their ratio where it can be."""
    known = [value for value in values if value is not None]
    if any(not math.isfinite(value) for value in known):
        return math.inf
    low, high = min(known), max(known)
    return math.log(high / low) if low > 0 else high - low


def compared_as_dict(shown: Sequence[Shown], figures: Sequence[Path]) -> dict[str, Any]:
    """Return a comparison as plain values: of each diagnostic the last value of every layer.

    Args:
        shown: The runs.
        figures: What was drawn.
    """
    return {
        "runs": [
            {
                "run_id": each.run.run_id,
                "label": each.label,
                "folder": str(each.run.folder),
                "status": each.run.row.get("status"),
                **{name: _number(each.run.row.get(name)) for name in FIGURES},
                "last": {
                    name: {str(key): _number(curve.last) for key, curve in measured.curves.items()}
                    for name, measured in each.run.measured.items()
                },
            }
            for each in shown
        ],
        "figures": [str(path) for path in figures],
    }


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
