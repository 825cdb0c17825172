"""Loss and accuracy over the steps of training, side by side: a line per arm or run, with a band over seeds."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator, PercentFormatter

from bnlab.report.network.layout import Heading, new_page, panel_title
from bnlab.report.palette import LINE, MOST_LINES, line_styles
from bnlab.report.style import paper, save
from bnlab.results.arms import Arm
from bnlab.results.curves import Curve, read_best_curves
from bnlab.stats.response import Metric

NAME = "curves"
"""The name of the figure's files."""

MOST_WITH_TRAINING = 4
"""Arms up to which the training loss is drawn too: with more, twice as many lines could not be read."""

BAND, FAINT = 0.16, 0.55
"""Opacity of a band over seeds, and of the lines of training."""

LOG_FROM = 8.0
"""Largest over smallest loss from which on its axis is logarithmic: below, a straight one shows every curve."""

FEW_POINTS = 25
"""Points of a line up to which each has a mark."""

SPLITS = {"loss": ("eval/loss", "train/loss"), "accuracy": ("eval/accuracy", "train/accuracy")}
"""Tags of each panel: of the validation set, and of training."""


@dataclass(frozen=True)
class ArmCurves:
    """The curves of one line of the figure.

    Attributes:
        label: The arm or the run.
        num_seeds: Runs that the curves are means over.
        curves: Tag, such as ``eval/loss`` -> its mean over seeds at each step.
    """

    label: str
    num_seeds: int
    curves: Mapping[str, Curve]

    @property
    def is_empty(self) -> bool:
        """Whether it has no curve with two points."""
        tags = [tag for of_panel in SPLITS.values() for tag in of_panel]
        return not any(len(self.curves[tag].steps) > 1 for tag in tags if tag in self.curves)


def read_arm_curves(arms: Sequence[Arm]) -> list[ArmCurves]:
    """Return the curves of arms, each at its best learning rate; without arms of which no run has an outcome."""
    found = []
    for arm in arms:
        best = arm.best()
        if best is not None:
            many = len(arm.compared) > 1 and best.lr is not None
            label = f"{arm.label} (lr {best.lr:g})" if many else arm.label
            found.append(ArmCurves(label, len(best.cell.outcomes), read_best_curves(arm)))
    return found


def draw_training_curves(arms: Sequence[ArmCurves], owner: str = "") -> Figure | None:
    """Return the figure: loss on the left, accuracy on the right; None where nothing has two points.

    Args:
        arms: One per line, those without curves are left out.
        owner: What the runs share, in words.
    """
    drawn = [arm for arm in arms if not arm.is_empty]
    if not drawn:
        return None
    shown = drawn[:MOST_LINES]
    with_training = len(shown) <= MOST_WITH_TRAINING
    styles = line_styles(len(shown))
    has_band = any(arm.num_seeds > 1 for arm in shown)
    legend = {arm.label: style for arm, style in zip(shown, styles, strict=True)} if len(shown) > 1 else None
    page = new_page(Heading("Loss and accuracy over training", "", owner), 2, 2, 3.3, legend=legend)
    metrics: tuple[Metric, ...] = ("loss", "accuracy")
    for axes, metric in zip(page.panels, metrics, strict=True):
        for arm, (color, dashes) in zip(shown, styles, strict=True):
            _draw_arm(axes, arm, metric, color, dashes, with_training=with_training)
        _scale(axes, shown, metric, with_training=with_training)
        panel_title(axes, metric)
    page.label_horizontal("step")
    page.note(_note(shown, len(drawn), has_band=has_band, with_training=with_training))
    return page.figure


def write_training_curves(arms: Sequence[ArmCurves], owner: str, path_of: Callable[[str], Path]) -> list[Path]:
    """Write the figure as SVG and as PNG; return the paths, none where there is nothing to draw.

    Args:
        arms: As for `draw_training_curves`.
        owner: As for `draw_training_curves`.
        path_of: Function from the format to the path of the file.

    Raises:
        RunError: A file cannot be written.
    """
    with paper():
        figure = draw_training_curves(arms, owner)
        return [] if figure is None else save(figure, path_of, "Make room there, or allow writing.")


def _draw_arm(
    axes: Axes, arm: ArmCurves, metric: Metric, color: str, dashes: tuple[float, ...], *, with_training: bool
) -> None:
    validation, training = (arm.curves.get(tag) for tag in SPLITS[metric])
    if validation is not None:
        if arm.num_seeds > 1:
            axes.fill_between(
                validation.steps, validation.low, validation.high, color=color, alpha=BAND, linewidth=0, zorder=2
            )
        few = len(validation.steps) <= FEW_POINTS
        axes.plot(
            validation.steps,
            validation.mean,
            color=color,
            linewidth=1.6,
            dashes=dashes or (None, None),
            marker="o" if few else None,
            markersize=3,
            zorder=4,
        )
    if training is not None and with_training:
        axes.plot(training.steps, training.mean, color=color, linewidth=0.9, alpha=FAINT, dashes=(1.2, 1.2), zorder=3)


def _scale(axes: Axes, arms: Sequence[ArmCurves], metric: Metric, *, with_training: bool) -> None:
    axes.grid(axis="y", color=LINE, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
    if metric == "accuracy":
        axes.set_ylim(0, 1.02)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        return
    tags = SPLITS[metric] if with_training else SPLITS[metric][:1]
    means = np.concatenate([[*arm.curves[tag].mean] for arm in arms for tag in tags if tag in arm.curves] or [[]])
    means = means[np.isfinite(means)]
    if not means.size:
        return
    least, most = float(means.min()), float(means.max())
    scale_losses(axes, least, most, "{:g}".format)


def scale_losses(axes: Axes, least: float, most: float, write: Callable[[float], str]) -> None:
    """Set the vertical axis of losses.

    Args:
        axes: The panel to scale.
        least: The lowest loss that it shows.
        most: The highest one.
        write: Loss -> text, where the axis is logarithmic.
    """
    if least > 0 and LOG_FROM * least < most and math.isfinite(most):
        axes.set_yscale("log")
        axes.set_ylim(least / 1.3, most * 1.2)
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=8))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda loss, _: write(loss)))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.set_ylim(0, 1.08 * most or 1.0)


def _note(shown: Sequence[ArmCurves], num_all: int, *, has_band: bool, with_training: bool) -> str:
    sizes = sorted({arm.num_seeds for arm in shown})
    number = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    parts = [f"Line: mean over {number} seeds on the validation set." if has_band else "Line: the validation set."]
    if has_band:
        parts.append("Band: its 95% interval.")
    of_training = [arm.curves[tag] for arm in shown for tag in ("train/loss", "train/accuracy") if tag in arm.curves]
    if with_training and any(len(curve.steps) > 1 for curve in of_training):
        parts.append("Dotted: training batches.")
    if num_all > len(shown):
        parts.append(f"{num_all - len(shown)} more arms are not drawn.")
    return " ".join(parts)
