"""Figures on paper: final loss and accuracy against the learning rate. Text stays text in SVG."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patheffects import Normal, Stroke
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, PercentFormatter

from bnlab.report.lr_sensitivity.summary import ArmSensitivity, SweepSensitivity
from bnlab.report.palette import COLORS, DASHES, INK, LARGE, LINE, MARKERS, OUTSIDE, QUIET, SMALL, USUAL
from bnlab.report.style import frame, new_figure, paper, save
from bnlab.runfolder.figure_paths import figure_path
from bnlab.stats.response import Metric, ResponseCurve
from bnlab.stats.trainable import LOSS_SHARE

NAME = "lr-sensitivity"
WIDTH, HEIGHT = 11.0, 4.1
"""Inches: two panels side by side over a text's width; the legend adds its own height."""

DODGE, MOST_DODGE = 0.09, 0.5
"""Of a grid's step: marks of runs that diverged at one LR stand side by side, arm by arm, and all within this."""

LINEAR_DOWN_TO = 0.5
"""Share of the start's loss: if no loss is below it, a log scale would show nothing but its own ticks."""


@dataclass(frozen=True)
class _Style:
    color: str
    marker: str
    dashes: tuple[float, ...]


def write_figures(found: SweepSensitivity, folder: Path) -> list[Path]:
    """Write the figure of a sweep into its folder, once as SVG and once as PNG; return the paths.

    Args:
        found: The arms whose curves are drawn.
        folder: The folder that the two files are written to.

    Raises:
        RunError: The folder cannot be written to.
    """
    with paper():
        return save(
            draw_sensitivity(found),
            lambda kind: figure_path(folder, NAME, kind),
            "Make room, or choose another --runs.",
        )


def draw_sensitivity(found: SweepSensitivity) -> Figure:
    """Return the figure: final loss on the left and accuracy on the right, one line per arm.

    A line is the mean over seeds, its band reaches from the worst to the best seed. The outcome of a run that
    diverged is its start, and a cross marks it there. The gray margins are learning rates that nobody tried.
    """
    drawn = [
        (each, style) for each, style in zip(found.arms, _styles(found.arms), strict=True) if each.curve is not None
    ]
    figure = new_figure(WIDTH, HEIGHT)
    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.06, wspace=0.03)
    left, right = figure.subplots(1, 2)
    panels: tuple[tuple[Axes, Metric], ...] = ((left, "loss"), (right, "accuracy"))
    for axes, metric in panels:
        _frame(axes, found, metric)
        for place, (each, style) in enumerate(drawn):
            aside = (place - (len(drawn) - 1) / 2) * min(DODGE, MOST_DODGE / len(drawn))
            _draw_arm(axes, each, style, metric, aside)
        _scale(axes, found, metric)
    _note_facts(figure, found)
    _note_how_to_read(figure)
    legend = _title_and_legend(figure, drawn)
    figure.set_figheight(HEIGHT + legend.get_window_extent().height / figure.dpi)
    layout.execute(figure)  # once, as it would be for each file if it were the figure's own engine: half of the time
    return figure


def _styles(arms: Sequence[ArmSensitivity]) -> list[_Style]:
    """Return each arm's style: the first swept key (mostly the norm) has the colors, what else is swept the dashes."""
    firsts, others = [], []
    for each in arms:
        first, *rest = [*map(str, each.arm.settings.items()), "", ""]
        firsts.append(first)
        others.append(str(rest))
    hues, kinds = list(dict.fromkeys(firsts)), list(dict.fromkeys(others))
    if len(hues) <= len(COLORS) and len(kinds) <= len(DASHES):
        places = [(hues.index(f), kinds.index(o)) for f, o in zip(firsts, others, strict=True)]
    else:
        places = [(i % len(COLORS), i // len(COLORS) % len(DASHES)) for i in range(len(arms))]
    return [_Style(COLORS[hue], MARKERS[hue], DASHES[kind]) for hue, kind in places]


def _frame(axes: Axes, found: SweepSensitivity, metric: Metric) -> None:
    lrs = np.asarray(found.grid.lrs)
    step = (lrs[-1] / lrs[0]) ** (1 / (len(lrs) - 1))
    low, high = lrs[0] / step**0.8, lrs[-1] * step**0.8
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    for start, end in ((low, lrs[0] / step**0.3), (lrs[-1] * step**0.3, high)):
        axes.axvspan(start, end, color=OUTSIDE, linewidth=0, zorder=0)
    for lr in lrs:
        axes.axvline(lr, color=LINE, linewidth=0.5, zorder=0.5)
    axes.set_xlabel("learning rate", color=INK, fontsize=USUAL)
    axes.xaxis.set_major_locator(LogLocator(numticks=12))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda lr, _: f"{lr:g}"))
    axes.set_title(f"validation {metric} at the end", loc="left", fontsize=USUAL, color=INK)
    frame(axes)


def _draw_arm(axes: Axes, each: ArmSensitivity, style: _Style, metric: Metric, aside: float) -> None:
    curve = each.curve
    if curve is None:
        return
    lrs, outcome_SL = np.asarray(curve.lrs), curve.outcome(metric)
    axes.fill_between(lrs, outcome_SL.min(0), outcome_SL.max(0), color=style.color, alpha=0.14, linewidth=0, zorder=2)
    axes.plot(
        lrs,
        outcome_SL.mean(0),
        color=style.color,
        marker=style.marker,
        markersize=4.5,
        linewidth=1.6,
        dashes=style.dashes or (None, None),
        label=each.arm.label,
        zorder=3,
    )
    _mark_diverged(axes, curve, style, metric, aside)


