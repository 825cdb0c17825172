"""Slices through the loss around the weights of trained networks, as figures: lines in one direction, maps in two.

The losses come in as arrays: computing them takes the networks and torch, which a report does not import.

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

from bnlab.report.network.axes import grid_lines, scale_values
from bnlab.report.network.layout import Heading, label_vertical, new_page, panel_title
from bnlab.report.palette import COLORS, QUIET, line_styles

FloatArray = npt.NDArray[np.float64]


class Slice(Protocol):
    """Losses around a network's weights."""

    @property
    def steps(self) -> Sequence[float]:
        """The steps along the first direction, (A,); a step of 1 changes every filter by its own length."""

    @property
    def other_steps(self) -> Sequence[float]:
        """The steps along the second direction, (B,); for a line, a single one that is 0."""

    @property
    def train_loss(self) -> FloatArray:
        """The loss at each point, (A, B), with the statistics of each batch."""

    @property
    def eval_loss(self) -> FloatArray:
        """The loss at each point, (A, B), with running statistics."""


MODES = {"train_loss": "training mode: batch statistics", "eval_loss": "eval mode: running statistics"}
NOTE = "Step 1 changes every filter by its own length; biases, gamma and beta stay. 0: the trained weights."
LOSS = "loss, nats per image"
MAP_COLORS = "cividis"
LEVELS = 14
"""Number of contour lines of a map, plus two."""

LOG_FROM = 20.0
"""Largest over smallest loss from which on the colors of a map are logarithmic."""


def draw_slice_1d(arms: Mapping[str, Slice], owner: str = "") -> Figure:
    """Return the loss along one direction, a color per arm on the same axes, training mode beside eval mode.

    Args:
        arms: Name of an arm -> its slice.
        owner: The settings that all arms share, for the heading; empty: a single arm's name stands there.
    """
    names = list(arms)
    styles = dict(zip(names, line_styles(len(names)), strict=True))
    page = new_page(
        _heading("The loss along one direction through the trained weights.", names, owner),
        2,
        2,
        3.3,
        legend=styles if len(names) > 1 else None,
        share_vertical="all",
    )
    scale_values(page.panels, _all_losses(arms), "")
    for axes, (mode, words) in zip(page.panels, MODES.items(), strict=True):
        for name, each in arms.items():
            color, dashes = styles[name]
            loss_A = np.asarray(getattr(each, mode))[:, 0]
            axes.plot(each.steps, loss_A, color=color, linewidth=1.6, dashes=dashes or (None, None), label=name)
        axes.axvline(0, color=QUIET, linewidth=0.9, dashes=(2, 2), zorder=1, label="_weights")
        grid_lines(axes)
        panel_title(axes, words)
    label_vertical(page.panels[0], LOSS)
    page.label_horizontal("step along the direction")
    page.note(NOTE)
    return page.figure


def draw_slice_2d(arms: Mapping[str, Slice], owner: str = "") -> Figure:
    """Return the loss on a plane, a column per arm with the same colors, training mode above eval mode.

    Args:
        arms: Name of an arm -> its slice.
        owner: The settings that all arms share, for the heading; empty: a single arm's name stands there.
    """
    names = list(arms)
    several = len(names) > 1
    columns = len(names) if several else 2
    page = new_page(
        _heading("The loss on a plane through the trained weights, by two directions.", names, owner),
        2 * len(names),
        columns,
        min(9.0 / columns, 4.0) + 0.3,
        share_vertical="all",
    )
    norm = _norm_of(_all_losses(arms))
    cells = [(mode, name) for mode in MODES for name in names]
    for place, (axes, (mode, name)) in enumerate(zip(page.panels, cells, strict=True)):
        _map(axes, arms[name], np.asarray(getattr(arms[name], mode)), norm)
        panel_title(axes, f"{name}: {MODES[mode].partition(':')[0]}" if several else MODES[mode])
        if page.first_of_row(place):
            label_vertical(axes, "step, second direction")
    page.label_horizontal("step, first direction")
    bar = page.add_color_bar(ScalarMappable(norm, MAP_COLORS), LOSS, lambda loss: f"{loss:g}")
    if isinstance(norm, LogNorm):
        bar.ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        bar.ax.yaxis.set_minor_locator(FixedLocator([]))
    page.note(NOTE)
    return page.figure


def _heading(summary: str, names: Sequence[str], owner: str) -> Heading:
    return Heading("slice through the loss", summary, owner or (names[0] if len(names) == 1 else ""))


def _all_losses(arms: Mapping[str, Slice]) -> FloatArray:
    return np.concatenate([np.ravel(getattr(each, mode)) for each in arms.values() for mode in MODES])


def _norm_of(losses: FloatArray) -> Normalize:
    losses = losses[np.isfinite(losses)]
    low, high = (float(losses.min()), float(losses.max())) if losses.size else (0.0, 1.0)
    if low > 0 and high > LOG_FROM * low:
        return LogNorm(low, high)
    return Normalize(low, high if high > low else low + 1)


def _map(axes: Axes, each: Slice, loss_AB: FloatArray, norm: Normalize) -> None:
    assert norm.vmin is not None
    assert norm.vmax is not None
    spaced = np.geomspace if isinstance(norm, LogNorm) else np.linspace
    levels = spaced(norm.vmin, norm.vmax, LEVELS)
    loss_BA = np.ma.masked_invalid(loss_AB.T)  # the first direction goes from left to right
    axes.pcolormesh(each.steps, each.other_steps, loss_BA, cmap=MAP_COLORS, norm=norm, shading="gouraud")
    axes.contour(each.steps, each.other_steps, loss_BA, levels=levels[1:-1], colors="white", linewidths=0.6, alpha=0.7)
    axes.set_box_aspect(1)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(4))
        axis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:g}"))
    axes.plot(0, 0, marker="+", color=COLORS[1], markersize=9, markeredgewidth=1.8, label="_weights")
