"""Figures of what was measured inside networks: one kind for each kind of question, several runs on the same axes.

    heat     shares per layer: layers by measured steps, in color; a panel per run
    fan      quantiles: nested bands over steps; a row per run, a column per layer
    depth    what changes from layer to layer: over depth, a line per measured step; a panel per run
    band     loss along the gradient: its lowest and highest over steps, all runs in one panel
    lines    all else: over steps, a line per layer; a panel per run, a row per facet

Shape letters: L layers, T measured steps.
"""

from collections.abc import Sequence
from typing import Any, Literal, cast

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter

from bnlab.report.inside import WHOLE, Measure
from bnlab.report.paper import COLORS, DASHES, INK, LARGE, QUIET, SMALL, USUAL, new_figure, tidy

Kind = Literal["heat", "fan", "depth", "band", "lines"]

PANEL_WIDTH, PANEL_HEIGHT = 4.2, 2.9
"""Inches."""

MARGIN_LEFT, MARGIN_TOP, MARGIN_BOTTOM, MARGIN_RIGHT = 0.85, 0.95, 0.62, 0.25
"""Inches around the panels."""

MOST_LAYERS = 10
"""Lines of one panel: of more layers, as many are drawn, evenly spaced, the first and the last among them."""

MOST_STEP_LABELS = 12
"""Labels below a heat map; of more measured steps, every so many has one."""

STEPS = "viridis"
"""Colors of steps, and of layers by depth: ordered, and readable without color vision."""

SHARES = "magma_r"
"""Colors of shares: white for none."""

DEPTH = {"gradient_norm", "preactivation_gradient_norm", "relative_gradient_norm", "effective_rank", "mean_cosine"}
"""Diagnostics whose question is what depth does."""


def kind_of(measure: Measure) -> Kind:
    """Return the kind of figure that suits a diagnostic.

    Args:
        measure: Of some run.
    """
    if {"q15", "q50", "q85"} <= set(measure.facets):
        return "fan"
    if {"fixed_lowest", "fixed_highest"} <= set(measure.facets):
        return "band"
    if measure.roles == (WHOLE,):
        return "lines"
    if measure.card.name in DEPTH and len(measure.roles) > 2:
        return "depth"
    return "heat" if measure.card.unit.startswith("share of") and measure.facets == ("",) else "lines"


def draw(measures: Sequence[Measure], labels: Sequence[str]) -> Figure:
    """Return the figure of one diagnostic in one run or in several.

    Args:
        measures: Of each run.
        labels: What each run is called.
    """
    kind = kind_of(measures[0])
    if kind == "fan":
        return _draw_fans(measures, labels)
    if kind == "band":
        return _draw_bands(measures, labels)
    if kind == "lines":
        return _draw_lines(measures, labels)
    figure, panels = _panels(measures[0], 1, len(measures), labels, sharey=kind == "depth")
    for axes, measure in zip(panels[0], measures, strict=True):
        if kind == "heat":
            _heat(figure, axes, measure, is_last=axes is panels[0][-1])
        else:
            _depth(axes, measure)
    if kind == "depth":
        _color_bar(figure, panels[0][-1], measures[0])
    return figure


def _panels(
    measure: Measure, num_rows: int, num_columns: int, labels: Sequence[str], sharey: bool, width: float = PANEL_WIDTH
) -> tuple[Figure, list[list[Axes]]]:
    """Return a figure with a title and rows of empty panels, the columns labelled."""
    total_width = MARGIN_LEFT + num_columns * width + MARGIN_RIGHT
    total_height = MARGIN_TOP + num_rows * PANEL_HEIGHT + MARGIN_BOTTOM
    figure = new_figure(total_width, total_height)
    grid = figure.subplots(num_rows, num_columns, squeeze=False, sharex=True, sharey=sharey)
    figure.subplots_adjust(
        left=MARGIN_LEFT / total_width,
        right=1 - MARGIN_RIGHT / total_width,
        top=1 - MARGIN_TOP / total_height,
        bottom=MARGIN_BOTTOM / total_height,
        wspace=0.16,
        hspace=0.16,
    )
    x = MARGIN_LEFT / total_width
    title = measure.card.name.replace("_", " ")
    figure.text(x, 1 - 0.3 / total_height, title, fontsize=LARGE, color=INK, weight="bold")
    summary = measure.card.summary if len(measure.card.summary) < 30 * num_columns * width / 2 else ""
    figure.text(x, 1 - 0.53 / total_height, summary, fontsize=SMALL, color=QUIET)
    rows = [list(row) for row in grid]
    for axes, label in zip(rows[0], labels, strict=False):
        axes.set_title(label, loc="left", fontsize=USUAL, color=INK)
    for row in rows:
        for axes in row:
            tidy(axes)
    return figure, cast("list[list[Axes]]", rows)


def _over_steps(axes: Axes, steps: Sequence[int], is_lowest: bool) -> None:
    axes.set_xscale("symlog", linthresh=1, linscale=0.4)
    axes.set_xlim(0, max(1, *steps) * 1.05)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
    axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    if is_lowest:
        axes.set_xlabel("step", fontsize=USUAL, color=INK)


