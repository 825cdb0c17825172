"""The diagnostics that a run recorded, one table each: layers, facets, steps."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bnlab.diagnostics.cards import Card, cards_by_record
from bnlab.errors import RunError
from bnlab.runfolder.folder import RunFolder
from bnlab.runfolder.index import read_run_rows

FloatArray = npt.NDArray[np.float64]

NETWORK = "network"
"""In place of a layer's role: the key of values of the whole network."""


class Key(NamedTuple):
    """Layer and facet of a value.

    Attributes:
        role: Role of the layer, such as ``hidden1``; ``network`` for a value of the whole network.
        facet: One of several values that a diagnostic has per layer, such as ``mean`` or ``q50``; empty if it has one.
    """

    role: str
    facet: str = ""

    def __str__(self) -> str:
        return f"{self.role}/{self.facet}" if self.facet else self.role


@dataclass(frozen=True)
class Curve:
    """One value over the steps.

    Attributes:
        steps: The steps at which it was measured, rising.
        values: The value at each of them; NaN or infinite where it was recorded so.
    """

    steps: FloatArray
    values: FloatArray

    @property
    def first(self) -> float:
        """The first value."""
        return float(self.values[0])

    @property
    def last(self) -> float:
        """The last value."""
        return float(self.values[-1])

    @property
    def finite(self) -> FloatArray:
        """The values without NaN and infinities."""
        return self.values[np.isfinite(self.values)]


@dataclass(frozen=True)
class Measured:
    """One diagnostic of one run.

    Attributes:
        name: The diagnostic's name of today.
        card: Its unit, healthy range and words; None if its source is not found.
        curves: Layer and facet -> values, in the order of the network; at least one.
    """

    name: str
    card: Card | None
    curves: Mapping[Key, Curve]

    @cached_property
    def roles(self) -> list[str]:
        """The roles of the layers, in the order of the network."""
        return list(dict.fromkeys(key.role for key in self.curves))

    @cached_property
    def facets(self) -> list[str]:
        """The facets, in the order of the records; a single empty one if each layer has one value."""
        return list(dict.fromkeys(key.facet for key in self.curves))

    @cached_property
    def steps(self) -> FloatArray:
        """The steps at which any layer was measured, rising."""
        return np.unique(np.concatenate([curve.steps for curve in self.curves.values()]))

    @property
    def title(self) -> str:
        """The name with spaces, for headings."""
        return self.name.replace("_", " ")

    def unit(self, facet: str = "") -> str:
        """Return the unit of a facet; empty if it is not known."""
        return "" if self.card is None else self.card.unit_of(facet, self.facets)

    def matrix(self, facet: str = "") -> FloatArray:
        """Return a facet's values, (layers, steps); NaN where nothing was measured."""
        values = np.full((len(self.roles), len(self.steps)), math.nan)
        for row, role in enumerate(self.roles):
            curve = self.curves.get(Key(role, facet))
            if curve is not None:
                values[row, np.searchsorted(self.steps, curve.steps)] = curve.values
        return values

    def is_constant(self) -> bool:
        """Return whether no value ever changes, so that a figure would show horizontal lines only."""
        return all(curve.finite.size == 0 or np.ptp(curve.finite) == 0 for curve in self.curves.values())


@dataclass(frozen=True)
class MeasuredRun:
    """One run and its diagnostics.

    Attributes:
        folder: Path of the run's folder.
        row: Settings, status and final figures of the run, as `read_run_rows` returns them.
        measured: Name of a diagnostic -> its values, in the order of the records.
        empty: Names of diagnostics that were measured and gave no value for any layer: they are undefined in this run.
    """

    folder: Path
    row: Mapping[str, Any]
    measured: Mapping[str, Measured]
    empty: tuple[str, ...] = ()

    @property
    def run_id(self) -> str:
        """The run's id: the name of its folder."""
        return self.folder.name

    @property
    def activation(self) -> str | None:
        """Name of the network's activation; None if the config does not say it."""
        name = self.row.get("model.activation")
        return None if name is None else str(name)


def read_measured_run(folder: RunFolder) -> MeasuredRun:
    """Read the diagnostics of a run; of one that was interrupted, those up to its last step.

    Args:
        folder: The folder of the run.

    Raises:
        RunError: The records are damaged.
    """
    rows = read_run_rows(folder.path)
    if not rows:
        raise RunError(f"{folder.path} is being trained anew by another process. Try again in a moment.")
    row = rows[0]
    found: dict[str, dict[Key, list[tuple[int, float]]]] = {}
    for record in folder.read_records():
        if record["kind"] == "diagnostic":
            keys = found.setdefault(record["name"], {})
            odd = {key: float(word) for key, word in record.get("nonfinite", {}).items()}
            for key, value in {**record["values"], **odd}.items():
                role, _, facet = key.partition("/")
                keys.setdefault(Key(role, facet), []).append((record["step"], float(value)))
    names = row.get("diagnostics.names")
    cards = cards_by_record(found, names if isinstance(names, list) else [])
    measured = {name: Measured(name, cards.get(name), _curves(keys)) for name, keys in found.items() if keys}
    return MeasuredRun(folder.path, row, measured, tuple(name for name, keys in found.items() if not keys))


def _curves(keys: Mapping[Key, Iterable[tuple[int, float]]]) -> dict[Key, Curve]:
    curves = {}
    for key, points in keys.items():
        steps, values = np.array(list(points), dtype=float).T
        curves[key] = Curve(steps, values)
    return curves


def quantile_of(facet: str) -> float | None:
    """Return the share that a facet such as ``q15`` stands for; None for facets that are no quantiles.

    Example:
        >>> quantile_of("q15"), quantile_of("mean")
        (0.15, None)
    """
    digits = facet.removeprefix("q")
    return int(digits) / 100 if facet.startswith("q") and digits.isdigit() else None


def spread_out(places: Sequence[Any], most: int) -> list[Any]:
    """Return at most ``most`` of some things, evenly spaced, with the first and the last.

    Example:
        >>> spread_out([1, 2, 3, 4, 5], 3)
        [1, 3, 5]
    """
    if len(places) <= most:
        return list(places)
    chosen = np.linspace(0, len(places) - 1, most).round().astype(int)
    return [places[place] for place in dict.fromkeys(chosen.tolist())]
