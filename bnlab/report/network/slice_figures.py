"""Slices through the loss around the weights of trained networks, as figures: lines in one direction, maps in two.

Plain arrays come in: what makes them needs the networks, and is no business of a report.

Shape letters: A and B steps along two directions.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator

from bnlab.report.network.axes import (
    WIDTH,
    foot,
    grid_lines,
    head,
    head_height,
    legend,
    legend_height,
    new_grid,
    panel_title,
    scale_values,
)
from bnlab.report.palette import COLORS, DASHES, INK, LINE, QUIET, SMALL, USUAL

FloatArray = npt.NDArray[np.float64]


class Slice(Protocol):
    """Losses around a network's weights."""

    @property
    def steps(self) -> Sequence[float]:
        """A: along the first direction; 1 changes every filter by its own length."""

    @property
    def other_steps(self) -> Sequence[float]:
        """B: along the second direction; one that is 0 for a line."""

    @property
    def train_loss(self) -> FloatArray:
        """(A, B): each batch normalized by its own statistics."""

    @property
    def eval_loss(self) -> FloatArray:
        """(A, B): with running statistics."""


MODES = {"train_loss": "training mode: batch statistics", "eval_loss": "eval mode: running statistics"}
NOTE = "Step 1 changes every filter by its own length; biases, gamma and beta stay. 0: the trained weights."
MAP_COLORS = "cividis"
LEVELS = 14
"""Contours of a map."""

LOG_FROM = 20.0
"""Largest over smallest loss from which on the colors of a map are logarithmic."""


def draw_slice_1d(arms: Mapping[str, Slice], right: str = "") -> Figure:
    """Return the loss along one direction, a color per arm on the same axes, training mode beside eval mode.

    Args:
        arms: Name -> its slice.
        right: Whose it is, where the arms' names do not say it.
    """
    names = list(arms)
    lines = ["The loss along one direction through the trained weights."]
    room = legend_height(names) if len(names) > 1 else 0.0
    figure, [panels] = new_grid(1, 2, 2.9, above=head_height(lines, room), below=0.8, gap=(0.3, 0.5))
    losses = np.concatenate([np.ravel(getattr(each, mode)) for each in arms.values() for mode in MODES])
    scale_values(panels, losses, "")
    styles = {
        name: (COLORS[place % len(COLORS)], DASHES[place // len(COLORS) % len(DASHES)])
        for place, name in enumerate(names)
    }
    for axes, (mode, told) in zip(panels, MODES.items(), strict=True):
        for name, each in arms.items():
            color, dashes = styles[name]
            loss_A = np.asarray(getattr(each, mode))[:, 0]
            axes.plot(each.steps, loss_A, color=color, linewidth=1.6, dashes=dashes or (None, None), label=name)
        axes.axvline(0, color=QUIET, linewidth=0.9, dashes=(2, 2), zorder=1, label="_weights")
        axes.set_xlabel("step along the direction", color=INK, fontsize=USUAL)
        grid_lines(axes)
        panel_title(axes, told)
    panels[0].set_ylabel("loss, nats per image", color=INK, fontsize=USUAL)
    panels[1].tick_params(axis="y", labelleft=False, which="both")
    if len(names) > 1:
        legend(figure, styles, 0.62 + 0.19 * len(lines))
    head(figure, "slice through the loss", lines, right or (names[0] if len(names) == 1 else ""))
    foot(figure, NOTE)
    return figure


def draw_slice_2d(arms: Mapping[str, Slice], right: str = "") -> Figure:
    """Return the loss on a plane, a column per arm with the same colors, training mode above eval mode.

    Args:
        arms: Name -> its slice.
        right: Whose it is, where the arms' names do not say it.
    """
    lines = ["The loss on a plane through the trained weights, by two directions."]
    columns = len(arms) if len(arms) > 1 else 2
    rows = 2 if len(arms) > 1 else 1
    size = min((WIDTH - 0.85 - 1.2 - 0.35 * (columns - 1)) / columns, 4.0)
    unused = WIDTH - 0.85 - 1.2 - columns * size - 0.35 * (columns - 1)
    figure, panels = new_grid(
        rows, columns, size, above=head_height(lines), below=0.8, gap=(0.35, 0.5), right=1.2 + unused
    )
    norm = _norm_of(arms)
    for column, (name, each) in enumerate(arms.items()):
        for row, (mode, told) in enumerate(MODES.items()):
            axes = panels[row][column] if rows == 2 else panels[0][row]
            _map(axes, each, np.asarray(getattr(each, mode)), norm)
            panel_title(axes, f"{name}: {told.partition(':')[0]}" if rows == 2 else told)
            is_lowest, is_first = rows == 1 or row == 1, (column if rows == 2 else row) == 0
            axes.tick_params(axis="both", labelbottom=is_lowest, labelleft=is_first)
            if is_lowest:
                axes.set_xlabel("step, first direction", color=INK, fontsize=USUAL)
            if is_first:
                axes.set_ylabel("step, second direction", color=INK, fontsize=USUAL)
    top, bottom = panels[0][-1].get_position(), panels[-1][-1].get_position()
    place = figure.add_axes((top.x1 + 0.2 / WIDTH, bottom.y0, 0.16 / WIDTH, top.y1 - bottom.y0))
    bar = figure.colorbar(ScalarMappable(norm, MAP_COLORS), cax=place)
    bar.outline.set_visible(False)
    place.tick_params(labelsize=SMALL, color=LINE)
    if isinstance(norm, LogNorm):
        place.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        place.yaxis.set_minor_locator(FixedLocator([]))
    place.yaxis.set_major_formatter(FuncFormatter(lambda loss, _: f"{loss:g}"))
    bar.set_label("loss, nats per image", fontsize=USUAL, color=INK)
    head(figure, "slice through the loss", lines, right or (next(iter(arms)) if len(arms) == 1 else ""))
    foot(figure, NOTE)
    return figure


def _norm_of(arms: Mapping[str, Slice]) -> Normalize:
    losses = np.concatenate([np.ravel(getattr(each, mode)) for each in arms.values() for mode in MODES])
    losses = losses[np.isfinite(losses)]
    low, high = (float(losses.min()), float(losses.max())) if losses.size else (0.0, 1.0)
    if low > 0 and high > LOG_FROM * low:
        return LogNorm(low, high)
    return Normalize(low, high if high > low else low + 1)


def _map(axes: Axes, each: Slice, loss_AB: FloatArray, norm: Normalize) -> None:
    assert norm.vmin is not None
    assert norm.vmax is not None
    ends = np.geomspace if isinstance(norm, LogNorm) else np.linspace
    levels = ends(norm.vmin, norm.vmax, LEVELS)
    shown = np.ma.masked_invalid(loss_AB.T)  # the first direction goes from left to right
    axes.pcolormesh(each.steps, each.other_steps, shown, cmap=MAP_COLORS, norm=norm, shading="gouraud")
    axes.contour(each.steps, each.other_steps, shown, levels=levels[1:-1], colors="white", linewidths=0.6, alpha=0.7)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(4))
        axis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:g}"))
    axes.plot(0, 0, marker="+", color=COLORS[1], markersize=9, markeredgewidth=1.8, label="_weights")
