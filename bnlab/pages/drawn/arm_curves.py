"""Validation accuracy and loss over the steps of training: a line per arm, with its interval over seeds."""

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

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
from bnlab.report.training_curves import scale_losses
from bnlab.results.curves import Curve
from bnlab.stats.response import Metric

HEIGHT = 2.5
"""Inches."""

MOST_POINTS, MOST_ROWS, MARKS = 60, 9, 6
"""Points of a line and rows of the table, at most; marks on a line."""


def draw_curves(
    curves: Sequence[tuple[str, Mapping[str, Curve]]],
    metric: Metric,
    name: str,
    words: Words,
    is_of_one_seed: bool = False,
) -> Picture | None:
    """Return the figure of the arms' validation accuracy or loss over steps; None where no arm has three steps.

    Args:
        curves: Label of each arm, and its curves by tag.
        metric: Validation accuracy or loss.
        name: A name that no other figure of the page has.
        words: The fixed words of the page's language.
        is_of_one_seed: Whether no arm has two runs: then there are no intervals, and none is spoken of.
    """
    tag = f"eval/{metric}"
    shown = [(label, of[tag]) for label, of in curves if tag in of and len(of[tag].steps) > 2]
    shown = shown[:MOST_ARMS]
    if not shown:
        return None
    labels = labels_of([label for label, _ in shown])
    page, axes = new_axes(HEIGHT, up=words(f"axis_{metric}"), across=words("axis_step"))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
    for place, (_, curve) in enumerate(shown):
        _line(axes, curve, place)
    _scale(axes, [curve for _, curve in shown], metric)
    axes.set_xlim(left=0)
    ends = ", ".join(
        f"{label} {_value(curve.mean[-1], metric)}" for label, (_, curve) in zip(labels, shown, strict=True)
    )
    title = words("fig_curves" if metric == "accuracy" else "fig_curves_loss")
    told = words("alt_curves" if metric == "accuracy" else "alt_curves_loss", ends=ends)
    drawing = Drawing(to_inline(page, name, title, told))
    legend = tuple((label, line_style(place)) for place, label in enumerate(labels))
    steps = sorted({step for _, curve in shown for step in curve.steps})
    kept = [steps[place] for place in spread_out(len(steps), MOST_ROWS)]
    rows = [_row(step, [curve for _, curve in shown], metric, is_of_one_seed) for step in kept]
    note = words("fig_curves_note_one_seed" if is_of_one_seed else "fig_curves_note")
    return Picture(title, note, (drawing,), text_table((words("step"), *labels), rows), legend)


def _scale(axes: Axes, curves: Sequence[Curve], metric: Metric) -> None:
    if metric == "accuracy":
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.set_ylim(0, 1.02)
        return
    means = [mean for curve in curves for mean in curve.mean if math.isfinite(mean)]
    scale_losses(axes, min(means, default=0.0), max(means, default=1.0), number)


def _line(axes: Axes, curve: Curve, place: int) -> None:
    style = line_style(place)
    kept = spread_out(len(curve.steps), MOST_POINTS)
    steps, mean, low, high = ([of[i] for i in kept] for of in (curve.steps, curve.mean, curve.low, curve.high))
    axes.fill_between(steps, low, high, color=style.color, alpha=0.15, linewidth=0, zorder=2)
    axes.plot(
        steps,
        mean,
        color=style.color,
        linewidth=1.5,
        dashes=style.dashes or (None, None),
        marker=style.marker,
        markersize=4,
        markevery=(place % 3, max(1, len(kept) // MARKS)),
        zorder=3,
    )


def _row(step: int, curves: Sequence[Curve], metric: Metric, is_of_one_seed: bool) -> list[str]:
    row = [number(step, 6)]
    for curve in curves:
        if step not in curve.steps:
            row.append("–")
            continue
        place = curve.steps.index(step)
        if is_of_one_seed:
            row.append(_value(curve.mean[place], metric))
            continue
        ends = [_value(end, metric).removesuffix("%") for end in (curve.low[place], curve.high[place])]
        row.append(f"{_value(curve.mean[place], metric)} [{ends[0]}, {ends[1]}]")
    return row


def _value(value: float, metric: Metric) -> str:
    return f"{100 * value:.1f}%" if metric == "accuracy" else number(value)
