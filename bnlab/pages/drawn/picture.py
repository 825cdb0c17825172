"""A figure of a page: drawings, the words around them, and the data behind them as a table."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from bnlab.pages.plain_text import plain
from bnlab.report.palette import COLORS, DASHES, INK, LINE, MARKERS, SMALL
from bnlab.report.style import frame, new_figure

WIDTH = 4.0
"""Inches of a drawing: at this width its texts can be read on a telephone, and two stand side by side on a screen."""

MOST_ARMS = 8
"""Lines in one drawing: as many as there are colors."""

_SHAPES = {
    "o": "M10 5a3 3 0 1 0 6 0a3 3 0 1 0-6 0z",
    "s": "M10.4 2.4h5.2v5.2h-5.2z",
    "^": "M13 1.8l3.4 6h-6.8z",
    "D": "M13 1.4l3.6 3.6-3.6 3.6-3.6-3.6z",
    "v": "M13 8.2l3.4-6h-6.8z",
    "P": "M12 2h2v2h2v2h-2v2h-2v-2h-2v-2h2z",
    "h": "M13 1.6l3 1.7v3.4l-3 1.7-3-1.7v-3.4z",
    "X": "M10.6 3.4l1-1 1.4 1.4 1.4-1.4 1 1-1.4 1.6 1.4 1.6-1 1-1.4-1.4-1.4 1.4-1-1 1.4-1.6z",
}
"""The marks of lines as SVG paths, for legends."""


@dataclass(frozen=True)
class LineStyle:
    """How an arm is drawn: never by its color alone.

    Attributes:
        number: The place of its color, from 0.
        marker: Its mark.
        dashes: Lengths of dashes and gaps; empty for a solid line.
    """

    number: int
    marker: str
    dashes: tuple[float, ...]

    @property
    def color(self) -> str:
        """Its color on white."""
        return COLORS[self.number]

    @property
    def shape(self) -> str:
        """Its mark as the data of an SVG path, 26 wide and 10 high."""
        return _SHAPES[self.marker]


def line_style(place: int) -> LineStyle:
    """Return the style of the line with a number, from 0."""
    hue, kind = place % len(COLORS), place // len(COLORS) % len(DASHES)
    return LineStyle(hue, MARKERS[hue], DASHES[kind])


class Cell(NamedTuple):
    """One field of a table.

    Attributes:
        text: What is read.
        raw: The number itself, as JSON and CSV have it; None where it is no number of theirs.
    """

    text: str
    raw: float | None = None


@dataclass(frozen=True)
class DataTable:
    """The data behind a figure.

    Attributes:
        headings: Of the columns, that of the row's name first.
        rows: The row's name first.
    """

    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def text_table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> DataTable:
    """Return a table of texts."""
    return DataTable(tuple(headings), tuple(tuple(Cell(text) for text in row) for row in rows))


@dataclass(frozen=True)
class Drawing:
    """One drawing of a figure.

    Attributes:
        svg: The drawing, to stand in the page.
        label: What tells it from the other drawings of the figure; empty where it is alone.
    """

    svg: Markup
    label: str = ""


@dataclass(frozen=True)
class Picture:
    """A figure with its words and its data.

    Attributes:
        title: What is seen.
        note: How to read it.
        drawings: One or more.
        legend: Label and style of each line; none where lines need no name.
        table: The data behind it.
        ramp: The ends of the color scale, in words; None where there is none.
    """

    title: str
    note: str
    drawings: tuple[Drawing, ...]
    table: DataTable
    legend: tuple[tuple[str, LineStyle], ...] = ()
    ramp: tuple[str, str] | None = None

    @property
    def size(self) -> int:
        """About how many letters it takes in a page."""
        num_cells = sum(map(len, self.table.rows))
        return sum(len(drawing.svg) for drawing in self.drawings) + 40 * num_cells + 1000


def spread_out(number: int, most: int) -> list[int]:
    """Return at most ``most`` places of ``number``, evenly spaced, with the first and the last.

    Example:
        >>> spread_out(5, 3), spread_out(2, 3)
        ([0, 2, 4], [0, 1])
    """
    if number <= most:
        return list(range(number))
    return sorted({round(place * (number - 1) / (most - 1)) for place in range(most)})


def new_axes(height: float, left: float = 0.46, up: str = "", across: str = "") -> tuple[Figure, Axes]:
    """Return a figure with one pair of axes; its margins are fixed, since the browser's fonts cannot be measured.

    Args:
        height: Of the whole figure, in inches.
        left: The margin for what stands left of the axes, in inches.
        up: The name of the vertical axis, above its upper end, where it needs no turning.
        across: The name of the horizontal axis.
    """
    figure = new_figure(WIDTH, height)
    figure.patch.set_visible(False)
    top, bottom, right = (0.24 if up else 0.06), (0.42 if across else 0.24), 0.1
    size = ((WIDTH - left - right) / WIDTH, (height - top - bottom) / height)
    axes = figure.add_axes((left / WIDTH, bottom / height, *size))
    axes.patch.set_visible(False)
    frame(axes)
    axes.set_axisbelow(True)
    if up:
        axes.set_title(up, loc="left", fontsize=SMALL, color=INK, pad=5, x=-left / (WIDTH - left - right))
        axes.grid(axis="y", color=LINE, linewidth=0.5)
    if across:
        axes.set_xlabel(across, fontsize=SMALL, color=INK)
    return figure, axes


def without_small_ticks(axes: Axes) -> None:
    """Take the ticks between the named ones away, once the scales are set."""
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_locator(NullLocator())


def labels_of(names: Sequence[str]) -> list[str]:
    """Return names of a user's without characters that would be obeyed."""
    return [plain(name) for name in names]


def is_finite(value: float | None) -> bool:
    """Return whether a value is there and is finite."""
    return value is not None and math.isfinite(value)
