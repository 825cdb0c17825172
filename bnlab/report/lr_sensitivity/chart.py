"""A learning-rate curve drawn with characters: dots of braille for the lines, a letter for each point of the grid.

A letter per arm, since a pipe has no colors and not every eye tells them apart.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.text import Text

from bnlab.report.canvas import COLORS, DIVERGED, SEVERAL, Canvas, letters_of
from bnlab.report.lr_sensitivity.summary import SweepSensitivity
from bnlab.stats.estimate import FloatArray
from bnlab.stats.response import Metric

AXIS = 9
"""Columns left of the plot, for the numbers of the vertical axis."""

LEAST_WIDTH, MOST_WIDTH = 40, 100
HEIGHT = 15
"""Lines of the plot."""

LINEAR_DOWN_TO = 0.5
"""Share of the highest loss: where no loss is below it, the axis is linear."""


@dataclass(frozen=True)
class _Line:
    letter: str
    color: str
    label: str
    means: FloatArray
    has_diverged: Sequence[bool]


def draw_chart(found: SweepSensitivity, metric: Metric, width: int = 80, in_braille: bool = True) -> Text | None:
    """Return the curves of all arms as lines of text; None where no arm has one.

    Args:
        found: The arms whose curves are drawn.
        metric: Final validation loss (from the best to the worst start, on a log scale if it spans much), or accuracy.
        width: Columns of the window; the chart has at least 40 and at most 100.
        in_braille: Draw lines with braille; else with full stops, for terminals that cannot.
    """
    lines = _lines(found, metric)
    if not lines:
        return None
    low, high, is_log = _span(lines, metric)
    decades = np.log10(np.asarray(found.grid.lrs))
    canvas = Canvas(min(max(width, LEAST_WIDTH), MOST_WIDTH) - AXIS - 2, HEIGHT)
    # half a character from the edges: so that the numbers below stand under their points
    margin = 1.5 / canvas.width
    x_L = margin + (1 - 2 * margin) * (decades - decades[0]) / (decades[-1] - decades[0])
    for line in reversed(lines):  # the first arm on top
        points = [(float(x), _height(float(y), low, high, is_log)) for x, y in zip(x_L, line.means, strict=True)]
        for start, end in itertools.pairwise(points):
            canvas.line(start, end, line.color)
        for point, has_diverged in zip(points, line.has_diverged, strict=True):
            canvas.sign(point, DIVERGED if has_diverged else line.letter, line.color)
    text = Text(f"validation {metric} at the end, mean over seeds, against the learning rate\n")
    for number in range(canvas.height):
        text.append(_tick(number, canvas.height, low, high, is_log, metric), "dim")
        text.append_text(canvas.row(number, in_braille))
        text.append("\n")
    text.append_text(_ruler(found.grid.lrs, x_L, canvas.width))
    return text.append_text(_legend(lines, width))


def _lines(found: SweepSensitivity, metric: Metric) -> list[_Line]:
    letters = letters_of([each.arm.label for each in found.arms])
    return [
        _Line(
            letter=letter,
            color=COLORS[place % len(COLORS)],
            label=each.arm.label,
            means=each.curve.outcome(metric).mean(0),
            has_diverged=(each.curve.has_diverged().mean(0) >= 0.5).tolist(),
        )
        for place, (each, letter) in enumerate(zip(found.arms, letters, strict=True))
        if each.curve is not None
    ]


def _span(lines: Sequence[_Line], metric: Metric) -> tuple[float, float, bool]:
    """Return where the vertical axis begins and ends, and whether it is logarithmic."""
    if metric == "accuracy":
        return 0.0, 1.0, False
    low = min(float(line.means.min()) for line in lines)
    high = max(float(line.means.max()) for line in lines)
    if 0 < low < LINEAR_DOWN_TO * high:
        return low, high, True
    return 0.0, high or 1.0, False


def _height(value: float, low: float, high: float, is_log: bool) -> float:
    """Return how far below the top a value lies, in shares of the height."""
    if is_log:
        value, low, high = math.log(value), math.log(low), math.log(high)
    return (high - value) / (high - low)


def _tick(number: int, height: int, low: float, high: float, is_log: bool, metric: Metric) -> str:
    """Return what stands left of a row: a number at the top, in the middle and at the bottom."""
    if number not in {0, height // 2, height - 1}:
        return " " * (AXIS - 1) + "| "
    share = 1 - number / (height - 1)
    value = low * (high / low) ** share if is_log else low + share * (high - low)
    written = f"{value:.0%}" if metric == "accuracy" else f"{value:.2g}"
    return f"{written:>{AXIS - 2}} | "


def _ruler(lrs: Sequence[float], x_L: FloatArray, width: int) -> Text:
    """Return the horizontal axis, with as many learning rates below it as there is room for."""
    marks, numbers = ["-"] * width, [" "] * (width + 8)
    free_from = 0
    for place, (lr, x) in enumerate(zip(lrs, x_L, strict=True)):
        column = round(float(x) * (2 * width - 1)) // 2
        marks[column] = "+"
        written = f"{lr:.3g}"
        start = max(0, column - len(written) // 2)
        last_start = max(0, round(float(x_L[-1]) * width) - len(f"{lrs[-1]:.3g}") // 2)
        fits = start >= free_from and (place == len(lrs) - 1 or start + len(written) < last_start)
        if fits:
            numbers[start : start + len(written)] = written
            free_from = start + len(written) + 1
    indent = " " * (AXIS - 1)
    return Text(f"{indent}+-{''.join(marks)}\n{indent}  {''.join(numbers).rstrip()}\n", "dim")


def _legend(lines: Sequence[_Line], width: int) -> Text:
    """Return which letter is which arm, wrapped to the width."""
    entries = [Text.assemble((line.letter, f"bold {line.color}"), f" {line.label}") for line in lines]
    if any(any(line.has_diverged) for line in lines):
        entries.append(Text.assemble((DIVERGED, "bold"), " diverged"))
    entries.append(Text.assemble((SEVERAL, "bold"), " several"))
    rows: list[Text] = [Text(" " * (AXIS + 1))]
    for entry in entries:
        if len(rows[-1]) + len(entry) + 3 > max(width, LEAST_WIDTH) and len(rows[-1]) > AXIS + 1:
            rows.append(Text(" " * (AXIS + 1)))
        rows[-1].append_text(entry).append("   ")
    return Text("\n").join(rows)
