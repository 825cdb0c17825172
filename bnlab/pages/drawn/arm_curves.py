"""Validation accuracy over the steps of training: a line per arm, with its interval over seeds."""

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
from bnlab.results.curves import Curve

HEIGHT = 2.5
"""Inches."""

MOST_POINTS, MOST_ROWS, MARKS = 60, 9, 6
"""Points of a line and rows of the table, at most; marks on a line."""

ACCURACY = "eval/accuracy"
"""The tag of validation accuracy."""


def draw_curves(curves: Sequence[tuple[str, Mapping[str, Curve]]], name: str, words: Words) -> Picture | None:
    """Return the figure of the arms' accuracy over steps; None where no arm has more than one step.

    Args:
        curves: Label of each arm, and its curves by tag.
        name: A name that no other figure of the page has.
        words: The fixed words of the page's language.
    """
    shown = [(label, of[ACCURACY]) for label, of in curves if ACCURACY in of and len(of[ACCURACY].steps) > 2]
    shown = shown[:MOST_ARMS]
    if not shown:
        return None
    labels = labels_of([label for label, _ in shown])
    page, axes = new_axes(HEIGHT, up=words("axis_accuracy"), across=words("axis_step"))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
    for place, (_, curve) in enumerate(shown):
        _line(axes, curve, place)
    axes.set_ylim(0, 1.02)
    axes.set_xlim(left=0)
    ends = ", ".join(f"{label} {100 * curve.mean[-1]:.1f}%" for label, (_, curve) in zip(labels, shown, strict=True))
    title = words("fig_curves")
    drawing = Drawing(to_inline(page, name, title, words("alt_curves", ends=ends)))
    legend = tuple((label, line_style(place)) for place, label in enumerate(labels))
    steps = sorted({step for _, curve in shown for step in curve.steps})
    rows = [_row(steps[place], [curve for _, curve in shown]) for place in spread_out(len(steps), MOST_ROWS)]
    return Picture(title, words("fig_curves_note"), (drawing,), text_table((words("step"), *labels), rows), legend)


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


def _row(step: int, curves: Sequence[Curve]) -> list[str]:
    row = [number(step, 6)]
    for curve in curves:
        if step not in curve.steps:
            row.append("–")
            continue
        place = curve.steps.index(step)
        low, high = 100 * curve.low[place], 100 * curve.high[place]
        row.append(f"{100 * curve.mean[place]:.1f}% [{low:.1f}, {high:.1f}]")
    return row
