"""Which kind of figure shows which diagnostic; all figures of a run or of a comparison, drawn and saved."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.figure import Figure

from bnlab.report.network.axes import layer_colors, layer_entries
from bnlab.report.network.bands import STATISTICS, TRAIN, draw_band, draw_statistics_comparison
from bnlab.report.network.heatmaps import draw_fans, draw_heat_maps
from bnlab.report.network.labels import LabeledRun, legend_of, shared_settings
from bnlab.report.network.layout import Heading
from bnlab.report.network.lines import Line, Panel, all_values, draw_depth, draw_lines, draw_panels
from bnlab.report.network.read import NETWORK, Measured, quantile_of
from bnlab.report.palette import INK
from bnlab.report.style import paper, save
from bnlab.report.wording import is_counted_share

Kind = Literal["heat map", "fan", "depth", "drift", "band", "statistics comparison", "lines"]

DRAW: dict[Kind, Callable[[str, Sequence[LabeledRun]], Figure]] = {
    "heat map": draw_heat_maps,
    "fan": draw_fans,
    "depth": draw_depth,
    "drift": draw_lines,
    "band": draw_band,
    "statistics comparison": draw_statistics_comparison,
    "lines": draw_lines,
}

LANDSCAPE = frozenset({"loss_range", "gradient_predictiveness", "effective_beta"})
"""Diagnostics of the loss along the gradient: widths, which are drawn as bands from zero up."""

OTHERS = "others"
"""Name of the figure with all diagnostics that have no figure of their own."""

COLUMNS, ROWS = 3, 6
"""Panels side by side, and rows, on one page of them."""


def kind_of(measured: Measured) -> Kind:
    """Return the kind of figure that shows a diagnostic: by its facets, its unit and its name.

    A diagnostic with none of the known forms gets lines over steps.
    """
    facets, layers = measured.facets, [role for role in measured.roles if role != NETWORK]
    if sum(quantile_of(facet) is not None for facet in facets) > 1 and layers:
        return "fan"
    if not layers:
        if {facet.removeprefix(TRAIN) for facet in facets} <= set(STATISTICS):
            return "statistics comparison"
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


def figures_of(runs: Sequence[LabeledRun]) -> dict[str, list[str]]:
    """Return the figures that show all diagnostics of some runs: name of the figure -> the diagnostics in it.

    A diagnostic has a figure of its own if it is of a kind other than lines and ever changes. The others share pages
    of small panels.

    Args:
        runs: One run, or the runs of a comparison.
    """
    names = list(dict.fromkeys(name for each in runs for name in each.run.measured))
    own, others = {}, []
    for name in names:
        found = [each.run.measured[name] for each in runs if name in each.run.measured]
        if kind_of(found[0]) == "lines" or all(measured.is_constant() for measured in found):
            others.append(name)
        else:
            own[name] = [name]
    pages = [others[start : start + COLUMNS * ROWS] for start in range(0, len(others), COLUMNS * ROWS)]
    return own | {OTHERS if page == 0 else f"{OTHERS}-{page + 1}": content for page, content in enumerate(pages)}


def draw(names: Sequence[str], runs: Sequence[LabeledRun]) -> Figure:
    """Return one figure: of one diagnostic the kind that shows it best, of several a small panel each.

    Args:
        names: Names of diagnostics, each of which at least one of the runs has recorded.
        runs: The runs; those without the diagnostic are left out.
    """
    if len(names) > 1:
        return draw_others(names, runs)
    having = [each for each in runs if names[0] in each.run.measured]
    return DRAW[kind_of(having[0].run.measured[names[0]])](names[0], having)


def write_figures(
    runs: Sequence[LabeledRun], path_of: Callable[[str, str], Path], names: Sequence[str] | None = None
) -> Iterator[tuple[str, list[Path]]]:
    """Draw and save figures one by one; yield the name and the paths of each.

    Args:
        runs: One run, or the runs of a comparison.
        path_of: Function from a figure's name and format (``svg`` or ``png``) to the path of its file.
        names: Names of diagnostics, each of which gets a figure of its own; None for all figures of `figures_of`.

    Raises:
        RunError: A file cannot be written.
    """
    wanted = figures_of(runs) if names is None else {name: [name] for name in names}
    for name, content in wanted.items():
        with paper():
            paths = save(
                draw(content, runs),
                lambda kind, name=name: path_of(name, kind),  # type: ignore[misc]
                "Make room there, or allow writing.",
            )
        yield name, paths


def draw_others(names: Sequence[str], runs: Sequence[LabeledRun]) -> Figure:
    """Return a page of small panels, one per diagnostic: of one run a color per layer, of several a color per run.

    Args:
        names: Names of diagnostics, each of which at least one of the runs has recorded.
        runs: One or more runs.
    """
    several = len(runs) > 1
    recorded = [each.run.measured[name] for each in runs for name in names if name in each.run.measured]
    layers = list(dict.fromkeys(role for measured in recorded for role in measured.roles if role != NETWORK))
    colors = dict(zip(layers, layer_colors(len(layers)), strict=True)) | {NETWORK: INK}
    panels = []
    for name in names:
        found = [(each, each.run.measured[name]) for each in runs if name in each.run.measured]
        lines = [
            Line(curve, each.color if several else colors[key.role], label=str(key))
            for each, measured in found
            for key, curve in measured.curves.items()
        ]
        measured = found[0][1]
        panels.append(Panel(measured.title, measured.unit(measured.facets[0]), lines))
    summary = "A line per run, layer and facet." if several else "A line per layer and facet; black: the whole network."
    return draw_panels(
        Heading("all other diagnostics", summary, shared_settings(runs)),
        panels,
        min(COLUMNS, len(names)),
        legend=legend_of(runs) if several else layer_entries(layers),
        share_horizontal=False,
    )
