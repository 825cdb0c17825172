"""Heat maps of shares, layer by step, and fans of quantiles, layer by layer.

Shape letters: L layers, T steps.
"""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from bnlab.report.network.axes import are_log_spaced, every_so_many, grid_lines, scale_steps
from bnlab.report.network.labels import LabeledRun, all_steps, shared_settings
from bnlab.report.network.layout import heading_of, label_vertical, new_page, panel_title
from bnlab.report.network.out_of_range import healthy_range
from bnlab.report.network.read import FloatArray, Key, Measured, quantile_of, spread_out
from bnlab.report.palette import COLORS, INK, OUTSIDE

SHARES = LinearSegmentedColormap.from_list("shares", ["#F4F8FB", "#A9CCE3", "#3A8FC4", "#0B4F8A", "#04213F"])
"""From nearly white to nearly black, in blue: more is darker for every eye, and in print."""

LAYER_HEIGHT, LEAST_HEIGHT, MOST_HEIGHT, BESIDE_HEIGHT = 0.26, 1.35, 5.0, 0.3
"""Inches of a layer's row; of a heat map at least and at most; and of its title."""

WHOLE_FROM = 0.4
"""Largest share from which on the color scale goes to 100%."""

LEAST_TOP = 0.1
"""Least end of the color scale, so that a map of very small shares looks light."""

MOST_NAMES = 32
"""Layers of a heat map up to which all are named."""

MOST_FANS = 20
"""Layers in a figure of one run, at most."""

MOST_COLUMNS = 5
"""Panels side by side, at most."""

ALIKE = 20.0
"""Range of values of the widest layer over that of the narrowest, up to which all fans have the same axis."""


def draw_heat_maps(name: str, runs: Sequence[LabeledRun]) -> Figure:
    """Return a heat map per run and facet: layers from top to bottom, steps from left to right.

    Args:
        name: Name of a diagnostic whose values are shares.
        runs: One or more runs, each of which has recorded it.
    """
    found = [each.run.measured[name] for each in runs]
    facets = list(dict.fromkeys(facet for measured in found for facet in measured.facets))
    cells = [(each, measured, facet) for each, measured in zip(runs, found, strict=True) for facet in facets]
    height = min(max(LEAST_HEIGHT, LAYER_HEIGHT * max(len(measured.roles) for measured in found)), MOST_HEIGHT)
    page = new_page(
        heading_of(found[0], shared_settings(runs)),
        len(cells),
        len(facets),
        height + BESIDE_HEIGHT,
        share_vertical="row",
    )
    steps = all_steps(found)
    top = _top_of_scale(runs, found)
    for axes, (each, measured, facet) in zip(page.panels, cells, strict=True):
        colors = _heat_map(axes, measured, facet, top)
        scale_steps(axes, steps, wide=len(facets) == 1)
        axes.set_xlim(*step_edges(steps)[[0, -1]])
        _layer_axis(axes, measured.roles)
        panel_title(axes, ", ".join(part for part in (each.label if len(runs) > 1 else "", facet) if part))
    page.label_horizontal("step")
    page.add_color_bar(colors, found[0].unit(facets[0]), lambda share: f"{100 * share:.3g}%")
    if any(np.isnan(measured.matrix(facet)).any() for measured in found for facet in measured.facets):
        page.note("Orange: not a number, or not measured.")
    return page.figure


def _top_of_scale(runs: Sequence[LabeledRun], found: Sequence[Measured]) -> float:
    """Return the end of the color scale, above the healthy range: a layer is dark if its share is large in itself."""
    largest = max(float(curve.finite.max(initial=0.0)) for measured in found for curve in measured.curves.values())
    for each, measured in zip(runs, found, strict=True):
        ranges = [healthy_range(measured, each.run.activation, facet) for facet in measured.facets]
        largest = max([largest, LEAST_TOP, *(ends[1] for ends in ranges if ends is not None)])
    if largest >= WHOLE_FROM:
        return 1.0
    magnitude = 10.0 ** math.floor(math.log10(largest))
    return next(m * magnitude for m in (1, 2, 5, 10) if m * magnitude >= largest)


def _heat_map(axes: Axes, measured: Measured, facet: str, top: float) -> QuadMesh:
    colors = SHARES.with_extremes(bad=COLORS[1])
    edges = step_edges(measured.steps)
    rows = np.arange(len(measured.roles) + 1) - 0.5
    mesh = axes.pcolormesh(
        edges, rows, np.ma.masked_invalid(measured.matrix(facet)), cmap=colors, vmin=0, vmax=top, rasterized=False
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


def _layer_axis(axes: Axes, roles: Sequence[str]) -> None:
    axes.set_ylim(len(roles) - 0.5, -0.5)  # the first layer on top, as in tables
    named = every_so_many(len(roles), MOST_NAMES)
    axes.set_yticks(named, [roles[place] for place in named], color=INK)
    axes.tick_params(axis="y", length=0)


def draw_fans(name: str, runs: Sequence[LabeledRun]) -> Figure:
    """Return the quantiles of each layer over time: pairs as bands, the median as a line.

    Args:
        name: Name of a diagnostic whose facets are quantiles.
        runs: One or more runs, each of which has recorded it; several have a row each.
    """
    found = [each.run.measured[name] for each in runs]
    all_roles = list(dict.fromkeys(role for measured in found for role in measured.roles))
    several = len(runs) > 1
    roles = spread_out(all_roles, MOST_COLUMNS if several else MOST_FANS)
    rows = len(runs) if several else math.ceil(len(roles) / MOST_COLUMNS)
    columns = math.ceil(len(runs) * len(roles) / rows)
    limits = _fan_limits(found)
    cells = [(each, measured, role) for each, measured in zip(runs, found, strict=True) for role in roles]
    page = new_page(
        heading_of(found[0], shared_settings(runs)),
        len(cells),
        columns,
        2.1,
        share_vertical="none" if limits is None else "all",
    )
    for place, (axes, (each, measured, role)) in enumerate(zip(page.panels, cells, strict=True)):
        _fan(axes, measured, role, each.color)
        scale_steps(axes, all_steps(found), wide=columns < 3)
        grid_lines(axes)
        if limits is not None:
            axes.set_ylim(*limits)
        panel_title(axes, f"{each.label}: {role}" if several and page.first_of_row(place) else role)
        if page.first_of_row(place):
            label_vertical(axes, measured.unit(measured.facets[0]))
    page.label_horizontal("step")
    some = f" {len(roles)} of {len(all_roles)} layers." if len(roles) < len(all_roles) else ""
    page.note(_fan_note(found[0]) + some)
    return page.figure


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


def _fan_note(measured: Measured) -> str:
    facets = _quantile_facets(measured)
    percents = [f"{round(100 * (quantile_of(facet) or 0))}" for facet in facets]
    pairs = [f"{percents[i]} to {percents[-1 - i]}%" for i in range(len(facets) // 2)]
    note = f"Bands: the values between the quantiles {' and '.join(pairs)}."
    if len(facets) % 2:
        note += " Line: the median." if percents[len(facets) // 2] == "50" else f" Line: {percents[len(facets) // 2]}%."
    return note + (" Dashes: the mean." if "mean" in measured.facets else "")
