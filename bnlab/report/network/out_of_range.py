"""Diagnostics of a run that are out of their healthy range, in the words of their cards."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from bnlab.report.network.read import NETWORK, Curve, Key, Measured, MeasuredRun
from bnlab.report.wording import write_value

Side = Literal["low", "high", "not a number"]

_CONTINUES_NUMBER = ("of ", "times ", "in ", "standard deviations ")
"""Beginnings of a card's words that continue the number before them; before all other words stands a comma."""


@dataclass(frozen=True)
class OutOfRange:
    """One diagnostic that is out of range in some layers.

    Attributes:
        name: Name of the diagnostic.
        side: Whether the values are below the range, above it, or NaN.
        values: Layer and facet -> last value, for those that are out of range.
        unit: Unit of the values.
        words: What a value on this side means, as the card says it; empty for NaN.
        since: The step since which all of these values have been out of range.
    """

    name: str
    side: Side
    values: Mapping[Key, float]
    unit: str
    words: str
    since: int

    @property
    def worst(self) -> Key:
        """The layer and facet that is farthest out of range."""
        return max(self.values, key=self._distance)

    @property
    def sentence(self) -> str:
        """The verdict in words: value and meaning for the worst layer, then the values of the others."""
        worst, *others = sorted(self.values, key=self._distance, reverse=True)
        if self.side == "not a number":
            layers = ", ".join(map(str, self.values))
            return f"{layers}: not a number since step {self.since:,}"
        where = "" if worst.role == NETWORK and not worst.facet else f"{str(worst).removeprefix(NETWORK + '/')}: "
        joint = " " if self.words.startswith(_CONTINUES_NUMBER) else ", "
        also = ", ".join(f"{key} {write_value(self.values[key], self.unit)}" for key in others)
        text = f"{where}{write_value(self.values[worst], self.unit)}{joint}{self.words}"
        return f"{text} (also {also})" if also else text

    def as_dict(self) -> dict[str, Any]:
        """Return the verdict as plain values, for JSON; NaN and infinities are None."""
        values = {str(key): value if math.isfinite(value) else None for key, value in self.values.items()}
        return {"name": self.name, "side": self.side, "values": values, "since": self.since, "says": self.sentence}

    def _distance(self, key: Key) -> float:
        if self.side == "not a number":
            return 0.0
        return -self.values[key] if self.side == "low" else self.values[key]


def find_out_of_range(run: MeasuredRun) -> list[OutOfRange]:
    """Return the verdicts on each diagnostic's last values, in the order of the records.

    A diagnostic without a range gets a verdict for NaN only.
    """
    return [verdict for measured in run.measured.values() for verdict in _of_one(measured, run.activation)]


def _of_one(measured: Measured, activation: str | None) -> list[OutOfRange]:
    found: dict[tuple[Side, str], dict[Key, Curve]] = {}
    for key, curve in measured.curves.items():
        side = _side(curve.last, healthy_range(measured, activation, key.facet))
        if side is not None:
            found.setdefault((side, measured.unit(key.facet)), {})[key] = curve
    verdicts = []
    for (side, unit), curves in found.items():
        card = measured.card
        words = "" if card is None or side == "not a number" else card.too_low if side == "low" else card.too_high
        if side != "not a number" and not words:
            words = f"{'below' if side == 'low' else 'above'} the healthy range"
        since = max(
            _since(curve, side, healthy_range(measured, activation, key.facet)) for key, curve in curves.items()
        )
        verdicts.append(
            OutOfRange(measured.name, side, {key: curve.last for key, curve in curves.items()}, unit, words, since)
        )
    return verdicts


def healthy_range(measured: Measured, activation: str | None, facet: str) -> tuple[float, float] | None:
    """Return the healthy range of a facet as (lowest, highest); None if the card has none.

    Args:
        measured: The diagnostic's values and card.
        activation: Name of the network's activation; None if it is not known.
        facet: The facet of the values; empty if each layer has one value.
    """
    return None if measured.card is None else measured.card.healthy_range(activation, facet)


def _side(value: float, healthy: tuple[float, float] | None) -> Side | None:
    if math.isnan(value):
        return "not a number"
    if healthy is None:
        return None
    return "low" if value < healthy[0] else "high" if value > healthy[1] else None


def _since(curve: Curve, side: Side, healthy: tuple[float, float] | None) -> int:
    sides = np.array([_side(value, healthy) == side for value in curve.values.tolist()])
    others = np.flatnonzero(~sides)
    return int(curve.steps[others[-1] + 1 if others.size else 0])
