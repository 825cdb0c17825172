"""Lines over steps, per layer or per run; and lines over depth, one per step."""

from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import FuncNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter

from bnlab.report.network.axes import (
    WIDTH,
    are_log_spaced,
    every_so_many,
    foot,
    grid_lines,
    head,
    head_height,
    head_lines,
    layer_colors,
    layer_entries,
    legend,
    legend_height,
    mark_range,
    new_grid,
    panel_title,
    scale_steps,
    scale_values,
    step_map,
)
from bnlab.report.network.labels import Shown, whose
from bnlab.report.network.read import NETWORK, Curve, FloatArray, Key, Measured, spread_out
from bnlab.report.network.verdicts import healthy_range
from bnlab.report.palette import INK, LINE, SMALL, USUAL

FEW_POINTS = 30
"""Points of a line up to which each is marked."""

MOST_STEPS, MOST_LAYERS, MOST_FACETS = 12, 5, 4
"""Lines of a figure over depth, columns of a figure of several runs, and panels of one run."""

MOST_NAMES = 16
"""Layers of a figure over depth that are all named."""

RANGE_NOTE = "Dashes: an end of the healthy range."


def all_values(found: Iterable[Measured], facets: Sequence[str] | None = None) -> FloatArray:
    """Return all values of some facets, or of all."""
    curves = [c.values for m in found for key, c in m.curves.items() if facets is None or key.facet in facets]
    return np.concatenate(curves) if curves else np.empty(0)


def plot_curve(axes: Axes, curve: Curve, color: str, dashes: tuple[float, ...] = (), label: str = "") -> None:
    """Draw one line; a value that is not a number leaves a gap.

    Args:
        axes: Where.
        curve: What.
        color: Of the line.
        dashes: Of the line; none: it is solid.
        label: Of whom it is.
    """
    few = len(curve.steps) <= FEW_POINTS
    axes.plot(
        curve.steps,
        curve.values,
        color=color,
        linewidth=1.4,
        dashes=dashes or (None, None),
        marker="o" if few else None,
        markersize=2.6 if few else None,
        label=label,
        zorder=3,
    )


def draw_lines(name: str, shown: Sequence[Shown]) -> Figure:
    """Return lines over steps: of one run a color per layer, of several a color per run and a panel per layer.

    Args:
        name: Of any diagnostic.
        shown: The runs, each of which has it.
    """
    return _lines_of_one(name, shown[0]) if len(shown) == 1 else _lines_of_several(name, shown)


def _lines_of_one(name: str, shown: Shown) -> Figure:
    measured = shown.run.measured[name]
    facets = measured.facets
    roles = [role for role in measured.roles if role != NETWORK]
    colors = dict(zip(roles, layer_colors(len(roles)), strict=True)) | {NETWORK: INK}
    entries = layer_entries(roles)
    lines = head_lines(measured)
    room = legend_height(list(entries)) if roles else 0.0
    rows, columns = _shape_of(len(facets))
    figure, panels = new_grid(
        rows, columns, 2.6 if rows == 1 else 2.0, above=head_height(lines, room), below=0.75, gap=(0.85, 0.55)
    )
    flat = [axes for row in panels for axes in row]
    has_range = False
    for place, (axes, facet) in enumerate(zip(flat, facets, strict=False)):
        for key, curve in measured.curves.items():
            if key.facet == facet:
                plot_curve(axes, curve, colors[key.role], label=key.role)
        has_range |= _finish(axes, [measured], facet, shown.run.activation)
        scale_steps(axes, measured.steps, named=place + columns >= len(facets), wide=columns < 3)
        panel_title(axes, facet.replace("_", " "))
    for axes in flat[len(facets) :]:
        axes.remove()
    if roles:
        legend(figure, entries, 0.62 + 0.19 * len(lines))
    head(figure, measured.title, lines, whose([shown]))
    if has_range:
        foot(figure, RANGE_NOTE)
    return figure


