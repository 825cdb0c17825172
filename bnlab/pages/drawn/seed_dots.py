"""The figures of a condition seed by seed, with their mean, its interval, and the bound that they are held against."""

import math
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from bnlab.pages.amounts import Unit, number, unit_of, value_text
from bnlab.pages.drawn.inline_svg import to_inline
from bnlab.pages.drawn.picture import Cell, DataTable, Drawing, Picture, new_axes, without_small_ticks
from bnlab.pages.engine_sentences import in_chinese
from bnlab.pages.plain_text import plain
from bnlab.pages.study_results import Bracket, Condition
from bnlab.pages.words import Words
from bnlab.report.palette import COLORS, INK, LINE, QUIET, SMALL
from bnlab.studies.bounds import Region, in_unit, read_region

ROW, BESIDE = 0.135, 0.54
"""Inches of a seed's row, and of all else."""

SUBS, SUBS_OF_FEW = (1.0, 2.0, 5.0), (0.7, 1.0, 1.2, 1.5, 2.0, 3.0, 5.0)
"""Numbers on a logarithmic axis, times powers of ten; the second ones where it spans less than a factor of 4."""

MOST_NAMED = 12
"""Seeds up to which each row is named."""


@dataclass(frozen=True)
class SeedFigure:
    """What a condition averages, for one seed.

    Attributes:
        seed: The seed.
        value: The figure; None where it is not known.
        open_end: ``low`` or ``high`` where only a bound is known, which may lie that far; else empty.
    """

    seed: int
    value: float | None
    open_end: str = ""


def seed_figures(condition: Condition) -> list[SeedFigure]:
    """Return what a condition averages, seed by seed."""
    averaged = condition.differences or condition.first
    found = []
    for place, seed in enumerate(condition.seeds):
        value = averaged[place] if place < len(averaged) else None
        value = value.seen if isinstance(value, Bracket) else value
        first, second = (of[place] if place < len(of) else None for of in (condition.first, condition.second))
        if condition.kind == "pair" and condition.first and condition.second and (first is None or second is None):
            value = None
        found.append(SeedFigure(seed, value, _open_end(condition, first, second)))
    return found


def _open_end(condition: Condition, first: float | Bracket | None, second: float | Bracket | None) -> str:
    """Return which end of the figure is not known, where a run did not get there, or the grid ends."""
    is_open = [isinstance(one, Bracket) and one.greatest is None for one in (first, second)]
    if is_open[0] == is_open[1]:
        return ""
    is_turned = condition.metric.startswith(("steps_to", "seconds_to"))
    return "high" if is_open[0] != is_turned else "low"


def draw_seeds(condition: Condition, name: str, words: Words) -> Picture | None:
    """Return the figure of a condition; None where it has no figure for any seed.

    Args:
        condition: The judged condition, whose values are drawn seed by seed.
        name: A name that no other figure of the page has.
        words: The fixed words of the page's language.
    """
    figures = seed_figures(condition)
    known = [each for each in figures if each.value is not None]
    unit = unit_of(condition.kind, condition.unit)
    if not known or condition.effect is None:
        return None
    is_log = unit.is_ratio and all((each.value or 0) > 0 for each in known)
    region = read_region(condition.bound)
    table = seeds_table(condition, words)
    page, axes = new_axes(BESIDE + ROW * (len(known) + 2), left=0.4, across=table.headings[-1])
    _axis(axes, condition, known, region, unit, is_log)
    _draw(axes, condition, known, words("mean"))
    what = words.metric(condition.metric)
    effect = unit.amount(condition.effect, words.lang)
    interval = unit.interval(condition.low, condition.high, words.lang)
    bound = in_unit(condition.bound, condition.kind, condition.unit)
    description = words(
        "alt_seeds",
        what=what,
        n=len(known),
        effect=f"{effect} {interval}".strip(),
        bound=(in_chinese(bound) if words.lang == "zh" else None) or bound,
        verdict=words(condition.verdict),
    )
    title = words("fig_seeds", what=what)
    note = [words("fig_seeds_note")]
    if any(each.open_end for each in known):
        note.append(words("fig_seeds_open"))
    if len(known) < len(figures):
        note.append(words("fig_seeds_unknown", number=len(figures) - len(known)))
    gap = " " if words.lang == "en" else ""
    drawing = Drawing(to_inline(page, name, title, description))
    return Picture(title, gap.join(note), (drawing,), table)


