"""What the figures of a run's inside share: their head, their axes, the colors of layers, runs and steps."""

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogFormatterSciNotation, LogLocator, NullFormatter

from bnlab.report.network.read import FloatArray, Measured
from bnlab.report.palette import INK, LARGE, LINE, QUIET, SMALL, USUAL
from bnlab.report.style import frame, new_figure
from bnlab.report.wording import is_counted_share

WIDTH = 11.0
"""Inches: a text's width, as the other figures."""

LEFT, RIGHT = 0.85, 0.25
"""Inches beside the panels."""

LETTERS = 135
"""Of a line of the head."""

EARLY_SHARE, EARLY_STEPS = 0.1, 0.2
"""More than a fifth of the steps in the first tenth: they were measured log-spaced, and are drawn so."""

LOG_FROM = 50.0
"""Largest over smallest value from which on positive values are drawn on a log scale."""

LEAST_SHARE = 1e-9
"""Of the largest value: what is smaller does not stretch a log scale."""

SHORT_LOG = 2e3
"""End over beginning of a log scale up to which 2 and 5 have numbers too."""

MOST_LABELS = 10
"""Layers that a legend names one by one."""


def layer_colors(count: int) -> list[str]:
    """Return a color per layer, from the first, dark, to the last, light: an order that gray and any eye can see.

    Args:
        count: Number of layers, 0 or more; what is measured of the network as a whole has none.
    """
    return _sampled(mpl.colormaps["viridis"], count, 0.0, 0.87)


def step_map() -> Colormap:
    """Return the colors of steps, from the first, light, to the last, dark."""
    return LinearSegmentedColormap.from_list("steps", _sampled(mpl.colormaps["plasma_r"], 64, 0.12, 1.0))


def _sampled(colors: Colormap, count: int, low: float, high: float) -> list[str]:
    return [to_hex(colors(place)) for place in np.linspace(low, high, count)]


def new_grid(
    rows: int,
    columns: int,
    height: float,
    *,
    above: float,
    below: float = 0.6,
    gap: tuple[float, float] = (0.55, 0.45),
    right: float = RIGHT,
    left: float = LEFT,
) -> tuple[Figure, list[list[Axes]]]:
    """Return a figure and its panels, row by row, all of one size.

    Args:
        rows: Of panels.
        columns: Of panels.
        height: Of a panel, in inches, as all that follows.
        above: Room for the head.
        below: Room for the numbers of the lowest axis.
        gap: Between panels, sideways and up.
        right: Room on the right.
        left: Room on the left.
    """
    total = above + rows * height + (rows - 1) * gap[1] + below
    figure = new_figure(WIDTH, total)
    width = (WIDTH - left - right - (columns - 1) * gap[0]) / columns
    panels = []
    for row in range(rows):
        bottom = total - above - (row + 1) * height - row * gap[1]
        panels.append(
            [
                figure.add_axes(
                    (
                        (left + column * (width + gap[0])) / WIDTH,
                        bottom / total,
                        width / WIDTH,
                        height / total,
                    )
                )
                for column in range(columns)
            ]
        )
    for axes in (axes for row in panels for axes in row):
        frame(axes)
    return figure, panels


def head_lines(measured: Measured) -> list[str]:
    """Return what stands below a figure's title: what the diagnostic is, in one sentence."""
    text = measured.card.summary if measured.card is not None else ""
    return textwrap.wrap(text, LETTERS)


def head_height(lines: Sequence[str], extra: float = 0.0) -> float:
    """Return the room that a head takes, in inches."""
    return 0.52 + 0.19 * len(lines) + 0.28 + extra


def head(figure: Figure, title: str, lines: Sequence[str], right: str, left: float = 0.25) -> None:
    """Write what a figure shows above it, and whose it is."""
    height = figure.get_figheight()
    figure.text(left / WIDTH, 1 - 0.32 / height, title, fontsize=LARGE, color=INK, weight="bold")
    figure.text(1 - 0.25 / WIDTH, 1 - 0.32 / height, right, fontsize=USUAL, color=QUIET, ha="right")
    for number, line in enumerate(lines):
        figure.text(left / WIDTH, 1 - (0.54 + 0.19 * number) / height, line, fontsize=USUAL, color=QUIET)