def _shape_of(count: int) -> tuple[int, int]:
    """Return rows and columns of so many panels."""
    columns = count if count <= 3 else 2 if count <= MOST_FACETS else 3
    return -(-count // columns), columns


def _finish(axes: Axes, found: Sequence[Measured], facet: str, activation: str | None, named: bool = True) -> bool:
    """Scale a panel, and draw the healthy range; return whether it shows any of it."""
    unit = found[0].unit(facet)
    scale_values([axes], all_values(found, [facet]), unit)
    grid_lines(axes)
    if named:
        axes.set_ylabel(unit if len(unit) < 44 else unit[:42] + "…", color=INK, fontsize=USUAL)
    return mark_range(axes, healthy_range(found[0], activation, facet))


def _lines_of_several(name: str, shown: Sequence[Shown]) -> Figure:
    found = [each.run.measured[name] for each in shown]
    facets = list(dict.fromkeys(facet for measured in found for facet in measured.facets))
    everyone = list(dict.fromkeys(role for measured in found for role in measured.roles))
    roles = spread_out(everyone, MOST_LAYERS)
    lines = head_lines(found[0])
    names = [each.label for each in shown]
    if roles == [NETWORK]:  # a panel per facet
        cells = [[Key(NETWORK, facet) for facet in facets[at : at + 2]] for at in range(0, len(facets), 2)]
    else:
        cells = [[Key(role, facet) for role in roles] for facet in facets]
    figure, panels = new_grid(
        len(cells),
        len(cells[0]),
        2.3 if len(cells) == 1 else 1.8,
        above=head_height(lines, legend_height(names)),
        below=0.75,
        gap=(0.85 if roles == [NETWORK] else 0.3, 0.5),
    )
    steps = np.unique(np.concatenate([measured.steps for measured in found]))
    has_range = False
    for row, keys in enumerate(cells):
        for column, key in enumerate(keys):
            axes = panels[row][column]
            for each, measured in zip(shown, found, strict=True):
                if key in measured.curves:
                    plot_curve(axes, measured.curves[key], each.color, each.dashes, each.label)
            first = column == 0 or roles == [NETWORK]
            has_range |= _finish(axes, found, key.facet, shown[0].run.activation, named=first)
            scale_steps(axes, steps, named=row == len(cells) - 1, wide=len(keys) < 3)
            if not first:
                axes.tick_params(axis="y", labelleft=False, which="both")
            parts = (key.role if key.role != NETWORK else "", key.facet.replace("_", " "))
            panel_title(axes, ": ".join(part for part in parts if part))
        for axes in panels[row][len(keys) :]:
            axes.remove()
    legend(figure, {each.label: (each.color, each.dashes) for each in shown}, 0.62 + 0.19 * len(lines))
    head(figure, found[0].title, lines, whose(shown))
    some = f"{len(roles)} of {len(everyone)} layers." if len(roles) < len(everyone) else ""
    foot(figure, f"{RANGE_NOTE if has_range else ''} {some}".strip())
    return figure


def draw_depth(name: str, shown: Sequence[Shown]) -> Figure:
    """Return lines over depth, a line per step from light to dark, a panel per run on the same axes.

    Args:
        name: Of a diagnostic with one value per layer.
        shown: The runs, each of which has it.
    """
    found = [each.run.measured[name] for each in shown]
    columns = min(len(shown), 3)
    rows = -(-len(shown) // columns)
    lines = head_lines(found[0])
    longest = max(len(role) for measured in found for role in measured.roles)
    tilted = longest * max(len(measured.roles) for measured in found) * columns > 110
    figure, panels = new_grid(
        rows,
        columns,
        2.9 if rows == 1 else 2.2,
        above=head_height(lines),
        below=0.95 if tilted else 0.55,
        gap=(0.3, 0.95 if tilted else 0.55),
        right=1.1,
    )
    steps = np.unique(np.concatenate([measured.steps for measured in found]))
    norm = _step_norm(steps)
    flat = [axes for row in panels for axes in row]
    for axes, each, measured in zip(flat, shown, found, strict=False):
        _depth_lines(axes, measured, norm, tilted)
        panel_title(axes, each.label if len(shown) > 1 else "")
    used = flat[: len(shown)]
    scale_values(used, all_values(found), found[0].unit())
    for place, axes in enumerate(used):
        grid_lines(axes)
        if place % columns:
            axes.tick_params(axis="y", labelleft=False, which="both")
        else:
            axes.set_ylabel(found[0].unit(), color=INK, fontsize=USUAL)
    for axes in flat[len(shown) :]:
        axes.remove()
    _step_bar(figure, panels, norm, steps)
    head(figure, f"{found[0].title}, by depth", lines, whose(shown))
    return figure


def _step_norm(steps: FloatArray) -> Normalize:
    if are_log_spaced(steps):
        return FuncNorm((np.log1p, np.expm1), vmin=0.0, vmax=float(steps.max()))
    return Normalize(0.0, max(float(steps.max()), 1.0))


def chosen_steps(steps: FloatArray) -> list[float]:
    """Return the steps that a figure over depth shows: a few, evenly spaced on the scale that they are drawn on."""
    places = np.log1p(steps) if are_log_spaced(steps) else steps
    wanted = np.linspace(places[0], places[-1], MOST_STEPS)
    return [float(steps[place]) for place in dict.fromkeys(int(np.abs(places - one).argmin()) for one in wanted)]


def _depth_lines(axes: Axes, measured: Measured, norm: Normalize, tilted: bool) -> None:
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
    few = every_so_many(len(places), MOST_NAMES)
    axes.set_xticks(few, [measured.roles[place] for place in few], color=INK)
    if tilted:
        axes.tick_params(axis="x", labelrotation=35)
        for label in axes.get_xticklabels():
            label.set_horizontalalignment("right")
            label.set_rotation_mode("anchor")
    axes.set_xlim(-0.3, len(places) - 0.7)


def _step_bar(figure: Figure, panels: Sequence[Sequence[Axes]], norm: Normalize, steps: FloatArray) -> None:
    """Say which color is which step."""
    top, bottom = panels[0][-1], panels[-1][0]
    high, low = top.get_position().y1, bottom.get_position().y0
    place = figure.add_axes((1 - 0.9 / WIDTH, low, 0.16 / WIDTH, high - low))
    bar = figure.colorbar(ScalarMappable(norm, step_map()), cax=place)
    bar.outline.set_visible(False)
    place.tick_params(labelsize=SMALL, color=LINE)
    if are_log_spaced(steps):
        powers = [10.0**power for power in range(12) if 10.0**power <= steps.max()]
        place.yaxis.set_major_locator(FixedLocator([0.0, *powers]))
        place.yaxis.set_minor_locator(FixedLocator([]))
    place.yaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
    bar.set_label("step", fontsize=USUAL, color=INK)
