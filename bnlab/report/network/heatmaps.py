"""Heat maps of shares, layer by step, and fans of quantiles, layer by layer.

Shape letters: L layers, T steps.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from bnlab.report.network.axes import (
    WIDTH,
    are_log_spaced,
    every_so_many,
    foot,
    grid_lines,
    head,
    head_height,
    head_lines,
    new_grid,
    panel_title,
    scale_steps,
)
from bnlab.report.network.labels import Shown, whose
from bnlab.report.network.read import FloatArray, Key, Measured, quantile_of, spread_out
from bnlab.report.network.verdicts import healthy_range
from bnlab.report.palette import COLORS, INK, LINE, OUTSIDE, SMALL, USUAL

SHARES = LinearSegmentedColormap.from_list("shares", ["#F4F8FB", "#A9CCE3", "#3A8FC4", "#0B4F8A", "#04213F"])
"""From nearly white to nearly black, in blue: more is darker for every eye, and in print."""

LAYER_HEIGHT, LEAST_HEIGHT, MOST_HEIGHT = 0.26, 1.35, 5.0
"""Inches of a heat map's row, and of a panel."""

WHOLE_FROM = 0.4
"""A largest share from which on the scale goes to 100%."""

LEAST_TOP = 0.1
"""Where the scale ends at least: a map of next to nothing should look like it."""

MOST_NAMES = 32
"""Layers of a heat map that are all named."""

MOST_FANS = 20
"""Layers that a figure of one run has a panel for."""

MOST_COLUMNS = 5
"""Panels side by side."""

ALIKE = 20.0
"""The widest layer's values over the narrowest's, up to which all fans have the same axis."""


def draw_heat_maps(name: str, shown: Sequence[Shown]) -> Figure:
    """Return a heat map per run and facet: layers from top to bottom, steps from left to right.

    Args:
        name: Of a diagnostic that is a share.
        shown: The runs, each of which has it.
    """
    found = [each.run.measured[name] for each in shown]
    facets = list(dict.fromkeys(facet for measured in found for facet in measured.facets))
    lines = head_lines(found[0])
    height = min(max(LEAST_HEIGHT, LAYER_HEIGHT * max(len(measured.roles) for measured in found)), MOST_HEIGHT)
    figure, panels = new_grid(
        len(shown),
        len(facets),
        height,
        above=head_height(lines),
        below=0.75,
        right=1.25,
        left=_room_for(role for measured in found for role in measured.roles),
        gap=(0.35, 0.5),
    )
    steps = np.unique(np.concatenate([measured.steps for measured in found]))
    most = _top_of(shown, found)
    drawn: QuadMesh | None = None
    for row, (each, measured) in enumerate(zip(shown, found, strict=True)):
        for column, facet in enumerate(facets):
            axes = panels[row][column]
            drawn = _heat_map(axes, measured, facet, most)
            scale_steps(axes, steps, named=row == len(shown) - 1, wide=len(facets) == 1)
            axes.set_xlim(*step_edges(steps)[[0, -1]])
            _layer_axis(axes, measured.roles, named=column == 0)
            title = ", ".join(part for part in (each.label if len(shown) > 1 else "", facet) if part)
            panel_title(axes, title)
    _color_bar(figure, panels, drawn, found[0].unit(facets[0]))
    head(figure, found[0].title, lines, whose(shown))
    if any(np.isnan(measured.matrix(facet)).any() for measured in found for facet in measured.facets):
        foot(figure, "Orange: not a number, or not measured.")
    return figure


def _room_for(roles: Iterable[str]) -> float:
    """Return the inches that the longest of some names takes beside a panel."""
    return 0.3 + 0.075 * max((len(role) for role in roles), default=8)


def _top_of(shown: Sequence[Shown], found: Sequence[Measured]) -> float:
    """Return the end of the color scale: dark is what is much by the healthy range, not what is most here."""
    largest = max(float(curve.finite.max(initial=0.0)) for measured in found for curve in measured.curves.values())
    for each, measured in zip(shown, found, strict=True):
        ranges = [healthy_range(measured, each.run.activation, facet) for facet in measured.facets]
        largest = max([largest, LEAST_TOP, *(ends[1] for ends in ranges if ends is not None)])
    if largest >= WHOLE_FROM:
        return 1.0
    magnitude = 10.0 ** math.floor(math.log10(largest))
    return next(m * magnitude for m in (1, 2, 5, 10) if m * magnitude >= largest)


def _heat_map(axes: Axes, measured: Measured, facet: str, most: float) -> QuadMesh:
    colors = SHARES.with_extremes(bad=COLORS[1])
    edges = step_edges(measured.steps)
    rows = np.arange(len(measured.roles) + 1) - 0.5
    mesh = axes.pcolormesh(
        edges, rows, np.ma.masked_invalid(measured.matrix(facet)), cmap=colors, vmin=0, vmax=most, rasterized=False
    )
    axes.set_facecolor(OUTSIDE)
    return mesh


def step_edges(steps: FloatArray) -> FloatArray:
    """Return the edges of cells around steps: halfway between neighbors, on the scale that they are drawn on.

    Example:
        >>> step_edges(np.array([0.0, 10.0, 20.0])).tolist()
        [-5.0, 5.0, 15.0, 25.0]
    """
    places = np.log1p(steps) if are_log_spaced(steps) else steps
    if len(places) == 1:
        return np.asarray([steps[0] - 0.5, steps[0] + 0.5])
    between = (places[1:] + places[:-1]) / 2
    edges = np.concatenate([[2 * places[0] - between[0]], between, [2 * places[-1] - between[-1]]])
    return np.asarray(np.expm1(edges) if are_log_spaced(steps) else edges)


