"""Figures of what is said of a whole network: the band of the loss landscape, and BatchNorm's two faces."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bnlab.report.network.axes import (
    foot,
    grid_lines,
    head,
    head_height,
    head_lines,
    legend,
    legend_height,
    new_grid,
    panel_title,
    scale_steps,
    scale_values,
)
from bnlab.report.network.labels import Shown, whose
from bnlab.report.network.lines import all_values, plot_curve
from bnlab.report.network.read import NETWORK, Curve, Key, Measured
from bnlab.report.palette import COLORS, INK, USUAL

TRAIN = "train_"
"""Begins the facets of training images; the others are of the held-out ones."""

STATISTICS = {
    "running": (COLORS[0], "running statistics, as in eval mode"),
    "precise": (COLORS[2], "precise statistics, of the training set"),
    "batch": (COLORS[1], "batch statistics, as in training"),
}


def draw_faces(name: str, shown: Sequence[Shown]) -> Figure:
    """Return what one set of images gets by running, precise and batch statistics; the gap is filled.

    Args:
        name: Of a diagnostic whose facets are statistics, of held-out images and of training images.
        shown: The runs, each of which has it; with several, a column each.
    """
    found = [each.run.measured[name] for each in shown]
    facets = {facet for measured in found for facet in measured.facets}
    sets = [prefix for prefix in ("", TRAIN) if any(prefix + how in facets for how in STATISTICS)]
    several = len(shown) > 1
    rows, columns = (len(sets), len(shown)) if several else (1, len(sets))
    lines = head_lines(found[0])
    entries = {told: (color, ()) for how, (color, told) in STATISTICS.items() if {how, TRAIN + how} & facets}
    figure, panels = new_grid(
        rows,
        columns,
        2.6 if rows == 1 else 1.9,
        above=head_height(lines, legend_height(list(entries))),
        below=0.75,
        gap=(0.3, 0.5),
    )
    steps = np.unique(np.concatenate([measured.steps for measured in found]))
    unit = found[0].unit(found[0].facets[0])
    flat = [axes for row in panels for axes in row]
    scale_values(flat, all_values(found), unit)
    for row, prefix in enumerate(sets):
        for column, (each, measured) in enumerate(zip(shown, found, strict=True)):
            axes = panels[row][column] if several else panels[0][row]
            _faces(axes, measured, prefix)
            scale_steps(axes, steps, named=not several or row == len(sets) - 1, wide=columns < 3)
            grid_lines(axes)
            what = "training images" if prefix else "held-out images"
            panel_title(axes, f"{each.label}: {what}" if several else what)
            if (column if several else row) == 0:
                axes.set_ylabel(unit, color=INK, fontsize=USUAL)
            else:
                axes.tick_params(axis="y", labelleft=False, which="both")
    legend(figure, entries, 0.62 + 0.19 * len(lines))
    head(figure, found[0].title, lines, whose(shown))
    foot(figure, "Filled: the gap between running and batch statistics.")
    return figure


def _faces(axes: Axes, measured: Measured, prefix: str) -> None:
    curves = {how: measured.curves.get(Key(NETWORK, prefix + how)) for how in STATISTICS}
    running, batch = curves["running"], curves["batch"]
    if running is not None and batch is not None and np.array_equal(running.steps, batch.steps):
        axes.fill_between(running.steps, running.values, batch.values, color=COLORS[1], alpha=0.14, linewidth=0)
    for how, curve in curves.items():
        if curve is not None:
            plot_curve(axes, curve, STATISTICS[how][0], label=how)


def bands_of(measured: Measured) -> list[tuple[str, str | None, str]]:
    """Return the bands that a network's facets make: (name, facet of the lower end, facet of the upper end).

    ``x_low`` and ``x_high``, or ``low`` and ``high``, are the ends of one; every other facet is a width, from zero up.
    """
    bands: list[tuple[str, str | None, str]] = []
    for facet in measured.facets:
        stem, is_low, is_high = facet.removesuffix("low"), facet.endswith("low"), facet.endswith("high")
        if is_low and f"{stem}high" in measured.facets:
            bands.append((stem.rstrip("_"), facet, f"{stem}high"))
        elif not (is_high and f"{facet.removesuffix('high')}low" in measured.facets):
            bands.append((facet, None, facet))
    return bands


def draw_band(name: str, shown: Sequence[Shown]) -> Figure:
    """Return how far the loss landscape goes up and down along the step, as bands over the steps.

    Args:
        name: Of a diagnostic of the whole network.
        shown: The runs, each of which has it, one color each.
    """
    found = [each.run.measured[name] for each in shown]
    bands = list(dict.fromkeys(band for measured in found for band in bands_of(measured)))
    columns = min(len(bands), 2)
    lines = head_lines(found[0])
    names = [each.label for each in shown] if len(shown) > 1 else []
    rows = -(-len(bands) // columns)
    figure, panels = new_grid(
        rows,
        columns,
        2.6 if rows == 1 else 2.0,
        above=head_height(lines, legend_height(names) if names else 0.0),
        below=0.75,
        gap=(0.85, 0.55),
    )
    steps = np.unique(np.concatenate([measured.steps for measured in found]))
    flat = [axes for row in panels for axes in row]
    for place, (axes, (title, low, high)) in enumerate(zip(flat, bands, strict=False)):
        unit = found[0].unit(high)
        is_log = scale_values([axes], all_values(found, [facet for facet in (low, high) if facet is not None]), unit)
        floor = axes.get_ylim()[0]
        for each, measured in zip(shown, found, strict=True):
            _band(axes, measured, low, high, each, floor if is_log else 0.0)
        scale_steps(axes, steps, named=place + columns >= len(bands))
        grid_lines(axes)
        panel_title(axes, title.replace("_", " "))
        axes.set_ylabel(unit if len(unit) < 36 else unit[:34] + "…", color=INK, fontsize=USUAL)
    for axes in flat[len(bands) :]:
        axes.remove()
    if names:
        legend(figure, {each.label: (each.color, each.dashes) for each in shown}, 0.62 + 0.19 * len(lines))
    head(figure, found[0].title, lines, whose(shown))
    return figure


def _band(axes: Axes, measured: Measured, low: str | None, high: str, each: Shown, floor: float) -> None:
    top = measured.curves.get(Key(NETWORK, high))
    if top is None:
        return
    below = measured.curves.get(Key(NETWORK, low)) if low is not None else None
    bottom = np.full_like(top.values, floor) if below is None else below.values
    axes.fill_between(top.steps, bottom, top.values, color=each.color, alpha=0.16, linewidth=0, zorder=2)
    plot_curve(axes, top, each.color, each.dashes, each.label)
    if below is not None:
        plot_curve(axes, Curve(below.steps, below.values), each.color, each.dashes, f"_{each.label}")