def foot(figure: Figure, text: str) -> None:
    """Write below a figure how its signs are read."""
    figure.text(0.25 / WIDTH, 0.09 / figure.get_figheight(), text, fontsize=SMALL, color=QUIET)


def panel_title(axes: Axes, text: str, color: str = INK) -> None:
    """Say above a panel what it shows."""
    axes.set_title(text, loc="left", fontsize=USUAL, color=color, pad=4)


def are_log_spaced(steps: FloatArray) -> bool:
    """Return whether so many of some steps are early ones that they belong on a log scale."""
    return bool(len(steps) > 4 and np.mean(steps <= EARLY_SHARE * steps.max()) > EARLY_STEPS)


def scale_steps(axes: Axes, steps: FloatArray, *, named: bool = True, wide: bool = True) -> None:
    """Set the horizontal axis: steps, on a log scale that has room for step 0 if they were measured log-spaced.

    Args:
        axes: Of the panel.
        steps: All that the figure shows.
        named: Whether to write what it is.
        wide: Whether there is room for many numbers.
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
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
    if named:
        axes.set_xlabel("step", color=INK, fontsize=USUAL)


def _log_with_zero(step: FloatArray) -> FloatArray:
    return np.log1p(np.maximum(step, -0.9))


def scale_values(panels: Iterable[Axes], values: FloatArray, unit: str) -> bool:
    """Give panels the same vertical axis; return whether it is logarithmic.

    Args:
        panels: Of one unit.
        values: All that they show.
        unit: Of the values.
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
    """Draw the ends of the healthy range that lie within a panel; return whether there is one."""
    bottom, top = axes.get_ylim()
    ends = [end for end in healthy or () if bottom < end < top]
    for end in ends:
        axes.axhline(end, color=QUIET, linewidth=0.9, dashes=(6, 2), zorder=1, label="_range")
    return bool(ends)


def legend(figure: Figure, entries: Mapping[str, tuple[str, tuple[float, ...]]], down: float) -> None:
    """Name colors in one row below the head.

    Args:
        figure: Whose.
        entries: Name -> color and dashes.
        down: Inches from the top.
    """
    handles = [Line2D([], [], color=color, linewidth=2.0, label=name) for name, (color, _) in entries.items()]
    for handle, (_, dashes) in zip(handles, entries.values(), strict=True):
        if dashes:
            handle.set_dashes(dashes)
    columns = legend_columns(list(entries))
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(0.17 / WIDTH, 1 - down / figure.get_figheight()),
        ncols=columns,
        frameon=False,
        fontsize=USUAL,
        labelcolor=INK,
        handlelength=1.8,
        columnspacing=1.4,
        borderaxespad=0,
    )


def legend_columns(names: Sequence[str]) -> int:
    """Return how many entries of a legend stand side by side."""
    widest = max((len(name) for name in names), default=1)
    return max(1, min(len(names), LETTERS // (widest + 6)))


def legend_height(names: Sequence[str]) -> float:
    """Return the room that a legend takes, in inches."""
    return 0.12 + 0.22 * math.ceil(len(names) / legend_columns(names))


def layer_entries(roles: Sequence[str]) -> dict[str, tuple[str, tuple[float, ...]]]:
    """Return the legend of layers; of many, a few."""
    colors = dict(zip(roles, layer_colors(len(roles)), strict=True))
    if len(roles) > MOST_LABELS:
        chosen = {roles[place] for place in np.linspace(0, len(roles) - 1, 5).round().astype(int)}
        colors = {role: color for role, color in colors.items() if role in chosen}
    return {role: (color, ()) for role, color in colors.items()}


def every_so_many(count: int, most: int) -> list[int]:
    """Return the places that get a name: all, or every second, third ... from the first on.

    Example:
        >>> every_so_many(3, 5), every_so_many(7, 3)
        ([0, 1, 2], [0, 3, 6])
    """
    return list(range(0, count, -(-count // most)))


def grid_lines(axes: Axes) -> None:
    """Draw thin lines at the numbers of the vertical axis."""
    axes.grid(axis="y", color=LINE, linewidth=0.5, alpha=0.7)
    axes.set_axisbelow(True)
