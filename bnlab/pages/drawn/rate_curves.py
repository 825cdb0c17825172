"""What runs end with against the learning rate: a line per arm, its band from the worst to the best seed."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, PercentFormatter

from bnlab.pages.amounts import number
from bnlab.pages.drawn.inline_svg import to_inline
from bnlab.pages.drawn.picture import (
    MOST_ARMS,
    DataTable,
    Drawing,
    Picture,
    labels_of,
    line_style,
    new_axes,
    spread_out,
    text_table,
    without_small_ticks,
)
from bnlab.pages.words import Words
from bnlab.results.arms import Arm
from bnlab.stats.response import Metric

HEIGHT = 2.5
"""Inches."""

MOST_ROWS = 11
"""Learning rates in the table, at most."""

LINEAR_DOWN_TO = 0.5
"""Share of the highest loss: where no loss is below it, the axis is linear."""


def draw_rates(arms: Sequence[Arm], metric: Metric, name: str, words: Words) -> Picture | None:
    """Return the figure of the arms' final loss or accuracy; None where no arm has two learning rates.

    Args:
        arms: The arms, with their outcome at each learning rate.
        metric: Final validation loss, or accuracy.
        name: A name that no other figure of the page has.
        words: The fixed words of the page's language.
    """
    shown = [arm for arm in arms if len(arm.compared) > 1][:MOST_ARMS]
    if not shown:
        return None
    labels = labels_of([arm.label for arm in shown])
    page, axes = new_axes(HEIGHT, up=words(f"axis_{metric}"), across=words("axis_lr"))
    for place, arm in enumerate(shown):
        _arm(axes, arm, metric, place)
    _scale(axes, shown, metric)
    without_small_ticks(axes)
    lrs = sorted({cell.lr for arm in shown for cell in arm.compared})
    ends = []
    for label, arm in zip(labels, shown, strict=True):
        best = arm.best(metric)
        if best is not None and best.lr is not None:
            ends.append(f"{label} {_value(best.cell.mean(metric).value, metric)} ({number(best.lr)})")
    title = words("fig_rates" if metric == "accuracy" else "fig_rates_loss")
    texts = {"num": len(lrs), "low": number(lrs[0]), "high": number(lrs[-1]), "ends": ", ".join(ends)}
    drawing = Drawing(to_inline(page, name, title, words("alt_rates", **texts)))
    legend = tuple((label, line_style(place)) for place, label in enumerate(labels))
    return Picture(title, words("fig_rates_note"), (drawing,), _table(shown, labels, lrs, metric, words), legend)


def _arm(axes: Axes, arm: Arm, metric: Metric, place: int) -> None:
    style = line_style(place)
    lrs = [cell.lr for cell in arm.compared]
    values = [[outcome.value(metric) for outcome in cell.outcomes.values()] for cell in arm.compared]
    low, high = [min(of) for of in values], [max(of) for of in values]
    axes.fill_between(lrs, low, high, color=style.color, alpha=0.15, linewidth=0, zorder=2)
    dashes = style.dashes or (None, None)
    means = [float(np.mean(of)) for of in values]
    axes.plot(lrs, means, color=style.color, linewidth=1.5, dashes=dashes, marker=style.marker, markersize=4, zorder=3)
    diverged = [
        (cell.lr, mean)
        for cell, mean in zip(arm.compared, means, strict=True)
        if 2 * cell.num_diverged > len(cell.runs)
    ]
    if diverged:
        x, y = zip(*diverged, strict=True)
        axes.scatter(x, y, marker="x", s=40, linewidths=1.3, color=style.color, zorder=5, clip_on=False)


def _scale(axes: Axes, arms: Sequence[Arm], metric: Metric) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(numticks=7))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda lr, _: number(lr)))
    if metric == "accuracy":
        axes.set_ylim(0, 1.02)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        return
    losses = [outcome.loss for arm in arms for cell in arm.compared for outcome in cell.outcomes.values()]
    least, most = min(losses), max(losses)
    if 0 < least < LINEAR_DOWN_TO * most:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=8))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda loss, _: number(loss)))
        axes.yaxis.set_minor_formatter(NullFormatter())
    elif math.isfinite(most):
        axes.set_ylim(0, 1.1 * most or 1.0)


def _table(arms: Sequence[Arm], labels: Sequence[str], lrs: Sequence[float], metric: Metric, words: Words) -> DataTable:
    rows = []
    for place in spread_out(len(lrs), MOST_ROWS):
        row = [number(lrs[place])]
        for arm in arms:
            cell = next((cell for cell in arm.compared if cell.lr == lrs[place]), None)
            if cell is None:
                row.append("–")
                continue
            values = [outcome.value(metric) for outcome in cell.outcomes.values()]
            low, high = _value(min(values), metric), _value(max(values), metric)
            row.append(f"{_value(cell.mean(metric).value, metric)} ({low} – {high})")
        rows.append(row)
    return text_table((words("lr"), *labels), rows)


def _value(value: float, metric: Metric) -> str:
    return f"{100 * value:.1f}%" if metric == "accuracy" else number(value)
