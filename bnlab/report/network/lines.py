"""Lines over steps, per layer or per run; and lines over depth, one per step."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import FuncNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from bnlab.report.network.axes import (
    are_log_spaced,
    every_so_many,
    grid_lines,
    layer_colors,
    layer_entries,
    mark_range,
    scale_steps,
    scale_values,
    step_map,
)
from bnlab.report.network.labels import LabeledRun, all_steps, legend_of, shared_settings
from bnlab.report.network.layout import Entries, Heading, Share, heading_of, label_vertical, new_page, panel_title
from bnlab.report.network.out_of_range import healthy_range
from bnlab.report.network.read import NETWORK, Curve, FloatArray, Key, Measured, spread_out
from bnlab.report.palette import INK

FEW_POINTS = 30
"""Points of a line up to which each has a mark."""

MOST_STEPS, MOST_LAYERS, MOST_FACETS = 12, 5, 4
"""Lines of a figure over depth, layers in a figure of several runs, and facets of one run in two columns, at most."""

MOST_NAMES = 16
"""Layers of a figure over depth up to which all are named."""

ROOM_FOR_NAMES = 110
"""Letters of the layers' names side by side, over the width of the page, up to which they stand upright."""

FILL = 0.15
"""Opacity of a filled area."""

RANGE_NOTE = "Dashes: an end of the healthy range."


def all_values(found: Iterable[Measured]) -> FloatArray:
    """Return all values of one diagnostic in several runs, or of several diagnostics, in one array."""
    return np.concatenate([*(curve.values for measured in found for curve in measured.curves.values()), []])


@dataclass(frozen=True)
class Line:
    """One curve in a panel.

    Attributes:
        curve: Steps and values; a value that is not a number leaves a gap.
        color: The line's color, as matplotlib takes it.
        dashes: Lengths of dashes and gaps in turn, in line widths; empty for a solid line.
        label: The name of the layer, of the run or of the kind of statistics.
        below: Values at the same steps: the area between them and the line is filled. A number fills from there up, or
            from the lower end of a logarithmic axis; None fills nothing.
    """

    curve: Curve
    color: str
    dashes: tuple[float, ...] = ()
    label: str = ""
    below: FloatArray | float | None = None

    def plot(self, axes: Axes) -> None:
        """Draw the line, with a mark at each step if these are few, and its filled area."""
        few = len(self.curve.steps) <= FEW_POINTS
        axes.plot(
            self.curve.steps,
            self.curve.values,
            color=self.color,
            linewidth=1.4,
            dashes=self.dashes or (None, None),
            marker="o" if few else None,
            markersize=2.6 if few else None,
            label=self.label,
            zorder=3,
        )
        if self.below is not None:
            is_log = axes.get_yscale() == "log" and isinstance(self.below, float)
            below = axes.get_ylim()[0] if is_log else self.below
            axes.fill_between(
                self.curve.steps, below, self.curve.values, color=self.color, alpha=FILL, linewidth=0, zorder=2
            )


@dataclass(frozen=True)
class Panel:
    """One panel of lines over steps.

    Attributes:
        title: The words above it; empty for none.
        unit: The unit of the values.
        lines: The lines to draw; a panel without any stays empty.
        healthy: The healthy range of the values, whose ends are drawn; None if there is none.
    """

    title: str
    unit: str
    lines: Sequence[Line]
    healthy: tuple[float, float] | None = None


def draw_panels(
    heading: Heading,
    panels: Sequence[Panel],
    columns: int,
    *,
    legend: Entries | None = None,
    share_horizontal: bool = True,
    share_vertical: Share = "none",
    note: str = "",
) -> Figure:
    """Return a page of lines over steps.

    Args:
        heading: The text above the panels.
        panels: The panels, row by row; at least one of them has lines.
        columns: Panels in a row.
        legend: The lines that the panels show; none or empty: the page has no legend.
        share_horizontal: Whether all panels show the same steps; else each shows those of its own lines.
        share_vertical: Which panels have the same vertical axis: none, those of a row, or all.
        note: Words below the panels; one about the healthy range stands before them if a panel shows it.
    """
    height = 3.1 if len(panels) <= columns else 2.3
    page = new_page(
        heading,
        len(panels),
        columns,
        height,
        legend=legend,
        share_horizontal=share_horizontal,
        share_vertical=share_vertical,
    )
    size = {"none": 1, "row": columns, "all": len(panels)}[share_vertical]
    has_range = False
    for place, (axes, panel) in enumerate(zip(page.panels, panels, strict=True)):
        if place % size == 0:
            shown = [line.curve.values for each in panels[place : place + size] for line in each.lines]
            scale_values(page.panels[place : place + size], np.concatenate([*shown, []]), panel.unit)
        for line in panel.lines:
            line.plot(axes)
        has_range |= mark_range(axes, panel.healthy)
        lines = [line for each in (panels if share_horizontal else [panel]) for line in each.lines]
        scale_steps(axes, np.unique(np.concatenate([line.curve.steps for line in lines])), wide=columns < 3)
        grid_lines(axes)
        panel_title(axes, panel.title)
        if share_vertical == "none" or page.first_of_row(place):
            label_vertical(axes, panel.unit)
    page.label_horizontal("step")
    page.note(f"{RANGE_NOTE if has_range else ''} {note}".strip())
    return page.figure


def draw_lines(name: str, runs: Sequence[LabeledRun]) -> Figure:
    """Return lines over steps: of one run a color per layer, of several a color per run and a panel per layer.

    Args:
        name: Name of a diagnostic.
        runs: One or more runs, each of which has recorded it.
    """
    return _lines_of_one(name, runs[0]) if len(runs) == 1 else _lines_of_several(name, runs)


