"""The comparison of several runs: final figures, and each diagnostic's last value where the runs differ most."""

import logging
import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnlab.errors import ConfigError, RunError
from bnlab.report.network.absent import absent_of
from bnlab.report.network.labels import LabeledRun
from bnlab.report.network.read import Key, Measured, MeasuredRun, read_measured_run
from bnlab.report.wording import is_counted_share, write_value
from bnlab.results.query import read_condition
from bnlab.results.sweep import leave_out_others
from bnlab.results.swept import swept_keys
from bnlab.runfolder.figure_paths import comparison_folder
from bnlab.runfolder.finding import find_folder, find_run_folders, runs_root
from bnlab.runfolder.folder import RunFolder
from bnlab.runfolder.index import read_run_rows

_log = logging.getLogger("bnlab")

MOST_RUNS = 12
"""Runs side by side, at most: more do not fit into a table and a figure, and are compared by their arms."""

PLAIN_VALUES = (str, int, float)
"""Types of the values of a setting that a condition can name."""

FIGURES = ("test_accuracy", "test_loss", "validation_accuracy", "validation_loss", "train_loss")

TELLING_FACTOR, TELLING_POINTS = 2.0, 0.1
"""Least difference that is marked: largest over smallest value; for shares, largest minus smallest."""


@dataclass(frozen=True)
class ComparedRow:
    """One line of the table.

    Attributes:
        name: Name of a final figure, such as ``test_accuracy``, or of a diagnostic.
        key: The layer and facet in which the runs differ most; None for a final figure.
        unit: Unit of the values, in words.
        values: One value per run; None for a run without it.
    """

    name: str
    key: Key | None
    unit: str
    values: tuple[float | None, ...]

    @property
    def difference(self) -> str:
        """Largest against smallest value: in points for shares, else as a factor; empty with fewer than two values."""
        known = [value for value in self.values if value is not None and math.isfinite(value)]
        if len(known) < 2:
            return ""
        low, high = min(known), max(known)
        if is_counted_share(self.unit):
            return f"{100 * (high - low):.1f} points"
        return f"x {write_value(high / low)}" if low > 0 else write_value(high - low)

    @property
    def is_telling(self) -> bool:
        """Whether the difference is large enough to be marked, or a value is not a number."""
        known = [value for value in self.values if value is not None]
        if any(not math.isfinite(value) for value in known):
            return True
        if len(known) < 2:
            return False
        if is_counted_share(self.unit):
            return max(known) - min(known) >= TELLING_POINTS
        return min(known) > 0 and max(known) >= TELLING_FACTOR * min(known)


def find_compared(given: Sequence[str], conditions: Sequence[str] = ()) -> list[MeasuredRun]:
    """Return the runs to compare, each once.

    Args:
        given: Runs and sweeps, by name or folder.
        conditions: Conditions that the runs must meet, as ``bnlab list runs --where`` takes them; none: all runs.

    Raises:
        ConfigError: They are fewer than two that can be read, or too many.
    """
    chosen = choose_runs(given, conditions)
    if len(chosen) < 2:
        raise ConfigError(
            f"compare needs 2 or more runs, {' '.join(given)} {'gives' if chosen else 'holds'} {len(chosen)}. "
            "Name several, or a sweep."
        )
    if len(chosen) > MOST_RUNS:
        raise ConfigError(
            f"compare shows at most {MOST_RUNS} runs side by side, {' '.join(given)} gives {len(chosen)}. Choose "
            "some of them: " + _conditions_for_few([row for folder in chosen for row in read_run_rows(folder.path)])
        )
    runs = []
    for folder in chosen:
        try:
            runs.append(read_measured_run(folder))
        except RunError as error:
            _log.warning("%s is left out: %s", folder.path.name, error)
    if len(runs) < 2:
        raise ConfigError(f"compare needs 2 or more runs: {len(chosen) - len(runs)} of {len(chosen)} cannot be read.")
    return runs


def choose_runs(given: Sequence[str], conditions: Sequence[str] = ()) -> list[RunFolder]:
    """Return the runs that words name, each once.

    Args:
        given: Runs and sweeps, by name or folder.
        conditions: Conditions that the runs must meet, as ``bnlab list runs --where`` takes them; none: all runs.

    Raises:
        ConfigError: There is no such folder, or a condition is none.
    """
    folders = {folder.path: folder for name in given for folder in _runs_at(find_folder(name))}
    return _chosen(list(folders.values()), conditions)


def _runs_at(place: Path) -> list[RunFolder]:
    """Return the run at a path, or the runs below it; of a sweep's folder, those that belong to the sweep."""
    found = find_run_folders(place)
    named = set(leave_out_others(place, [folder.path.name for folder in found if folder.path.parent == place]))
    return [folder for folder in found if folder.path.parent != place or folder.path.name in named]


