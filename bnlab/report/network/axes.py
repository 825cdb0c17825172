"""Axes and colors that the figures of a network share: steps, values, healthy ranges, colors of layers and steps."""

import math
from collections.abc import Iterable, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap, to_hex
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    LogFormatterSciNotation,
    LogLocator,
    MaxNLocator,
    NullFormatter,
)

from bnlab.report.network.read import FloatArray
from bnlab.report.palette import LINE, QUIET
from bnlab.report.wording import is_counted_share

EARLY_SHARE, EARLY_STEPS = 0.1, 0.2
"""If more than a fifth of the steps lie in the first tenth, they were measured log-spaced, and are drawn so."""

LOG_FROM = 50.0
"""Largest over smallest value above which positive values are drawn on a log scale."""

LEAST_SHARE = 1e-9
"""Share of the largest value: smaller values do not stretch a log scale."""

SHORT_LOG = 2e3
"""End over beginning of a log scale below which 2 and 5 have numbers too."""

MOST_LABELS = 10
"""Layers up to which a legend names all."""


def layer_colors(count: int) -> list[str]:
    """Return a color per layer, dark for the first to light for the last: an order that shows in gray print too.

    Args:
        count: Number of layers, 0 or more; a diagnostic of the whole network has none.
    """
    return _sampled(mpl.colormaps["viridis"], count, 0.0, 0.87)


def step_map() -> Colormap:
    """Return the colors of steps, light for the first to dark for the last."""
    return LinearSegmentedColormap.from_list("steps", _sampled(mpl.colormaps["plasma_r"], 64, 0.12, 1.0))


def _sampled(colors: Colormap, count: int, low: float, high: float) -> list[str]:
    return [to_hex(colors(place)) for place in np.linspace(low, high, count)]


def are_log_spaced(steps: FloatArray) -> bool:
    """Return whether so many steps are early ones that they belong on a log scale."""
    return bool(len(steps) > 4 and np.mean(steps <= EARLY_SHARE * steps.max()) > EARLY_STEPS)


def scale_steps(axes: Axes, steps: FloatArray, *, wide: bool = True) -> None:
    """Set the horizontal axis: steps, on a log scale that has room for step 0 if they were measured log-spaced.

    Args:
        axes: The panel to scale.
        steps: All steps that the figure shows.
        wide: Whether the panel is wide enough for numbers at 1, 3, 10, 30 ...; else at powers of ten.
    """
    last = float(steps.max())
    if are_log_spaced(steps):
        axes.set_xscale("function", functions=(_log_with_zero, np.expm1))
        ticks = [0.0, *(10.0**power for power in range(math.ceil(math.log10(last + 1)) + 1) if 10.0**power <= last)]
        if wide:
            ticks += [3 * tick for tick in ticks if 0 < 3 * tick <= last]
        axes.xaxis.set_major_locator(FixedLocator(sorted(ticks)))
        axes.xaxis.set_minor_locator(FixedLocator([]))
        axes.set_xlim(-0.25, last * 1.06)
    else:
        margin = 0.02 * max(last, 1)
        axes.set_xlim(-margin, last + margin)
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))


def _log_with_zero(step: FloatArray) -> FloatArray:
    return np.log1p(np.maximum(step, -0.9))


def scale_values(panels: Iterable[Axes], values: FloatArray, unit: str) -> bool:
    """Give panels the same vertical axis; return whether it is logarithmic.

    Args:
        panels: Panels that show values of one unit.
        values: All values that these panels show.
        unit: The unit, in words; shares of counted things are written in percent, and never on a log scale.
    """
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    as_log = low >= 0 and high > 0 and not is_counted_share(unit) and _spread_of(finite) > LOG_FROM
    if as_log:
        least = float(finite[finite > high * LEAST_SHARE].min())
        low, high = least / 1.5, high * 1.5
    else:
        low = 0.0 if is_counted_share(unit) or 0 <= low < 0.5 * high else low
        high = high if high > low or high != 0 else 0.1 if is_counted_share(unit) else 1.0
        margin = 0.06 * ((high - low) or abs(high))
        low, high = low - margin / (2 if low == 0 else 1), high + margin  # so that a line at zero is seen
    for axes in panels:
        if as_log:
            axes.set_yscale("log")
            is_short = high / low < SHORT_LOG
            axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if is_short else (1.0,), numticks=8))
            axes.yaxis.set_major_formatter(
                FuncFormatter(lambda value, _: f"{value:g}") if is_short else LogFormatterSciNotation()
            )
            axes.yaxis.set_minor_formatter(NullFormatter())
        elif is_counted_share(unit):
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g}%"))
        axes.set_ylim(low, high)
    return as_log


def _spread_of(values: FloatArray) -> float:
    positive = values[values > 0]
    return float(positive.max() / positive.min()) if positive.size else 0.0


def mark_range(axes: Axes, healthy: tuple[float, float] | None) -> bool:
    """Draw the ends of the healthy range that lie within a panel; return whether one does."""
    bottom, top = axes.get_ylim()
    ends = [end for end in healthy or () if bottom < end < top]
    for end in ends:
        axes.axhline(end, color=QUIET, linewidth=0.9, dashes=(6, 2), zorder=1, label="_range")
    return bool(ends)


def layer_entries(roles: Sequence[str]) -> dict[str, tuple[str, tuple[float, ...]]]:
    """Return the legend of layers: name -> color and dashes; of many layers, five of them."""
    colors = dict(zip(roles, layer_colors(len(roles)), strict=True))
    if len(roles) > MOST_LABELS:
        chosen = {roles[place] for place in np.linspace(0, len(roles) - 1, 5).round().astype(int)}
        colors = {role: color for role, color in colors.items() if role in chosen}
    return {role: (color, ()) for role, color in colors.items()}


def every_so_many(count: int, most: int) -> list[int]:
    """Return the places that get a name: all if at most ``most``, else every second, third ... from the first.

    Example:
        >>> every_so_many(3, 5), every_so_many(7, 3)
        ([0, 1, 2], [0, 3, 6])
    """
    return list(range(0, count, -(-count // most)))


def grid_lines(axes: Axes) -> None:
    """Draw thin lines at the numbers of the vertical axis."""
    axes.grid(axis="y", color=LINE, linewidth=0.5, alpha=0.7)
    axes.set_axisbelow(True)