def _axis(
    axes: Axes, condition: Condition, known: list[SeedFigure], region: Region | None, unit: Unit, is_log: bool
) -> None:
    axes.spines["left"].set_visible(False)
    ends = [*(each.value for each in known), condition.effect, condition.low, condition.high, 1.0 if is_log else 0.0]
    if region is not None:
        ends += [region.low, region.high]
    if condition.kind != "pair":  # of a value of one arm, zero is no special place
        ends.remove(1.0 if is_log else 0.0)
    shown = [end for end in ends if end is not None and (end > 0 or not is_log)]
    low, high = min(shown), max(shown)
    if is_log:
        axes.set_xscale("log")
        span = max(math.log(high / low), 0.1)
        axes.set_xlim(low / math.exp(0.1 * span), high * math.exp(0.1 * span))
        axes.xaxis.set_major_locator(LogLocator(subs=SUBS_OF_FEW if high < 4 * low else SUBS, numticks=6))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        span = (high - low) or abs(high) or 1.0
        axes.set_xlim(low - 0.1 * span, high + 0.1 * span)
        axes.xaxis.set_major_locator(MaxNLocator(5))
    without_small_ticks(axes)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _tick(unit, value)))
    if condition.kind == "pair":
        axes.axvline(1.0 if is_log else 0.0, color=LINE, linewidth=0.9, zorder=1)
    if region is not None:
        left, right = axes.get_xlim()
        start, end = region.low if region.low is not None else left, region.high if region.high is not None else right
        axes.axvspan(start, end, color=COLORS[5], alpha=0.12, linewidth=0, zorder=0)
        for edge in (region.low, region.high):
            if edge is not None:
                axes.axvline(edge, color=QUIET, linewidth=0.9, dashes=(4, 2), zorder=1)
        axes.set_xlim(left, right)


def _tick(unit: Unit, value: float) -> str:
    return f"{number(100 * value)}" if unit.is_share else number(value)


def _draw(axes: Axes, condition: Condition, known: list[SeedFigure], mean: str) -> None:
    """Draw the mean with its interval in the first row, and a seed in each of the others."""
    left, right = axes.get_xlim()
    low, high = (end if end is not None else edge for end, edge in ((condition.low, left), (condition.high, right)))
    if condition.low is not None or condition.high is not None:
        axes.plot([low, high], [0, 0], color=COLORS[0], linewidth=4.5, solid_capstyle="butt", alpha=0.45, zorder=3)
    axes.plot([condition.effect or 0.0], [0], marker="D", markersize=6, color=COLORS[0], linestyle="none", zorder=4)
    rows = range(2, len(known) + 2)
    for end, marker in (("", "o"), ("high", ">"), ("low", "<")):
        points = [(each.value, row) for each, row in zip(known, rows, strict=True) if each.open_end == end]
        if points:
            axes.plot(
                *zip(*points, strict=True),
                marker=marker,
                markersize=4.2,
                linestyle="none",
                color=INK,
                markerfacecolor="none" if end else INK,
                zorder=3,
            )
    axes.set_ylim(len(known) + 1.8, -0.9)
    named = [(row, str(each.seed)) for each, row in zip(known, rows, strict=True) if len(known) <= MOST_NAMED]
    axes.set_yticks([0, *(row for row, _ in named)], [mean, *(text for _, text in named)], fontsize=SMALL, color=QUIET)
    axes.tick_params(axis="y", length=0)


def seeds_table(condition: Condition, words: Words) -> DataTable:
    """Return the figures of a condition by seed as a table.

    Args:
        condition: The judged condition, whose values are drawn seed by seed.
        words: The fixed words of the page's language.
    """
    unit = unit_of(condition.kind, condition.unit)
    heading = {"pair": "ratio" if unit.is_ratio else "difference", "recovered": "share"}.get(condition.kind, "value")
    names = [plain(arm) for arm in condition.arms]
    has_second = any(value is not None for value in condition.second)
    columns = names[: 2 if has_second else 1] if any(value is not None for value in condition.first) else []
    columns = columns if condition.kind == "pair" or not condition.differences else names[:2]
    rows = []
    for place, each in enumerate(seed_figures(condition)):
        own = [_figure(of, place, unit) for of in (condition.first, condition.second)[: len(columns)]]
        averaged = Cell(words("unknown")) if each.value is None else Cell(unit.bare(each.value), each.value)
        rows.append((Cell(str(each.seed)), *own, averaged))
    suffix = f" ({unit.word(words.lang)})" if unit.word(words.lang) else ""
    return DataTable((words("seed"), *columns, words(heading) + suffix), tuple(rows))


def _figure(figures: tuple[float | Bracket | None, ...], place: int, unit: Unit) -> Cell:
    value = figures[place] if place < len(figures) else None
    if not isinstance(value, Bracket):
        return Cell(value_text(value, unit), value)
    if value.greatest is None:
        return Cell(f"≥ {value_text(value.least, unit)}", value.seen)
    return Cell(f"{value_text(value.least, unit)} – {value_text(value.greatest, unit)}", value.seen)