def _conditions_for_few(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return options that leave as many of too many runs as can be compared: one value of each of a few settings."""
    conditions, left = [], list(rows)
    # the seed first: arms at equal seeds are what one wants to compare
    for key in sorted(swept_keys(rows), key=lambda key: key != "seed"):
        if len(left) <= MOST_RUNS:
            break
        by_value: dict[Any, list[Mapping[str, Any]]] = {}
        for row in left:
            by_value.setdefault(row.get(key), []).append(row)
        allowed = [value for value, of_one in by_value.items() if len(of_one) > 1 and isinstance(value, PLAIN_VALUES)]
        if len(by_value) > 1 and allowed:
            value = next((one for one in allowed if len(by_value[one]) <= MOST_RUNS), allowed[0])
            left = by_value[value]
            conditions.append(f"--where {shlex.quote(f'{key}={value}')}")
    return " ".join(conditions) if len(left) <= MOST_RUNS else "name each by its folder."


def say_what_measures(runs: Sequence[MeasuredRun]) -> str:
    """Return how to train one of some runs with diagnostics; empty if one has any, if only as undefined."""
    if any(run.measured or run.empty for run in runs):
        return ""
    from bnlab.report.network.recording import command_that_records  # noqa: PLC0415  (Hydra; hardly ever needed)

    names = runs[0].run_id if len(runs) == 1 else "any of these runs"
    command = command_that_records(runs[0].folder, ()) or "the same command with diagnostics=full"
    which = "" if len(runs) == 1 else ", of the first"
    return f"No diagnostic is recorded in {names}. This measures all of them{which}: {command}"


def _chosen(folders: list[RunFolder], conditions: Sequence[str]) -> list[RunFolder]:
    if not conditions:
        return folders
    rows = [row for folder in folders for row in read_run_rows(folder.path)]
    asked = [read_condition(text, rows) for text in conditions]
    return [RunFolder(Path(row["folder"])) for row in rows if all(condition.holds(row) for condition in asked)]


def folder_of_comparison(given: Sequence[str], runs: Sequence[LabeledRun]) -> Path:
    """Return the folder for the figures of a comparison, if none is named: beside the sweeps.

    Args:
        given: The names that the user typed.
        runs: The runs that these names stand for.
    """
    first = runs[0].run.folder
    root = runs_root()
    if root not in first.parents:
        root = first.parent
    names = [Path(name).name for name in given] if len(given) == 1 else [each.label for each in runs]
    return comparison_folder(root, names, [each.run.run_id for each in runs])


def folder_of_arms(given: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> Path:
    """Return the folder for the figures of a comparison of arms, if none is named: beside the sweeps.

    Args:
        given: The names that the user typed.
        rows: The runs that these names stand for.
    """
    place = Path(rows[0]["folder"])
    root = runs_root() if runs_root() in place.parents else place.parent
    return comparison_folder(root, [Path(name).name for name in given], [row["run_id"] for row in rows])


def compared_figures(runs: Sequence[MeasuredRun]) -> list[ComparedRow]:
    """Return a row per final figure."""
    rows = []
    for name in FIGURES:
        values = tuple(_number(run.row.get(name)) for run in runs)
        unit = "share" if name.endswith("accuracy") else "nats per image"
        rows.append(ComparedRow(name, None, unit, values))
    return rows


def compared_diagnostics(runs: Sequence[MeasuredRun]) -> list[ComparedRow]:
    """Return a row per diagnostic: its last value in each run, in the layer where the runs differ most."""
    names = dict.fromkeys(name for run in runs for name in run.measured)
    return [_row(name, [run.measured.get(name) for run in runs]) for name in names]


def names_of_any(runs: Iterable[MeasuredRun]) -> list[str]:
    """Return the names of all diagnostics that any run has recorded, undefined ones too, each once."""
    return list(dict.fromkeys(name for run in runs for name in (*run.measured, *run.empty)))


def _row(name: str, found: Sequence[Measured | None]) -> ComparedRow:
    there = [measured for measured in found if measured is not None]
    keys = list(dict.fromkeys(key for measured in there for key in measured.curves))
    shared = [key for key in keys if all(key in measured.curves for measured in there)]
    key = max(shared or keys, key=lambda key: _apart([_last(measured, key) for measured in there]))
    return ComparedRow(name, key, there[0].unit(key.facet), tuple(_last(measured, key) for measured in found))


def _last(measured: Measured | None, key: Key) -> float | None:
    return None if measured is None or key not in measured.curves else measured.curves[key].last


def _apart(values: Sequence[float | None]) -> float:
    """Return the difference of the largest and smallest value: as a logarithm of their ratio if both are above 0."""
    known = [value for value in values if value is not None]
    if any(not math.isfinite(value) for value in known):
        return math.inf
    low, high = min(known), max(known)
    return math.log(high / low) if low > 0 else high - low


def compared_as_dict(
    runs: Sequence[LabeledRun], figures: Sequence[Path], names: Sequence[str] | None = None
) -> dict[str, Any]:
    """Return a comparison as plain values, for JSON: each diagnostic's last value in every layer.

    Args:
        runs: The compared runs, with their labels.
        figures: Paths of the figures that were drawn.
        names: The diagnostics to return; None: all that any of the runs has.
    """
    wanted = names_of_any(each.run for each in runs) if names is None else names
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
                    if name in wanted
                },
                "absent": {absent.name: absent.as_dict() for absent in absent_of(each.run, wanted)},
            }
            for each in runs
        ],
        "figures": [str(path) for path in figures],
    }


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