def _mark_diverged(axes: Axes, curve: ResponseCurve, style: _Style, metric: Metric, aside: float) -> None:
    """Put a cross at the outcome of each run that diverged."""
    step = (curve.lrs[-1] / curve.lrs[0]) ** (1 / (len(curve.lrs) - 1))
    seeds, lrs = np.nonzero(curve.has_diverged())
    if seeds.size:
        x = np.asarray(curve.lrs)[lrs] * step**aside
        y = curve.outcome(metric)[seeds, lrs]
        axes.scatter(x, y, marker="x", s=34, linewidths=1.5, color=style.color, zorder=5, clip_on=False)


def _scale(axes: Axes, found: SweepSensitivity, metric: Metric) -> None:
    """Set the vertical axis, and draw the start and, for the accuracy, the bar that an LR must pass."""
    curves = [each.curve for each in found.arms if each.curve is not None]
    if not curves:
        return
    start = float(np.mean([curve.start(metric).mean() for curve in curves]))
    axes.axhline(start, color=QUIET, linewidth=0.9, dashes=(2, 2), zorder=1)
    _note(axes, start, "start", ha="left", above=metric == "loss")
    if found.rule.by == metric:
        bars = sorted({LOSS_SHARE * start} if metric == "loss" else {e.bar for e in found.arms if e.bar is not None})
        for bar in bars:
            axes.axhline(bar, color=QUIET, linewidth=0.9, dashes=(6, 2), zorder=1)
        if len(bars) == 1:  # several lie too close for numbers
            text = f"{bars[0]:.3g}" if metric == "loss" else f"{bars[0]:.1%}"
            _note(axes, bars[0], text, ha="right", above=False)
    if metric == "accuracy":
        axes.set_ylim(0, 1.03)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        return
    least = min(float(curve.outcome(metric).min()) for curve in curves)
    most = max(float(curve.start(metric).max()) for curve in curves)
    if 0 < least < LINEAR_DOWN_TO * start:
        axes.set_yscale("log")
        axes.set_ylim(least / 1.25, most * 1.35)
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda loss, _: f"{loss:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_ylim(0, most * 1.1)


def _note(axes: Axes, height: float, text: str, ha: Literal["left", "right"], above: bool) -> None:
    axes.annotate(
        text,
        (0.008 if ha == "left" else 0.995, height),
        xycoords=("axes fraction", "data"),
        xytext=(0, 3 if above else -3),
        textcoords="offset points",
        ha=ha,
        va="bottom" if above else "top",
        fontsize=SMALL,
        color=QUIET,
        zorder=6,
        path_effects=[Stroke(linewidth=2.5, foreground="white"), Normal()],  # legible on top of a curve
    )


def _note_facts(figure: Figure, found: SweepSensitivity) -> None:
    """Write beside the title, on the right, what all runs have in common."""
    facts = found.facts
    parts = [str(facts[key]) for key in ("model", "model.activation", "data", "optim") if facts.get(key)]
    steps = facts.get("train.steps")
    epochs = facts.get("train.epochs")
    parts += [f"{steps:,} steps"] if steps else [f"{epochs} epochs"] if epochs else []
    num_seeds = {len(each.figures.seeds) for each in found.arms if each.figures is not None}
    seeds = " to ".join(map(str, sorted({min(num_seeds), max(num_seeds)}))) if num_seeds else "no"
    parts.append(f"{seeds} seed{'' if num_seeds == {1} else 's'}")
    figure.text(0.99, 0.98, ", ".join(parts), fontsize=USUAL, color=QUIET, ha="right", va="top")


def _note_how_to_read(figure: Figure) -> None:
    text = (
        "Line: mean over seeds. Band: worst to best seed. Dashes: what an LR must reach to be trainable. Gray: not "
        "tried.\nThe outcome of a run that diverged, or ended worse than it started, is its start."
    )
    figure.supxlabel(text, x=0.01, ha="left", fontsize=SMALL, color=QUIET, linespacing=1.4)


def _title_and_legend(figure: Figure, drawn: list[tuple[ArmSensitivity, _Style]]) -> Legend:
    """Put the title and the legend above the panels, with as many columns as fit side by side."""
    handles = [
        Line2D([], [], color=s.color, marker=s.marker, markersize=4.5, linewidth=1.6, label=e.arm.label)
        for e, s in drawn
    ]
    for handle, (_, style) in zip(handles, drawn, strict=True):
        if style.dashes:
            handle.set_dashes(style.dashes)
    handles.append(Line2D([], [], color=INK, marker="x", linestyle="none", label="diverged"))
    for num_columns in range(len(handles), 0, -1):
        legend = figure.legend(
            handles=handles,
            title="Learning-rate sensitivity",
            loc="outside upper left",
            ncols=num_columns,
            alignment="left",
            frameon=False,
            fontsize=USUAL,
            title_fontproperties={"size": LARGE, "weight": "bold"},
            labelcolor=INK,
            handlelength=2.4,
            columnspacing=1.6,
        )
        legend.get_title().set_color(INK)
        if num_columns == 1 or legend.get_window_extent().width <= figure.bbox.width:
            break
        legend.remove()
    return legend
