"""A line of a table as a drawing: an interval, and the bound that it is held against."""

import math
from collections.abc import Callable, Sequence

from markupsafe import Markup

from bnlab.pages.amounts import Unit
from bnlab.studies.bounds import Region

WIDTH, HEIGHT, MARGIN = 144, 16, 4
"""Pixels."""


def draw_strip(
    effect: float | None, low: float | None, high: float | None, region: Region | None, unit: Unit
) -> Markup:
    """Return an effect and its interval as a small SVG; nothing where there is no effect.

    The numbers stand beside it, so that it is hidden from those who listen.

    Args:
        effect: The effect, in the unit of the axis.
        low: The lower end of its interval; None: it is open.
        high: The upper end, alike.
        region: Where the condition holds; None: nobody knows.
        unit: The unit, which says whether the axis is logarithmic.
    """
    ends = [effect, low, high, *((region.low, region.high) if region is not None else ())]
    known = [end for end in ends if end is not None and math.isfinite(end)]
    if effect is None or not math.isfinite(effect):
        return Markup("")
    is_log = unit.is_ratio and min(known) > 0
    null = 1.0 if is_log else 0.0
    if unit.is_difference:
        known.append(null)
    place = _places(known, is_log)
    middle = HEIGHT / 2
    parts = []
    if region is not None:
        left = MARGIN if region.low is None else place(region.low)
        right = WIDTH - MARGIN if region.high is None else place(region.high)
        parts.append(
            f'<rect class="region" x="{left}" y="1" width="{max(right - left, 0):.1f}" height="{HEIGHT - 2}"/>'
        )
    if unit.is_difference:
        parts.append(f'<path class="zero" d="M{place(null)} 1v{HEIGHT - 2}"/>')
    if region is not None:
        edges = [place(end) for end in (region.low, region.high) if end is not None]
        parts += [f'<path class="bound" d="M{edge} 1v{HEIGHT - 2}"/>' for edge in edges]
    if low is not None or high is not None:
        left = 0.0 if low is None else place(low)
        right = float(WIDTH) if high is None else place(high)
        parts.append(f'<path class="bar" d="M{left} {middle:g}H{right}"/>')
    parts.append(f'<circle class="dot" cx="{place(effect)}" cy="{middle:g}" r="3.5"/>')
    svg = f'<svg class="strip" viewBox="0 0 {WIDTH} {HEIGHT}" aria-hidden="true">{"".join(parts)}</svg>'
    return Markup(svg)


def _places(shown: Sequence[float], is_log: bool) -> Callable[[float], float]:
    """Return the function from a value to its place, by which all that is shown has room."""
    scaled = [math.log(value) for value in shown] if is_log else list(shown)
    span = (max(scaled) - min(scaled)) or 1.0
    least, width = min(scaled) - 0.12 * span, 1.24 * span

    def place(value: float) -> float:
        share = ((math.log(value) if is_log else value) - least) / width
        return round(MARGIN + share * (WIDTH - 2 * MARGIN), 1)

    return place
