"""Figures of slices through the loss: a curve per run, or a map per run."""

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from bnlab.report.paper import COLORS, INK, LARGE, QUIET, SMALL, USUAL, new_figure, tidy

FloatArray = npt.NDArray[np.float64]

NUM_LEVELS = 14
"""Contours of a map."""


@dataclass(frozen=True)
class Slice:
    """The loss around the weights of one run.

    Attributes:
        label: What the run is called.
        steps: Along the first direction, (A,).
        other_steps: Along the second, (B,).
        train_loss: (A, B).
        eval_loss: (A, B).
    """

    label: str
    steps: Sequence[float]
    other_steps: Sequence[float]
    train_loss: FloatArray
    eval_loss: FloatArray


def draw_lines(slices: Sequence[Slice]) -> Figure:
    """Return the losses along one direction: in training mode on the left, in eval mode on the right.

    Args:
        slices: Of one or several runs.
    """
    figure = new_figure(9.6, 4.0)
    left, right = figure.subplots(1, 2, sharey=True)
    figure.subplots_adjust(left=0.085, right=0.985, top=0.78, bottom=0.14, wspace=0.08)
    losses = np.concatenate([np.concatenate([one.train_loss, one.eval_loss]).ravel() for one in slices])
    for axes, title in ((left, "batch statistics"), (right, "running statistics")):
        tidy(axes)
        axes.set_title(title, loc="left", fontsize=USUAL, color=INK)
        axes.set_xlabel("step along a random direction, in lengths of each filter", fontsize=USUAL, color=INK)
        axes.axvline(0, color=QUIET, linewidth=0.7, dashes=(2, 2))
        if losses.min() > 0 and losses.max() / losses.min() > 20:
            axes.set_yscale("log")
    for one, color in zip(slices, COLORS * len(slices), strict=False):
        left.plot(one.steps, one.train_loss[:, 0], color=color, linewidth=1.6, label=one.label)
        right.plot(one.steps, one.eval_loss[:, 0], color=color, linewidth=1.6, label=one.label)
    left.set_ylabel("training loss", fontsize=USUAL, color=INK)
    if len(slices) > 1:
        right.legend(frameon=False, fontsize=SMALL, labelcolor=INK)
    _head(figure, "Loss around the final weights", 0.085)
    return figure


def draw_maps(slices: Sequence[Slice]) -> Figure:
    """Return the training losses on planes, in training mode, all with the same contours.

    Args:
        slices: Of one or several runs.
    """
    width = 3.6 * len(slices) + 1.4
    figure = new_figure(width, 4.6)
    row = figure.subplots(1, len(slices), squeeze=False, sharey=True)[0]
    figure.subplots_adjust(left=0.75 / width, right=1 - 0.3 / width, top=0.8, bottom=0.13, wspace=0.1)
    losses = np.concatenate([one.train_loss.ravel() for one in slices])
    finite = losses[np.isfinite(losses) & (losses > 0)]
    levels = np.geomspace(finite.min(), finite.max() * 1.0001, NUM_LEVELS)
    norm = mpl.colors.LogNorm(levels[0], levels[-1])
    for axes, one in zip(row, slices, strict=True):
        tidy(axes)
        filled = axes.contourf(one.steps, one.other_steps, one.train_loss.T, levels, cmap="viridis_r", norm=norm)
        axes.contour(one.steps, one.other_steps, one.train_loss.T, levels, colors="white", linewidths=0.4)
        axes.plot(0, 0, marker="+", color="black", markersize=9)
        axes.set_title(one.label, loc="left", fontsize=USUAL, color=INK)
        axes.set_xlabel("first direction", fontsize=USUAL, color=INK)
        axes.set_aspect("equal")
    row[0].set_ylabel("second direction", fontsize=USUAL, color=INK)
    bar = figure.colorbar(filled, ax=list(row), fraction=0.04, pad=0.03, ticks=levels[::3], format="%.3g")
    bar.ax.tick_params(labelsize=SMALL, colors=QUIET)
    bar.ax.yaxis.set_minor_locator(mpl.ticker.NullLocator())
    bar.set_label("training loss, batch statistics", fontsize=SMALL, color=QUIET)
    _head(figure, "Loss around the final weights", 0.75 / width)
    return figure


def _head(figure: Figure, title: str, left: float) -> None:
    figure.text(left, 0.93, title, fontsize=LARGE, color=INK, weight="bold")
    text = "Random directions, each filter as long as the weights' (Li et al. 2018); biases, gamma and beta held fixed."
    figure.text(left, 0.875, text, fontsize=SMALL, color=QUIET)
