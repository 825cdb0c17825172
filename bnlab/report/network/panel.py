"""The rows of a run's panel: per diagnostic the layer that matters most, and its values over time as a sparkline."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bnlab.report.network.out_of_range import OutOfRange, find_out_of_range, healthy_range
from bnlab.report.network.read import NETWORK, Curve, Key, Measured, MeasuredRun

BLOCKS, LETTERS = "▁▂▃▄▅▆▇█", "_.:-=+*#"
"""Eight heights of a sparkline; and the letters for them in a terminal that cannot write the blocks."""

NO_NUMBER = "x"
NO_END = 1e8
"""A healthy range whose upper end is this or more has no upper end."""

LOG_FROM = 100.0
"""Largest over smallest value above which the heights of a sparkline are logarithmic."""


@dataclass(frozen=True)
class PanelRow:
    """One row of the panel.

    Attributes:
        measured: All values of the diagnostic in the run.
        key: The layer and facet that the row shows: the one farthest out of range, else the one nearest to an end of
            the range; for a diagnostic without a range, the one that has changed most.
        curve: The values of that layer and facet.
        verdicts: The diagnostic's verdicts, for layers out of range; empty if none is.
    """

    measured: Measured
    key: Key
    curve: Curve
    verdicts: tuple[OutOfRange, ...]

    @property
    def unit(self) -> str:
        """The unit of the values shown."""
        return self.measured.unit(self.key.facet)

    def as_dict(self) -> dict[str, Any]:
        """Return the diagnostic with all its values, for JSON; NaN and infinities are None."""
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


def panel_rows(run: MeasuredRun) -> list[PanelRow]:
    """Return one row per diagnostic, in the order of the records."""
    verdicts = find_out_of_range(run)
    rows = []
    for name, measured in run.measured.items():
        own = tuple(verdict for verdict in verdicts if verdict.name == name)
        key = _key_that_matters(measured, run.activation, own)
        rows.append(PanelRow(measured, key, measured.curves[key], own))
    return rows


def _key_that_matters(measured: Measured, activation: str | None, verdicts: Sequence[OutOfRange]) -> Key:
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
    """Return the facet that a panel row shows: the median of quantiles, else the first facet."""
    return "q50" if "q50" in measured.facets else measured.facets[0]


def _excess(value: float, healthy: tuple[float, float]) -> float:
    """Return how near a value is to an end of its range: 0 at the end, below 0 inside. Lower ends of 0 do not count."""
    low, high = healthy
    return max((end for end, counts in ((low - value, low > 0), (value - high, high < NO_END)) if counts), default=0.0)


def _motion(curve: Curve) -> float:
    """Return how much a value has changed: |log(last / first)| if both are above 0, else their difference."""
    if not (math.isfinite(curve.first) and math.isfinite(curve.last)):
        return math.inf
    if curve.first > 0 and curve.last > 0:
        return abs(math.log(curve.last / curve.first))
    return abs(curve.last - curve.first)


def sparkline(curve: Curve, width: int, blocks: str = BLOCKS) -> str:
    """Return a sparkline: one character per measured step, or evenly chosen steps if there are more than fit.

    The lowest character is the smallest value, the highest the largest. The scale is logarithmic if the values span
    more than two powers of ten. A value that is not a number is an x.

    Args:
        curve: The values to write.
        width: Largest number of characters, 1 or more.
        blocks: The characters from the lowest height to the highest.

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
    """Return a layer and facet as text, without the word network.

    Example:
        >>> where(Key("hidden1", "q50")), where(Key("network", "running")), where(Key("network"))
        ('hidden1/q50', 'running', '')
    """
    return key.facet if key.role == NETWORK else str(key)
