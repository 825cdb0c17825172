"""The needles of a run's panel: of each diagnostic the layer that matters most, and its course in a few characters."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bnlab.report.network.read import NETWORK, Curve, Key, Measured, RunInside
from bnlab.report.network.verdicts import Verdict, healthy_range, verdicts_of

BLOCKS, LETTERS = "▁▂▃▄▅▆▇█", "_.:-=+*#"
"""Eight heights, and what stands for them where blocks cannot be written."""

NO_NUMBER = "x"
NO_END = 1e8
"""An end of a range from which on there is none."""

LOG_FROM = 100.0
"""Largest over smallest value from which on heights are logarithmic."""


@dataclass(frozen=True)
class Needle:
    """One row of the panel.

    Attributes:
        measured: The diagnostic.
        key: The layer and facet that matter most: the farthest out of range, else that which has moved most.
        curve: Its course.
        verdicts: What is out of range in any layer.
    """

    measured: Measured
    key: Key
    curve: Curve
    verdicts: tuple[Verdict, ...]

    @property
    def unit(self) -> str:
        """Of the values."""
        return self.measured.unit(self.key.facet)

    def as_dict(self) -> dict[str, Any]:
        """Return the diagnostic with all its values; those that are no numbers are None."""
        return {
            "name": self.measured.name,
            "unit": None if self.measured.card is None else self.measured.card.unit,
            "shown": str(self.key),
            "values": {
                str(key): {
                    "steps": curve.steps.astype(int).tolist(),
                    "values": [value if math.isfinite(value) else None for value in curve.values.tolist()],
                }
                for key, curve in self.measured.curves.items()
            },
        }


def needles_of(run: RunInside) -> list[Needle]:
    """Return one needle per diagnostic, in the order of the records."""
    verdicts = verdicts_of(run)
    needles = []
    for name, measured in run.measured.items():
        own = tuple(verdict for verdict in verdicts if verdict.name == name)
        key = _key_that_matters(measured, run.activation, own)
        needles.append(Needle(measured, key, measured.curves[key], own))
    return needles


def _key_that_matters(measured: Measured, activation: str | None, verdicts: Sequence[Verdict]) -> Key:
    for verdict in verdicts:
        return verdict.worst
    ranges = {key: healthy_range(measured, activation, key.facet) for key in measured.curves}
    if any(ranges.values()):
        return max(
            (key for key, healthy in ranges.items() if healthy is not None),
            key=lambda key: _excess(measured.curves[key].last, ranges[key] or (0.0, 0.0)),
        )
    facet = main_facet(measured)
    return max((key for key in measured.curves if key.facet == facet), key=lambda key: _motion(measured.curves[key]))


def main_facet(measured: Measured) -> str:
    """Return the facet that speaks for a diagnostic: the median, where there are quantiles; else the first."""
    return "q50" if "q50" in measured.facets else measured.facets[0]


def _excess(value: float, healthy: tuple[float, float]) -> float:
    """Return how near a value is to an end of its range, from within; an end of 0 or less is never neared."""
    low, high = healthy
    return max((end for end, counts in ((low - value, low > 0), (value - high, high < NO_END)) if counts), default=0.0)


def _motion(curve: Curve) -> float:
    """Return how far a value has moved, in powers of e where it can be."""
    if not (math.isfinite(curve.first) and math.isfinite(curve.last)):
        return math.inf
    if curve.first > 0 and curve.last > 0:
        return abs(math.log(curve.last / curve.first))
    return abs(curve.last - curve.first)


def sparkline(curve: Curve, width: int, blocks: str = BLOCKS) -> str:
    """Return a curve as characters of eight heights, one per measured step, or evenly chosen ones if there are many.

    From its least value to its most; on a log scale if it spans much. What is not a number is an x.

    Args:
        curve: What.
        width: Characters at most.
        blocks: From the lowest to the highest.

    Example:
        >>> sparkline(Curve(np.arange(4.0), np.array([0.0, 1.0, np.nan, 7.0])), 8)
        '▁▂x█'
    """
    places = np.linspace(0, len(curve.values) - 1, min(width, len(curve.values))).round().astype(int)
    values, finite = curve.values[places], curve.finite
    if not finite.size:
        return NO_NUMBER * len(values)
    low, high = float(finite.min()), float(finite.max())
    if low > 0 and high > LOG_FROM * low:
        values, low, high = np.log(values), math.log(low), math.log(high)
    span = (high - low) or 1.0
    heights = [(value - low) / span if math.isfinite(value) else math.nan for value in values.tolist()]
    return "".join(NO_NUMBER if math.isnan(h) else blocks[min(int(h * len(blocks)), len(blocks) - 1)] for h in heights)


def where(key: Key) -> str:
    """Return a layer and facet as one reads them; the network goes without saying.

    Example:
        >>> where(Key("hidden1", "q50")), where(Key("network", "running")), where(Key("network"))
        ('hidden1/q50', 'running', '')
    """
    return key.facet if key.role == NETWORK else str(key)