def _layer_axis(axes: Axes, roles: Sequence[str], named: bool) -> None:
    axes.set_ylim(len(roles) - 0.5, -0.5)  # the first layer on top, as in tables
    shown = every_so_many(len(roles), MOST_NAMES)
    axes.set_yticks(shown, [roles[place] for place in shown] if named else [], color=INK)
    axes.tick_params(axis="y", length=0)


def _color_bar(figure: Figure, panels: Sequence[Sequence[Axes]], drawn: QuadMesh | None, unit: str) -> None:
    if drawn is None:
        return
    top, bottom = panels[0][-1].get_position(), panels[-1][-1].get_position()
    place = figure.add_axes((top.x1 + 0.18 / WIDTH, bottom.y0, 0.16 / WIDTH, top.y1 - bottom.y0))
    bar = figure.colorbar(drawn, cax=place)
    bar.outline.set_visible(False)
    place.tick_params(labelsize=SMALL, color=LINE)
    place.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g}%"))
    bar.set_label(unit, fontsize=USUAL, color=INK)


def draw_fans(name: str, shown: Sequence[Shown]) -> Figure:
    """Return the quantiles of each layer over time: pairs as bands, the median as a line.

    Args:
        name: Of a diagnostic whose facets are quantiles.
        shown: The runs, each of which has it; with several, a row each.
    """
    found = [each.run.measured[name] for each in shown]
    roles = list(dict.fromkeys(role for measured in found for role in measured.roles))
    several = len(shown) > 1
    num_layers = len(roles)
    roles = spread_out(roles, MOST_COLUMNS if several else MOST_FANS)
    rows = len(shown) if several else math.ceil(len(roles) / MOST_COLUMNS)
    columns = len(roles) if several else math.ceil(len(roles) / rows)
    lines = head_lines(found[0])
    figure, panels = new_grid(rows, columns, 1.7, above=head_height(lines), below=0.85, gap=(0.32, 0.5))
    steps = np.unique(np.concatenate([measured.steps for measured in found]))
    cells = [(each, measured, role) for each, measured in zip(shown, found, strict=True) for role in roles]
    limits = _fan_limits(found)
    flat = [axes for row in panels for axes in row]
    for place, (axes, (each, measured, role)) in enumerate(zip(flat, cells, strict=False)):
        _fan(axes, measured, role, each.color)
        column = place % columns
        is_lowest = place + columns >= len(cells)
        scale_steps(axes, steps, named=is_lowest, wide=columns < 3)
        grid_lines(axes)
        if limits is not None:
            axes.set_ylim(*limits)
            if column:
                axes.set_yticklabels([])
        panel_title(axes, f"{each.label}: {role}" if several and column == 0 else role)
        if column == 0:
            axes.set_ylabel(_short(measured.unit(measured.facets[0])), color=INK, fontsize=SMALL)
    for axes in flat[len(cells) :]:
        axes.remove()
    head(figure, found[0].title, lines, whose(shown))
    some = f" {len(roles)} of {num_layers} layers." if len(roles) < num_layers else ""
    foot(figure, _fan_legend(found[0]) + some)
    return figure


def _short(unit: str) -> str:
    return unit if len(unit) < 32 else unit[:30] + "…"


def _quantile_facets(measured: Measured) -> list[str]:
    facets = [facet for facet in measured.facets if quantile_of(facet) is not None]
    return sorted(facets, key=lambda facet: quantile_of(facet) or 0.0)


def _fan(axes: Axes, measured: Measured, role: str, color: str) -> None:
    facets = [facet for facet in _quantile_facets(measured) if Key(role, facet) in measured.curves]
    curves = [measured.curves[Key(role, facet)] for facet in facets]
    pairs = len(curves) // 2
    for number in range(pairs):
        low, high = curves[number], curves[-1 - number]
        strength = 0.16 + 0.24 * number / max(pairs - 1, 1)
        axes.fill_between(low.steps, low.values, high.values, color=color, alpha=strength, linewidth=0, zorder=2)
    if len(curves) % 2:
        middle = curves[pairs]
        axes.plot(middle.steps, middle.values, color=color, linewidth=1.6, zorder=3)
    if Key(role, "mean") in measured.curves:
        mean = measured.curves[Key(role, "mean")]
        axes.plot(mean.steps, mean.values, color=INK, linewidth=0.9, dashes=(3, 1.5), zorder=4)


def _fan_limits(found: Sequence[Measured]) -> tuple[float, float] | None:
    """Return the axis that all fans share; None where some layers' would be too narrow to be seen."""
    spans = []
    for measured in found:
        for role in measured.roles:
            values = np.concatenate([curve.finite for key, curve in measured.curves.items() if key.role == role])
            if values.size:
                spans.append((float(values.min()), float(values.max())))
    widths = [high - low for low, high in spans]
    if not widths or max(widths) > ALIKE * max(min(widths), 1e-12):
        return None
    low, high = min(low for low, _ in spans), max(high for _, high in spans)
    margin = 0.05 * ((high - low) or 1.0)
    return low - margin, high + margin


def _fan_legend(measured: Measured) -> str:
    facets = _quantile_facets(measured)
    percents = [f"{round(100 * (quantile_of(facet) or 0))}" for facet in facets]
    pairs = [f"{percents[i]} to {percents[-1 - i]}%" for i in range(len(facets) // 2)]
    told = f"Bands: the values between the quantiles {' and '.join(pairs)}."
    if len(facets) % 2:
        told += " Line: the median." if percents[len(facets) // 2] == "50" else f" Line: {percents[len(facets) // 2]}%."
    return told + (" Dashes: the mean." if "mean" in measured.facets else "")
