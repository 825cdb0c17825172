"""What the diagnostics of a run recorded, as one table per diagnostic: layers, facets, steps."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bnlab.diagnostics.cards import Card, cards_by_record, near_or_few
from bnlab.errors import ConfigError
from bnlab.runfolder.folder import RunFolder
from bnlab.runfolder.index import read_run_rows

FloatArray = npt.NDArray[np.float64]

NETWORK = "network"
"""The role of what is said of a network as a whole."""


class Key(NamedTuple):
    """What a value is of.

    Attributes:
        role: Of the layer, or ``network``.
        facet: Which of several figures; empty where there is one.
    """

    role: str
    facet: str = ""

    def __str__(self) -> str:
        return f"{self.role}/{self.facet}" if self.facet else self.role


@dataclass(frozen=True)
class Curve:
    """One value over time.

    Attributes:
        steps: Those at which it was measured, rising.
        values: As many; NaN or infinite where it was.
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
        """The values that are numbers."""
        return self.values[np.isfinite(self.values)]


@dataclass(frozen=True)
class Measured:
    """What one diagnostic said in one run.

    Attributes:
        name: Of the diagnostic.
        card: What it says of itself; None where its source is not found.
        curves: By layer and facet, in the order of the network; at least one.
    """

    name: str
    card: Card | None
    curves: Mapping[Key, Curve]

    @cached_property
    def roles(self) -> list[str]:
        """The layers, in order."""
        return list(dict.fromkeys(key.role for key in self.curves))

    @cached_property
    def facets(self) -> list[str]:
        """The facets, in order; one that is empty where there are none."""
        return list(dict.fromkeys(key.facet for key in self.curves))

    @cached_property
    def steps(self) -> FloatArray:
        """All steps at which anything was measured."""
        return np.unique(np.concatenate([curve.steps for curve in self.curves.values()]))

    @property
    def title(self) -> str:
        """Its name as one reads it."""
        return self.name.replace("_", " ")

    def unit(self, facet: str = "") -> str:
        """Return the unit of a facet; empty where nothing is known."""
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
        """Return whether all values of each layer and facet are the same, so that a figure would show nothing."""
        return all(curve.finite.size == 0 or np.ptp(curve.finite) == 0 for curve in self.curves.values())


@dataclass(frozen=True)
class RunInside:
    """What was seen inside one run.

    Attributes:
        folder: The run's.
        row: What it is and how it ended, as `read_run_rows` says it.
        measured: By the diagnostics' names, in the order of the records.
    """

    folder: Path
    row: Mapping[str, Any]
    measured: Mapping[str, Measured]

    @property
    def run_id(self) -> str:
        """Name of its folder."""
        return self.folder.name

    @property
    def activation(self) -> str | None:
        """Name of its nonlinearity."""
        name = self.row.get("model.activation")
        return None if name is None else str(name)

    def pick(self, name: str) -> Measured:
        """Return what one diagnostic said.

        Raises:
            ConfigError: It said nothing in this run.
        """
        if name not in self.measured:
            raise ConfigError(f"{self.run_id} has no diagnostic {name}. {near_or_few(name, self.measured)}")
        return self.measured[name]


def read_inside(folder: RunFolder, needed: bool = True) -> RunInside:
    """Read what the diagnostics of a run recorded, as far as it came.

    Args:
        folder: The run's.
        needed: Whether it is an error if they recorded nothing.

    Raises:
        ConfigError: They recorded nothing.
        RunError: The records are damaged.
    """
    (row,) = read_run_rows(folder.path)
    found: dict[str, dict[Key, list[tuple[int, float]]]] = {}
    for record in folder.read_records():
        if record["kind"] == "diagnostic":
            keys = found.setdefault(record["name"], {})
            odd = {key: float(word) for key, word in record.get("nonfinite", {}).items()}
            for key, value in {**record["values"], **odd}.items():
                role, _, facet = key.partition("/")
                keys.setdefault(Key(role, facet), []).append((record["step"], float(value)))
    if needed and not any(found.values()):
        raise ConfigError(
            f"nothing was measured inside {folder.path.name}. Train it with instruments: the same command with "
            "diagnostics=full, or --again if it had them."
        )
    names = row.get("diagnostics.names")
    cards = cards_by_record(found, names if isinstance(names, list) else [])
    measured = {name: Measured(name, cards.get(name), _curves(keys)) for name, keys in found.items() if keys}
    return RunInside(folder.path, row, measured)


def _curves(keys: Mapping[Key, Iterable[tuple[int, float]]]) -> dict[Key, Curve]:
    curves = {}
    for key, points in keys.items():
        steps, values = np.array(list(points), dtype=float).T
        curves[key] = Curve(steps, values)
    return curves


def quantile_of(facet: str) -> float | None:
    """Return the share that a quantile's facet names; None for other facets.

    Example:
        >>> quantile_of("q15"), quantile_of("mean")
        (0.15, None)
    """
    digits = facet.removeprefix("q")
    return int(digits) / 100 if facet.startswith("q") and digits.isdigit() else None


def spread_out(places: Sequence[Any], most: int) -> list[Any]:
    """Return at most so many of some things, evenly, the first and the last among them.

    Example:
        >>> spread_out([1, 2, 3, 4, 5], 3)
        [1, 3, 5]
    """
    if len(places) <= most:
        return list(places)
    chosen = np.linspace(0, len(places) - 1, most).round().astype(int)
    return [places[place] for place in dict.fromkeys(chosen.tolist())]
