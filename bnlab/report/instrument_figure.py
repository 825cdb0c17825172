"""What instruments measured last, as a figure: arms over the layers, or side by side where there is one value."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from bnlab.diagnostics.cards import cards_by_record
from bnlab.report.instrument_rows import InstrumentRow, layer_means
from bnlab.report.network.axes import grid_lines, scale_steps, scale_values
from bnlab.report.network.layout import Heading, label_vertical, new_page, panel_title
from bnlab.report.palette import LINE, MOST_LINES, line_styles
from bnlab.report.style import paper, save
from bnlab.report.wording import is_counted_share
from bnlab.results.arms import Arm
from bnlab.results.curves import Curve
from bnlab.results.instruments import last_values

COLUMNS, MOST_PANELS = 2, 8
"""Panels side by side, and instruments with a panel at most."""

MOST_NAMES = 8
"""Layers up to which each is named below the axis; of more, every second one, and so on. Arms alike."""

LOG_FROM = 30.0
"""Largest over smallest value from which on an axis is logarithmic."""

BAND = 0.16
"""Opacity of a band from the least to the greatest seed."""

Values = Mapping[str, Mapping[int, float]]
"""Layer, with its facet behind a stroke -> seed -> value."""


def draw_instruments(arms: Sequence[Arm], names: Sequence[str], owner: str = "") -> Figure | None:
    """Return a panel per instrument; None where no run has measured any.

    Args:
        arms: The arms, each at its best learning rate.
        names: The instruments.
        owner: What the runs share, in words.
    """
    shown = [arm for arm in arms if arm.compared][:MOST_LINES]
    values = [last_values(arm, names) for arm in shown]
    found = list(dict.fromkeys(key.partition("/")[0] for of_arm in values for key in of_arm))
    found = found[:MOST_PANELS]
    if not found:
        return None
    cards = cards_by_record(found, names)
    styles = line_styles(len(shown))
    legend = {arm.label: style for arm, style in zip(shown, styles, strict=True)}
    heading = Heading("What was measured last", "", owner)
    page = new_page(heading, len(found), min(COLUMNS, len(found)), 2.7, legend=legend, share_horizontal=False)
    for axes, name in zip(page.panels, found, strict=True):
        own = [_of(name, of_arm) for of_arm in values]
        card = cards.get(name)
        facets = list(dict.fromkeys(key.partition("/")[2] for of_arm in own for key in of_arm))
        unit = "" if card is None else card.unit_of(facets[0], facets)
        main = [_main(of_arm, facets[0]) for of_arm in own]
        _draw(axes, main, unit, styles, list(legend))
        axes.grid(axis="y", color=LINE, linewidth=0.5)
        axes.set_axisbelow(True)
        scale_layers(axes, [v for of_arm in main for seeds in of_arm.values() for v in seeds.values()], unit)
        panel_title(axes, f"{name.replace('_', ' ')} {facets[0]}".strip())
        label_vertical(axes, unit)
    page.note("Line and dot: mean over seeds, geometric for sizes above 0. Band, whisker: from least to greatest seed.")
    return page.figure


def draw_over_steps(
    arms: Sequence[tuple[str, Mapping[str, Curve]]], rows: Sequence[InstrumentRow], owner: str = ""
) -> Figure | None:
    """Return a panel per instrument over the steps, in the layer of its row; None where nothing has two points.

    Args:
        arms: Label of each arm, and its curves by tag.
        rows: The instruments, each in one layer.
        owner: What the runs share, in words.
    """
    shown = [row for row in rows if any(len(of[row.key].steps) > 1 for _, of in arms if row.key in of)][:MOST_PANELS]
    if not shown:
        return None
    styles = line_styles(len(arms))
    legend = {label: style for (label, _), style in zip(arms, styles, strict=True)}
    heading = Heading("What was measured over training", "", owner)
    page = new_page(heading, len(shown), min(COLUMNS, len(shown)), 2.7, legend=legend, share_horizontal=False)
    for axes, row in zip(page.panels, shown, strict=True):
        curves = [(of[row.key], style) for (_, of), style in zip(arms, styles, strict=True) if row.key in of]
        values = np.concatenate([curve.mean for curve, _ in curves])
        scale_values([axes], values, row.unit)
        least, most = (0.0, 1.0) if row.is_share else (0.0 if row.scale == "log" else -np.inf, np.inf)
        for curve, (color, dashes) in curves:
            low, high = np.clip(curve.low, least, most), np.clip(curve.high, least, most)
            axes.fill_between(curve.steps, low, high, color=color, alpha=BAND, linewidth=0, zorder=2)
            axes.plot(curve.steps, curve.mean, color=color, linewidth=1.5, dashes=dashes or (None, None), zorder=3)
        scale_steps(axes, np.unique(np.concatenate([curve.steps for curve, _ in curves]).astype(float)))
        grid_lines(axes)
        panel_title(axes, f"{row.name.replace('_', ' ')} {row.layer}".strip())
        label_vertical(axes, row.unit)
    page.label_horizontal("step")
    page.note("Line: mean over seeds. Band: its 95% interval. Each in the layer where the arms differ most at the end.")
    return page.figure


def write_instruments(
    arms: Sequence[Arm], names: Sequence[str], owner: str, path_of: Callable[[str], Path]
) -> list[Path]:
    """Write the figure as SVG and as PNG; return the paths, none where there is nothing to draw.

    Args:
        arms: As for `draw_instruments`.
        names: As for `draw_instruments`.
        owner: As for `draw_instruments`.
        path_of: Function from the format to the path of the file.

    Raises:
        RunError: A file cannot be written.
    """
    with paper():
        figure = draw_instruments(arms, names, owner)
        return [] if figure is None else save(figure, path_of, "Make room there, or allow writing.")


def _of(name: str, of_arm: Values) -> Values:
    return {key.partition("/")[2]: seeds for key, seeds in of_arm.items() if key.partition("/")[0] == name}


def _main(own: Values, facet: str) -> Values:
    """Return the values of one facet by layer."""
    return {key.partition("/")[0]: seeds for key, seeds in own.items() if key.partition("/")[2] == facet}


def _draw(
    axes: Axes,
    of_arms: Sequence[Values],
    unit: str,
    styles: Sequence[tuple[str, tuple[float, ...]]],
    labels: Sequence[str],
) -> None:
    means_of = layer_means(of_arms, unit)
    layers = list(dict.fromkeys(layer for own in of_arms for layer in own))
    if len(layers) == 1:
        for place, (own, means, (color, _)) in enumerate(zip(of_arms, means_of, styles, strict=True)):
            seeds = list(own.get(layers[0], {}).values())
            if seeds:
                axes.plot([place, place], [min(seeds), max(seeds)], color=color, linewidth=1.4, zorder=3)
                axes.plot([place], [means[layers[0]]], color=color, marker="o", markersize=6, zorder=4)
        axes.set_xlim(-0.7, len(of_arms) - 0.3)
        axes.set_xticks(range(len(of_arms)), labels if len(labels) <= MOST_NAMES else [""] * len(labels))
        return
    for own, means, (color, dashes) in zip(of_arms, means_of, styles, strict=True):
        places = [place for place, layer in enumerate(layers) if layer in own]
        seeds_of = [list(own[layers[place]].values()) for place in places]
        axes.fill_between(
            places, [min(of) for of in seeds_of], [max(of) for of in seeds_of], color=color, alpha=BAND, linewidth=0
        )
        heights, dashed = [means[layers[place]] for place in places], dashes or (None, None)
        axes.plot(places, heights, color=color, linewidth=1.6, dashes=dashed, marker="o", markersize=3, zorder=3)
    every = -(-len(layers) // MOST_NAMES)
    axes.set_xticks(range(0, len(layers), every), layers[::every])


def scale_layers(axes: Axes, values: Sequence[float], unit: str, write: Callable[[float], str] | None = None) -> None:
    """Set the vertical axis of what an instrument measured.

    Args:
        axes: The panel to scale.
        values: All values that it shows, at least one.
        unit: Their unit, in words.
        write: Value -> text, where the axis is logarithmic; None: powers of ten.
    """
    low, high = min(values), max(values)
    if is_counted_share(unit):
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g}%"))
        axes.set_ylim(-0.02 * (high or 0.1), 1.08 * (high or 0.1))
    elif low > 0 and high > LOG_FROM * low:
        axes.set_yscale("log")
        axes.set_ylim(low / 1.5, high * 1.5)
        axes.yaxis.set_major_locator(LogLocator(numticks=6))
        axes.yaxis.set_minor_formatter(NullFormatter())
        if write is not None:
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: write(value)))
            axes.yaxis.set_minor_locator(NullLocator())
    elif low >= 0:
        axes.set_ylim(0, 1.08 * (high or 1.0))