def _heat(figure: Figure, axes: Axes, measure: Measure, is_last: bool) -> None:
    """Draw layers by measured steps: each measured step has a column, however far it is from the next."""
    values_LT = np.array([measure.of(role) for role in measure.roles])
    colors = mpl.colormaps[SHARES].copy()
    colors.set_bad("#B8C4CC")
    image = axes.imshow(values_LT, aspect="auto", cmap=colors, vmin=0, vmax=1, interpolation="nearest", origin="lower")
    every = -(-len(measure.steps) // MOST_STEP_LABELS)
    shown = list(range(0, len(measure.steps), every))
    axes.set_xticks(shown, [f"{measure.steps[t]:,}" for t in shown], rotation=45, ha="right")
    skip = -(-len(measure.roles) // 20)
    axes.set_yticks(range(0, len(measure.roles), skip), measure.roles[::skip])
    axes.set_xlabel("step (each column one look)", fontsize=USUAL, color=INK)
    if is_last:
        bar = figure.colorbar(image, ax=axes, fraction=0.05, pad=0.03, format=PercentFormatter(1.0, decimals=0))
        bar.ax.tick_params(labelsize=SMALL, colors=QUIET)
        bar.set_label(measure.card.unit, fontsize=SMALL, color=QUIET)


def _depth(axes: Axes, measure: Measure) -> None:
    """Draw over depth, a line per measured step, colored by it."""
    roles = [role for role in measure.roles if role != "output"]
    norm = _step_norm(measure)
    for t, step in enumerate(measure.steps):
        values_L = np.array([measure.of(role)[t] for role in roles])
        axes.plot(range(1, len(roles) + 1), values_L, color=mpl.colormaps[STEPS](norm(step)), linewidth=1.4)
    values = np.concatenate([measure.of(role) for role in roles])
    finite = values[np.isfinite(values) & (values > 0)]
    if finite.size and finite.max() / finite.min() > 20:
        axes.set_yscale("log")
    axes.set_xlabel("hidden layer", fontsize=USUAL, color=INK)
    axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
    if axes.get_subplotspec().is_first_col():  # type: ignore[union-attr]
        axes.set_ylabel(measure.card.unit, fontsize=USUAL, color=INK)


def _step_norm(measure: Measure) -> Any:
    return SymLogNorm(1, vmin=0, vmax=max(2, *measure.steps), base=10)


def _color_bar(figure: Figure, axes: Axes, measure: Measure) -> None:
    bar = figure.colorbar(ScalarMappable(_step_norm(measure), STEPS), ax=axes, fraction=0.05, pad=0.03)
    bar.set_label("step", fontsize=SMALL, color=QUIET)
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
    bar.ax.tick_params(labelsize=SMALL, colors=QUIET)
    bar.ax.yaxis.set_minor_locator(mpl.ticker.NullLocator())


def chosen_layers(roles: Sequence[str]) -> list[str]:
    """Return the layers that are drawn: of many, some that are evenly spaced, with the first and the last.

    Args:
        roles: In order.
    """
    if len(roles) <= MOST_LAYERS:
        return list(roles)
    places = np.linspace(0, len(roles) - 1, MOST_LAYERS).round().astype(int)
    return [roles[place] for place in places]


def _draw_fans(measures: Sequence[Measure], labels: Sequence[str]) -> Figure:
    layers = chosen_layers(measures[0].roles)[-5:]
    figure, rows = _panels(measures[0], len(measures), len(layers), layers, sharey=True, width=2.6)
    for row, measure, label, color in zip(rows, measures, labels, _colors(len(measures)), strict=True):
        for axes, role in zip(row, layers, strict=True):
            x = np.asarray(measure.steps)
            for low, high, alpha in (("q02", "q98", 0.16), ("q15", "q85", 0.32)):
                if low in measure.facets:
                    axes.fill_between(
                        x, measure.of(role, low), measure.of(role, high), color=color, alpha=alpha, linewidth=0
                    )
            axes.plot(x, measure.of(role, "q50"), color=color, linewidth=1.6)
            _over_steps(axes, measure.steps, is_lowest=row is rows[-1])
        row[0].set_ylabel(f"{label}\n{measure.card.unit}", fontsize=SMALL, color=INK)
    outer = "2 to 98% and " if "q02" in measures[0].facets else ""
    _foot(figure, f"Line: median. Bands: {outer}15 to 85%.")
    return figure


def _draw_bands(measures: Sequence[Measure], labels: Sequence[str]) -> Figure:
    figure, rows = _panels(measures[0], 1, 1, [""], sharey=False, width=6.5)
    axes = rows[0][0]
    for measure, label, color in zip(measures, labels, _colors(len(measures)), strict=True):
        low, high = measure.of(WHOLE, "fixed_lowest"), measure.of(WHOLE, "fixed_highest")
        axes.fill_between(measure.steps, low, high, color=color, alpha=0.25, linewidth=0, label=label)
        for edge in (low, high):
            axes.plot(measure.steps, edge, color=color, linewidth=1.2, marker="o", markersize=3)
    _over_steps(axes, measures[0].steps, is_lowest=True)
    axes.set_ylabel("loss along the gradient", fontsize=USUAL, color=INK)
    highest = np.concatenate([measure.of(WHOLE, "fixed_highest") for measure in measures])
    lowest = np.concatenate([measure.of(WHOLE, "fixed_lowest") for measure in measures])
    if np.nanmin(lowest) > 0 and np.nanmax(highest) / np.nanmin(lowest) > 20:
        axes.set_yscale("log")
    _legend(axes)
    _foot(
        figure, "From the lowest to the highest loss at 1/2, 1, 2 and 4 steps along the gradient, the same in all runs."
    )
    return figure


def _draw_lines(measures: Sequence[Measure], labels: Sequence[str]) -> Figure:
    if all(measure.roles == (WHOLE,) for measure in measures):
        return _draw_whole(measures, labels)
    facets = list(dict.fromkeys(facet for measure in measures for facet in measure.facets))
    figure, rows = _panels(measures[0], len(facets), len(measures), labels, sharey=False)
    for row, facet in zip(rows, facets, strict=True):
        for axes, measure in zip(row, measures, strict=True):
            layers = chosen_layers(measure.roles)
            for place, role in enumerate(layers):
                color = mpl.colormaps[STEPS](0.9 * place / max(1, len(layers) - 1))
                axes.plot(measure.steps, measure.of(role, facet), color=color, linewidth=1.5, label=role)
            _over_steps(axes, measure.steps, is_lowest=row is rows[-1])
        _same_heights(row)
        row[0].set_ylabel(facet.replace("_", " ") or _short(measures[0].card.unit), fontsize=USUAL, color=INK)
    _legend(rows[0][-1])
    return figure


def _draw_whole(measures: Sequence[Measure], labels: Sequence[str]) -> Figure:
    """Draw what is measured of whole networks: a panel per group of facets, a color per run."""
    groups = _facet_groups(list(dict.fromkeys(facet for measure in measures for facet in measure.facets)))
    figure, rows = _panels(measures[0], 1, len(groups), list(groups), sharey=False)
    colors = _colors(len(measures))
    for axes, facets in zip(rows[0], groups.values(), strict=True):
        for measure, label, color in zip(measures, labels, colors, strict=True):
            for facet, dashes in zip(facets, DASHES * len(facets), strict=False):
                what = " ".join(part for part in (label if len(measures) > 1 else "", _last(facet)) if part)
                axes.plot(
                    measure.steps,
                    measure.of(WHOLE, facet),
                    color=color if len(measures) > 1 else COLORS[facets.index(facet) % len(COLORS)],
                    dashes=dashes or (None, None),
                    linewidth=1.6,
                    marker="o",
                    markersize=3,
                    label=what or label,
                )
        _over_steps(axes, measures[0].steps, is_lowest=True)
        _same_heights([axes])
        _legend(axes)
    if measures[0].card.unit == "share of images":
        for axes in rows[0]:
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    rows[0][0].set_ylabel(_short(measures[0].card.unit), fontsize=USUAL, color=INK)
    return figure


def _facet_groups(facets: Sequence[str]) -> dict[str, list[str]]:
    """Return facets by the panel that they share: held-out and training images, absolute and relative figures."""
    groups: dict[str, list[str]] = {}
    for facet in facets:
        if facet.startswith("train_"):
            title = "training images"
        elif f"train_{facet}" in facets:
            title = "held-out images"
        elif facet.endswith("_relative"):
            title = "relative"
        else:
            title = "absolute" if f"{facet}_relative" in facets else ""
        if len(facets) <= 3 and not title:
            title = facet  # of different units, mostly
        groups.setdefault(title, []).append(facet)
    return groups


def _last(facet: str) -> str:
    return facet.removeprefix("train_").removesuffix("_relative").replace("_", " ")


def _short(unit: str) -> str:
    return unit.partition(";")[0]


def _same_heights(row: Sequence[Axes]) -> None:
    """Give panels one vertical axis, logarithmic where the values span decades."""
    drawn = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for axes in row for line in axes.get_lines()])
    finite = drawn[np.isfinite(drawn)]
    if not finite.size:
        return
    positive = finite[finite > 0]
    if finite.min() >= 0 and positive.size and positive.max() / positive.min() > 50:
        for axes in row:
            axes.set_yscale("log")
            axes.set_ylim(positive.min() / 1.3, positive.max() * 1.3)
        return
    room = 0.06 * (np.ptp(finite) or max(abs(finite.max()), 1e-6))
    for axes in row:
        axes.set_ylim(finite.min() - room, finite.max() + room)


def _colors(number: int) -> list[str]:
    return [COLORS[place % len(COLORS)] for place in range(number)]


def _legend(axes: Axes) -> None:
    axes.legend(frameon=False, fontsize=SMALL, labelcolor=INK, handlelength=1.6, loc="best")


def _foot(figure: Figure, text: str) -> None:
    figure.text(MARGIN_LEFT / figure.get_figwidth(), 0.08 / figure.get_figheight(), text, fontsize=SMALL, color=QUIET)
