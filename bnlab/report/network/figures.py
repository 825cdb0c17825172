"""Which figure suits which diagnostic; all of a run's or of a comparison's, drawn and written."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.figure import Figure

from bnlab.report.network.axes import (
    grid_lines,
    head,
    head_height,
    layer_colors,
    layer_entries,
    legend,
    legend_height,
    new_grid,
    scale_steps,
    scale_values,
)
from bnlab.report.network.bands import STATISTICS, TRAIN, draw_band, draw_faces
from bnlab.report.network.heatmaps import draw_fans, draw_heat_maps
from bnlab.report.network.labels import Shown, whose
from bnlab.report.network.lines import all_values, draw_depth, draw_lines
from bnlab.report.network.read import NETWORK, Measured, quantile_of
from bnlab.report.palette import INK, QUIET, SMALL
from bnlab.report.style import paper, save
from bnlab.report.wording import is_counted_share

Kind = Literal["heat map", "fan", "depth", "drift", "band", "faces", "lines"]

DRAW: dict[Kind, Callable[[str, Sequence[Shown]], Figure]] = {
    "heat map": draw_heat_maps,
    "fan": draw_fans,
    "depth": draw_depth,
    "drift": draw_lines,
    "band": draw_band,
    "faces": draw_faces,
    "lines": draw_lines,
}

LANDSCAPE = frozenset({"loss_range", "gradient_predictiveness", "effective_beta"})
"""Widths along the step, which are drawn as bands."""

OTHERS = "others"
"""The figure of all diagnostics that have none of their own."""

COLUMNS, ROWS = 3, 6
"""Panels of a page of others."""


def kind_of(measured: Measured) -> Kind:
    """Return the figure that suits what a diagnostic is: by its facets, its unit, and what it is called.

    One that nothing is known of has lines over steps.
    """
    facets, layers = measured.facets, [role for role in measured.roles if role != NETWORK]
    if sum(quantile_of(facet) is not None for facet in facets) > 1 and layers:
        return "fan"
    if not layers:
        if {facet.removeprefix(TRAIN) for facet in facets} <= set(STATISTICS):
            return "faces"
        is_band = any(facet.endswith("low") and f"{facet.removesuffix('low')}high" in facets for facet in facets)
        return "band" if measured.name in LANDSCAPE or is_band else "lines"
    if len(layers) > 1 and all(is_counted_share(measured.unit(facet)) for facet in facets) and _are_shares(measured):
        return "heat map"
    if len(layers) > 1 and "gradient" in measured.name and facets == [""]:
        return "depth"
    return "drift" if "drift" in measured.name or "shift" in measured.name.split("_")[1:] else "lines"


def _are_shares(measured: Measured) -> bool:
    values = all_values([measured])
    return bool(np.all((values >= 0) & (values <= 1) | ~np.isfinite(values)))


def figures_of(shown: Sequence[Shown]) -> dict[str, list[str]]:
    """Return the figures that show all of some runs: name -> the diagnostics in it.

    A diagnostic has one of its own if its kind has, and if it ever changes; the others stand together.

    Args:
        shown: The runs.
    """
    names = list(dict.fromkeys(name for each in shown for name in each.run.measured))
    own, others = {}, []
    for name in names:
        found = [each.run.measured[name] for each in shown if name in each.run.measured]
        if kind_of(found[0]) == "lines" or all(measured.is_constant() for measured in found):
            others.append(name)
        else:
            own[name] = [name]
    pages = [others[start : start + COLUMNS * ROWS] for start in range(0, len(others), COLUMNS * ROWS)]
    return own | {OTHERS if page == 0 else f"{OTHERS}-{page + 1}": content for page, content in enumerate(pages)}


def draw(names: Sequence[str], shown: Sequence[Shown]) -> Figure:
    """Return one figure: of one diagnostic the kind that suits it, of several a panel each.

    Args:
        names: The diagnostics.
        shown: The runs; those that lack the diagnostic are left out.
    """
    if len(names) > 1:
        return draw_others(names, shown)
    having = [each for each in shown if names[0] in each.run.measured]
    return DRAW[kind_of(having[0].run.measured[names[0]])](names[0], having)


def write_inside(
    shown: Sequence[Shown], path_of: Callable[[str, str], Path], names: Sequence[str] | None = None
) -> Iterator[tuple[str, list[Path]]]:
    """Draw and write figures one by one; yield each one's name and its paths.

    Args:
        shown: The runs.
        path_of: Name of a figure and format -> where to.
        names: Diagnostics, each of which gets a figure of its own; None: all there is.

    Raises:
        RunError: They cannot be written.
    """
    wanted = figures_of(shown) if names is None else {name: [name] for name in names}
    for name, content in wanted.items():
        with paper():
            paths = save(
                draw(content, shown),
                lambda kind, name=name: path_of(name, kind),  # type: ignore[misc]
                "Make room, or choose another place.",
            )
        yield name, paths


def draw_others(names: Sequence[str], shown: Sequence[Shown]) -> Figure:
    """Return a page of small panels, one per diagnostic: of one run a color per layer, of several a color per run.

    Args:
        names: The diagnostics.
        shown: The runs.
    """
    columns = min(COLUMNS, len(names))
    rows = -(-len(names) // columns)
    several = len(shown) > 1
    measured = [each.run.measured[name] for each in shown for name in names if name in each.run.measured]
    layers = list(dict.fromkeys(role for m in measured for role in m.roles if role != NETWORK))
    entries = {each.label: (each.color, each.dashes) for each in shown} if several else layer_entries(layers)
    lines = ["A line per run, layer and facet." if several else "A line per layer and facet; black: the whole network."]
    figure, panels = new_grid(
        rows,
        columns,
        1.35,
        above=head_height(lines, 0.15 + (legend_height(list(entries)) if entries else 0.0)),
        below=0.6,
        gap=(0.7, 0.62),
    )
    colors = dict(zip(layers, layer_colors(len(layers)), strict=True)) | {NETWORK: INK}
    flat = [axes for row in panels for axes in row]
    for place, (axes, name) in enumerate(zip(flat, names, strict=False)):
        having = [each for each in shown if name in each.run.measured]
        found = [each.run.measured[name] for each in having]
        for each, one in zip(having, found, strict=True):
            for key, curve in one.curves.items():
                color = each.color if several else colors[key.role]
                axes.plot(curve.steps, curve.values, color=color, linewidth=1.0, label=str(key))
        unit = found[0].unit(found[0].facets[0])
        scale_values([axes], all_values(found), unit)
        steps = np.unique(np.concatenate([one.steps for one in found]))
        scale_steps(axes, steps, named=place + columns >= len(names), wide=False)
        grid_lines(axes)
        axes.text(0, 1.015, unit[:44], transform=axes.transAxes, fontsize=SMALL - 1.5, color=QUIET, va="bottom")
        axes.set_title(found[0].title, loc="left", fontsize=SMALL + 0.5, color=INK, pad=12)
    for axes in flat[len(names) :]:
        axes.remove()
    if entries:
        legend(figure, entries, 0.62 + 0.19 * len(lines))
    head(figure, "all other diagnostics", lines, whose(shown))
    return figure
