"""What an instrument measured last, from the first layer to the last: a line per arm, its band over the seeds."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes

from bnlab.pages.amounts import number
from bnlab.pages.drawn.inline_svg import to_inline
from bnlab.pages.drawn.picture import (
    MOST_ARMS,
    Drawing,
    Picture,
    labels_of,
    line_style,
    new_axes,
    spread_out,
    text_table,
)
from bnlab.pages.words import Words
from bnlab.report.instrument_figure import scale_layers
from bnlab.report.instrument_rows import layer_means
from bnlab.report.wording import is_counted_share

HEIGHT = 2.3
"""Inches."""

MOST_NAMES, MOST_ROWS = 5, 16
"""Layers that are named below the axis, and layers in the table, at most."""

Layers = Mapping[str, Mapping[int, float]]
"""Layer -> seed -> value, in the order of the network."""


def draw_layer_lines(
    arms: Sequence[tuple[str, Layers]], instrument: str, unit: str, name: str, words: Words
) -> Picture | None:
    """Return the figure of an instrument over the layers; None where no arm has two layers.

    Args:
        arms: Label of each arm, and its values.
        instrument: The instrument, as records name it.
        unit: The unit of its values, in words.
        name: A name that no other figure of the page has.
        words: The fixed words of the page's language.
    """
    shown = [(label, of) for label, of in arms if len(of) > 1][:MOST_ARMS]
    if not shown:
        return None
    labels = labels_of([label for label, _ in shown])
    layers = list(dict.fromkeys(layer for _, of in shown for layer in of))
    what = words.metric(instrument)
    page, axes = new_axes(HEIGHT, up=what, across=words("axis_layer"))
    means = layer_means([of for _, of in shown], unit)
    for place, (_, of) in enumerate(shown):
        _line(axes, of, means[place], layers, place)
    scale_layers(axes, [value for _, of in shown for seeds in of.values() for value in seeds.values()], unit, number)
    places = spread_out(len(layers), MOST_NAMES)
    margin = 0.06 * (len(layers) - 1)  # of the browser's fonts the names at the ends need more room than the axes have
    axes.set_xlim(-margin, len(layers) - 1 + margin)
    axes.set_xticks(places, [labels_of([layers[place]])[0] for place in places])
    title = words("fig_measured", what=what)
    ends = ", ".join(f"{label} {_mean(of, layers[-1], unit)}" for label, of in zip(labels, means, strict=True))
    drawing = Drawing(to_inline(page, name, title, words("alt_measured", what=what, layers=len(layers), ends=ends)))
    rows = [
        [labels_of([layers[place]])[0], *(_mean(of, layers[place], unit) for of in means)]
        for place in spread_out(len(layers), MOST_ROWS)
    ]
    legend = tuple((label, line_style(place)) for place, label in enumerate(labels))
    return Picture(title, words("fig_measured_note"), (drawing,), text_table((words("layer"), *labels), rows), legend)


def _line(axes: Axes, of: Layers, means: Mapping[str, float], layers: Sequence[str], number_of_arm: int) -> None:
    style = line_style(number_of_arm)
    places = [place for place, layer in enumerate(layers) if layer in of]
    seeds = [list(of[layers[place]].values()) for place in places]
    low, high = [min(each) for each in seeds], [max(each) for each in seeds]
    axes.fill_between(places, low, high, color=style.color, alpha=0.15, linewidth=0, zorder=2)
    heights, dashes = [means[layers[place]] for place in places], style.dashes or (None, None)
    axes.plot(places, heights, color=style.color, linewidth=1.5, dashes=dashes, marker=style.marker, markersize=4)


def _mean(of: Mapping[str, float], layer: str, unit: str) -> str:
    if layer not in of:
        return "–"
    return f"{100 * of[layer]:.3g}%" if is_counted_share(unit) else number(of[layer])