def _lines_of_one(name: str, run: LabeledRun) -> Figure:
    measured = run.run.measured[name]
    facets = measured.facets
    roles = [role for role in measured.roles if role != NETWORK]
    colors = dict(zip(roles, layer_colors(len(roles)), strict=True)) | {NETWORK: INK}
    panels = [
        Panel(
            facet.replace("_", " "),
            measured.unit(facet),
            [Line(c, colors[key.role], label=key.role) for key, c in measured.curves.items() if key.facet == facet],
            healthy_range(measured, run.run.activation, facet),
        )
        for facet in facets
    ]
    columns = len(facets) if len(facets) <= 3 else 2 if len(facets) <= MOST_FACETS else 3
    return draw_panels(heading_of(measured, run.label), panels, columns, legend=layer_entries(roles))


def _lines_of_several(name: str, runs: Sequence[LabeledRun]) -> Figure:
    found = [each.run.measured[name] for each in runs]
    facets = list(dict.fromkeys(facet for measured in found for facet in measured.facets))
    all_roles = list(dict.fromkeys(role for measured in found for role in measured.roles))
    roles = spread_out(all_roles, MOST_LAYERS)
    has_layers = roles != [NETWORK]
    panels = []
    for key in (Key(role, facet) for facet in facets for role in roles):
        parts = (key.role if key.role != NETWORK else "", key.facet.replace("_", " "))
        lines = [
            Line(measured.curves[key], each.color, each.dashes, each.label)
            for each, measured in zip(runs, found, strict=True)
            if key in measured.curves
        ]
        healthy = healthy_range(found[0], runs[0].run.activation, key.facet)
        panels.append(Panel(": ".join(part for part in parts if part), found[0].unit(key.facet), lines, healthy))
    return draw_panels(
        heading_of(found[0], shared_settings(runs)),
        panels,
        # with layers a row per facet; without, the facets stand side by side, each with an axis of its own
        len(roles) if has_layers else min(len(facets), 2),
        legend=legend_of(runs),
        share_vertical="row" if has_layers else "none",
        note=f"{len(roles)} of {len(all_roles)} layers." if len(roles) < len(all_roles) else "",
    )


def draw_depth(name: str, runs: Sequence[LabeledRun]) -> Figure:
    """Return lines over depth, a line per step from light to dark, a panel per run on the same axes.

    Args:
        name: Name of a diagnostic with one value per layer.
        runs: One or more runs, each of which has recorded it.
    """
    found = [each.run.measured[name] for each in runs]
    columns = min(len(runs), 3)
    longest = max(len(role) for measured in found for role in measured.roles)
    is_tilted = longest * max(len(measured.roles) for measured in found) * columns > ROOM_FOR_NAMES
    page = new_page(
        heading_of(found[0], shared_settings(runs), ", by depth"),
        len(runs),
        columns,
        3.3 if len(runs) <= columns else 2.7,
        share_horizontal=False,
        share_vertical="all",
    )
    steps = all_steps(found)
    norm = _step_norm(steps)
    for place, (axes, each, measured) in enumerate(zip(page.panels, runs, found, strict=True)):
        _depth_lines(axes, measured, norm, is_tilted)
        panel_title(axes, each.label if len(runs) > 1 else "")
        grid_lines(axes)
        if page.first_of_row(place):
            label_vertical(axes, found[0].unit())
    scale_values(page.panels, all_values(found), found[0].unit())
    bar = page.add_color_bar(ScalarMappable(norm, step_map()), "step", lambda step: f"{step:,.0f}")
    if are_log_spaced(steps):
        powers = [10.0**power for power in range(12) if 10.0**power <= steps.max()]
        bar.ax.yaxis.set_major_locator(FixedLocator([0.0, *powers]))
        bar.ax.yaxis.set_minor_locator(FixedLocator([]))
    return page.figure


def _step_norm(steps: FloatArray) -> Normalize:
    if are_log_spaced(steps):
        return FuncNorm((np.log1p, np.expm1), vmin=0.0, vmax=float(steps.max()))
    return Normalize(0.0, max(float(steps.max()), 1.0))


def chosen_steps(steps: FloatArray) -> list[float]:
    """Return the steps that a figure over depth shows: a few, evenly spaced on the scale that they are drawn on."""
    places = np.log1p(steps) if are_log_spaced(steps) else steps
    wanted = np.linspace(places[0], places[-1], MOST_STEPS)
    return [float(steps[place]) for place in dict.fromkeys(int(np.abs(places - one).argmin()) for one in wanted)]


def _depth_lines(axes: Axes, measured: Measured, norm: Normalize, is_tilted: bool) -> None:
    values_LT, colors = measured.matrix(measured.facets[0]), step_map()
    places = np.arange(len(measured.roles))
    for step in chosen_steps(measured.steps):
        column = int(np.searchsorted(measured.steps, step))
        axes.plot(
            places,
            values_LT[:, column],
            color=colors(float(norm(step))),
            linewidth=1.5,
            marker="o",
            markersize=3,
            label=f"step {step:,.0f}",
            zorder=3,
        )
    named = every_so_many(len(places), MOST_NAMES)
    axes.set_xticks(named, [measured.roles[place] for place in named], color=INK)
    if is_tilted:
        for label in axes.get_xticklabels():
            label.set(rotation=35, ha="right", rotation_mode="anchor")
    axes.set_xlim(-0.3, len(places) - 0.7)
