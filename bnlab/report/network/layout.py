"""A page of panels: heading, legend, panels and note, placed by matplotlib's constrained layout.

Constrained layout makes room for one title, one legend and one label per side of a figure. So a page is three figures,
one inside the other: the outer one has the title and the note, the next one the summary, the inner one the legend, the
panels and the label of their horizontal axes.
"""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter
from matplotlib.transforms import ScaledTranslation

from bnlab.report.network.read import Measured
from bnlab.report.palette import INK, LARGE, LINE, QUIET, SMALL, USUAL
from bnlab.report.style import frame, new_figure

WIDTH = 11.0
"""Inches: the width of a text, as of all other figures."""

MARGIN = 0.12
"""Inches at the edges of a page."""

LETTERS = 141
"""Letters that fit into a line of the summary or of the legend."""

BAR_WIDTH = 0.18
"""Inches: the width of a color bar."""

LABEL_LETTERS = 26
"""Letters in a line of the label of a vertical axis; longer labels take several lines."""

Share = Literal["none", "row", "all"]
"""The panels that have the same vertical axis."""

Entries = Mapping[str, tuple[str, tuple[float, ...]]]
"""A legend: name -> color and dashes of its line; no dashes for a solid line."""


@dataclass(frozen=True)
class Heading:
    """The text above the panels.

    Attributes:
        title: What the page shows, in a few words; bold, at the left.
        summary: One sentence below the title; empty for none.
        owner: The run, or the settings that all runs share; at the right.
    """

    title: str
    summary: str
    owner: str


@dataclass(frozen=True)
class Page:
    """A figure with its panels.

    Attributes:
        figure: The whole page, as it is saved.
        body: The inner figure, which holds the panels.
        panels: The panels, row by row, as many as were asked for.
        columns: Panels in a row.
    """

    figure: Figure
    body: SubFigure
    panels: list[Axes]
    columns: int

    def first_of_row(self, panel: int) -> bool:
        """Return whether a panel stands at the left edge, by its number from 0."""
        return panel % self.columns == 0

    def note(self, text: str) -> None:
        """Write below the panels how their marks are read; an empty text writes nothing."""
        if text:
            self.figure.supxlabel(text, x=MARGIN / WIDTH, ha="left", fontsize=SMALL, color=QUIET)

    def label_horizontal(self, text: str) -> None:
        """Write once for all panels what their horizontal axes show."""
        self.body.supxlabel(text, fontsize=USUAL, color=INK)

    def add_color_bar(self, colors: ScalarMappable, label: str, write: Callable[[float], str]) -> Colorbar:
        """Add a color bar to the right of all panels.

        Args:
            colors: The colors and their scale.
            label: What the colors show, with the unit.
            write: Value -> the number written beside the bar.
        """
        aspect = self.figure.get_figheight() / BAR_WIDTH  # else a bar beside many rows would not reach from end to end
        bar = self.body.colorbar(colors, ax=self.panels, aspect=aspect, fraction=0.04, pad=0.015)
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize=SMALL, color=LINE)
        bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: write(value)))
        bar.set_label(label, fontsize=USUAL, color=INK)
        return bar


def new_page(
    heading: Heading,
    count: int,
    columns: int,
    row_height: float,
    *,
    legend: Entries | None = None,
    share_horizontal: bool = True,
    share_vertical: Share = "none",
) -> Page:
    """Return a page with empty panels of one size.

    Args:
        heading: The text above the panels.
        count: Number of panels, 1 or more.
        columns: Panels in a row.
        row_height: Inches per row of panels, with their titles and numbers.
        legend: The lines that the panels show; none or empty: the page has no legend.
        share_horizontal: Whether all panels have the same horizontal axis, with numbers below the lowest ones only.
        share_vertical: Which panels have the same vertical axis, with numbers beside the first of a row only.
    """
    rows = -(-count // columns)
    lines = textwrap.wrap(heading.summary, LETTERS)
    legend_columns = _legend_columns(list(legend or ()))
    legend_rows = -(-len(legend or ()) // legend_columns)
    figure = new_figure(WIDTH, rows * row_height + 0.85 + 0.18 * len(lines) + 0.25 * legend_rows, "constrained")
    figure.get_layout_engine().set(w_pad=MARGIN / 2, h_pad=0.08, wspace=0.02)  # type: ignore[union-attr, call-arg]
    figure.suptitle(heading.title, x=MARGIN / WIDTH, ha="left", fontsize=LARGE, color=INK, weight="bold")
    corner = figure.transFigure + ScaledTranslation(-MARGIN, -MARGIN, figure.dpi_scale_trans)
    figure.text(1, 1, heading.owner, transform=corner, fontsize=USUAL, color=QUIET, ha="right", va="top")
    middle = figure.add_subfigure(figure.add_gridspec()[0])
    if lines:
        middle.suptitle("\n".join(lines), x=MARGIN / WIDTH, ha="left", fontsize=USUAL, color=QUIET)
    body = middle.add_subfigure(middle.add_gridspec()[0])
    if legend:
        _add_legend(body, legend, legend_columns)
    grid = body.subplots(rows, columns, sharex=share_horizontal, sharey=share_vertical, squeeze=False)
    panels = list(grid.flat)
    for axes in panels[count:]:
        axes.remove()
    for axes in panels[max(count - columns, 0) : count]:  # the lowest of their columns
        axes.tick_params(axis="x", labelbottom=True)
    for axes in panels[:count]:
        frame(axes)
    return Page(figure, body, panels[:count], columns)


def _legend_columns(names: Sequence[str]) -> int:
    widest = max((len(name) for name in names), default=1)
    return max(1, min(len(names), LETTERS // (widest + 6)))


def _add_legend(body: SubFigure, entries: Entries, columns: int) -> None:
    handles = []
    for name, (color, dashes) in entries.items():
        handle = Line2D([], [], color=color, linewidth=2.0, label=name)
        if dashes:
            handle.set_dashes(dashes)
        handles.append(handle)
    body.legend(
        handles=handles,
        loc="outside upper left",
        ncols=columns,
        frameon=False,
        fontsize=USUAL,
        labelcolor=INK,
        handlelength=1.8,
        columnspacing=1.4,
        borderpad=0,
        borderaxespad=0.4 + MARGIN * 72 / USUAL / 2,  # in letters: below the title
    )


def heading_of(measured: Measured, owner: str, addition: str = "") -> Heading:
    """Return the heading of a diagnostic's page: its name, and its card's first sentence.

    Args:
        measured: The diagnostic's values in one of the runs shown.
        owner: The run, or the settings that all runs share.
        addition: Words behind the name, such as ", by depth".
    """
    summary = measured.card.summary if measured.card is not None else ""
    return Heading(f"{measured.title}{addition}", summary, owner)


def panel_title(axes: Axes, text: str) -> None:
    """Write above a panel what it shows."""
    axes.set_title(text, loc="left", fontsize=USUAL, color=INK, pad=4)


def label_vertical(axes: Axes, unit: str) -> None:
    """Write beside a panel the unit of its values, in lines that are shorter than a panel is high."""
    axes.set_ylabel(textwrap.fill(unit, LABEL_LETTERS, break_on_hyphens=False), color=INK, fontsize=USUAL)
