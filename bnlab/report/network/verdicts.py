"""What is out of range inside a run, in words: ranges and words are those of the diagnostics' cards."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from bnlab.report.network.read import NETWORK, Curve, Key, Measured, RunInside
from bnlab.report.wording import write_value

Side = Literal["low", "high", "not a number"]

_GOES_ON = ("of ", "times ", "in ", "standard deviations ")
"""Beginnings of a verdict's words that belong to the number; before all others stands a comma."""


@dataclass(frozen=True)
class Verdict:
    """One diagnostic that is out of range in some layers.

    Attributes:
        name: Of the diagnostic.
        side: Below the range, above it, or no number at all.
        values: Layer and facet -> the last value, of those that are out.
        unit: Of the values.
        words: What it means.
        since: The step since which all of these have been out of range.
    """

    name: str
    side: Side
    values: Mapping[Key, float]
    unit: str
    words: str
    since: int

    @property
    def worst(self) -> Key:
        """The layer that is farthest out."""
        return max(self.values, key=self._distance)

    @property
    def sentence(self) -> str:
        """The verdict in words; the worst layer speaks, the others are named."""
        worst, *others = sorted(self.values, key=self._distance, reverse=True)
        if self.side == "not a number":
            layers = ", ".join(map(str, self.values))
            return f"{layers}: not a number since step {self.since:,}"
        where = "" if worst.role == NETWORK and not worst.facet else f"{str(worst).removeprefix(NETWORK + '/')}: "
        joint = " " if self.words.startswith(_GOES_ON) else ", "
        also = ", ".join(f"{key} {write_value(self.values[key], self.unit)}" for key in others)
        told = f"{where}{write_value(self.values[worst], self.unit)}{joint}{self.words}"
        return f"{told} (also {also})" if also else told

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values; what is not a number is None."""
        values = {str(key): value if math.isfinite(value) else None for key, value in self.values.items()}
        return {"name": self.name, "side": self.side, "values": values, "since": self.since, "says": self.sentence}

    def _distance(self, key: Key) -> float:
        if self.side == "not a number":
            return 0.0
        return -self.values[key] if self.side == "low" else self.values[key]


def verdicts_of(run: RunInside) -> list[Verdict]:
    """Return what is out of range at the last step at which it was measured, in the order of the records.

    A diagnostic that says no range is never out of it, but NaN is for each of them.
    """
    return [verdict for measured in run.measured.values() for verdict in _of_one(measured, run.activation)]


def _of_one(measured: Measured, activation: str | None) -> list[Verdict]:
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
            Verdict(measured.name, side, {key: curve.last for key, curve in curves.items()}, unit, words, since)
        )
    return verdicts


def healthy_range(measured: Measured, activation: str | None, facet: str) -> tuple[float, float] | None:
    """Return the range that needs no comment; None where nothing is said.

    Args:
        measured: What a diagnostic said.
        activation: Name of the network's.
        facet: Of its values.
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
