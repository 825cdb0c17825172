"""A lesson as a figure for slides: the block of values, the numbers, what follows; text stays text in SVG."""

import re
import textwrap
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from bnlab.errors import ConfigError, did_you_mean
from bnlab.lessons.cube import COS, SIN, build_cube, project
from bnlab.lessons.example import Value
from bnlab.lessons.explanation import Explanation
from bnlab.lessons.numerals import cell, number, place_of
from bnlab.lessons.sentences import (
    drawing_sentences,
    fine_print,
    gradient_text,
    how_many,
    modes_sentences,
    output_text,
    parameters_sentence,
    running_line,
    sharing_sentences,
    terms_sentences,
)

FORMATS = ("svg", "png", "pdf")
WIDTH, HEIGHT = 16.0, 9.0
"""Of the page, in units that all coordinates below count in; the shape of a slide."""

INK, QUIET, LINE = "#1A1A1A", "#5F6B73", "#C4CCD1"
SHARED = {"top": "#3C9BD1", "left": "#0072B2", "right": "#00598C"}
"""Okabe and Ito's blue in three lights."""

OTHERS = {"top": "#F7F8F9", "left": "#E9ECEE", "right": "#DCE1E4"}
TERMS = ("#0072B2", "#D55E00", "#00805D")
"""Blue, vermilion and green, the last a shade darker than Okabe and Ito's, to be read as small text on white."""

BOX = (0.7, 6.3, 2.9, 7.0)
"""Left, right, bottom and top of the room for the block."""


def write_figure(lesson: Explanation, path: Path) -> None:
    """Write a lesson as a figure.

    Args:
        lesson: What to draw.
        path: Where to; its ending says in which format.

    Raises:
        ConfigError: Another format, or a place that cannot be written to.
    """
    kind = path.suffix.removeprefix(".").lower()
    if kind not in FORMATS:
        raise ConfigError(f"--svg takes a file ending in .svg, .png or .pdf, got {path}. {did_you_mean(kind, FORMATS)}")
    plain = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind, {})  # the same lesson, the same bytes
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "bnlab", "pdf.fonttype": 42}):
        try:
            draw_figure(lesson).savefig(path, format=kind, dpi=150, metadata=plain)
        except OSError as error:
            raise ConfigError(f"--svg {path} cannot be written: {error.strerror}. Choose another place.") from error


def draw_figure(lesson: Explanation) -> Figure:
    """Return the whole figure."""
    figure = Figure(figsize=(WIDTH, HEIGHT), facecolor="white")
    page = figure.add_axes((0, 0, 1, 1))
    page.set(xlim=(0, WIDTH), ylim=(0, HEIGHT))
    page.set_axis_off()
    _head(page, lesson)
    _block(page, lesson)
    below = _numbers(page, lesson, top=7.8)
    _what_follows(page, lesson, top=below)
    return figure


def _head(page: Axes, lesson: Explanation) -> None:
    options = "".join(f" {name}={value}" for name, value in lesson.options.items())
    _say(page, 0.7, 8.35, lesson.words.class_name, size=26, weight="bold")
    _say(page, 15.3, 8.35, f"norm={lesson.norm}{options}", size=12, color=QUIET, ha="right")
    _say(page, 0.7, 7.95, textwrap.shorten(lesson.words.summary, 140, placeholder=" …"), size=13, color=QUIET)


def _block(page: Axes, lesson: Explanation) -> None:
    cube = build_cube(lesson)
    left, right, bottom, top = cube.bounds
    edge = min((BOX[1] - BOX[0]) / (right - left), (BOX[3] - BOX[2]) / (top - bottom), 0.75)
    origin_x = (BOX[0] + BOX[1]) / 2 - edge * (left + right) / 2
    origin_y = (BOX[2] + BOX[3]) / 2 - edge * (bottom + top) / 2

    def at(point: tuple[float, float], dx: float = 0.0, dy: float = 0.0) -> tuple[float, float]:
        return (origin_x + edge * point[0] + dx, origin_y + edge * point[1] + dy)

    for face in cube.faces:
        color = (SHARED if face.shares else OTHERS)[face.side]
        line = "#FFFFFF" if face.shares else "#AEB8BE"
        page.add_patch(Polygon([at(corner) for corner in face.corners], facecolor=color, edgecolor=line, linewidth=0.8))
    axes = lesson.sharing.axes
    floor = cube.num_positions
    _say(
        page, *at(project(0, cube.num_channels / 2, floor), -0.35 * SIN, -0.35 * COS), f"C = {axes[1].size}", ha="right"
    )
    _say(page, *at(project(cube.num_samples / 2, 0, floor), 0.35 * SIN, -0.35 * COS), f"N = {axes[0].size}")
    if len(axes) > 2:
        letters, sizes = ", ".join(a.letter for a in axes[2:]), " × ".join(str(a.size) for a in axes[2:])
        middle = at(project(0, cube.num_channels, floor / 2), -0.2)
        page.text(*middle, f"{letters} = {sizes}", rotation=90, ha="right", va="center", color=INK, fontsize=12)
    said = " ".join(sharing_sentences(lesson))
    bottom_line = _paragraph(page, 0.7, 2.25, said, width=62, size=12)
    colored = "Blue: the values that share one statistic."
    if not lesson.sharing.partition or not lesson.sharing.has_statistics:
        colored = f"Blue: what {place_of((0,) * len(lesson.shape), 'y')} depends on."
    drawn = [said for said in drawing_sentences(lesson) if "drawn" in said]
    _paragraph(page, 0.7, bottom_line - 0.05, " ".join([colored, *drawn]), width=70, size=10.5, color=QUIET)


def _numbers(page: Axes, lesson: Explanation, top: float) -> float:
    """Draw formulas and table; return where there is room again."""
    story, example = lesson.example.story, lesson.example
    y = top - 0.45
    if story is not None:
        found = "   ".join(f"{name} = {number(value)}" for name, value in story.statistics.items())
        _say(page, 7.2, y, story.forward_text, size=12.5, weight="bold")
        _say(page, 15.3, y - 0.34, output_text(lesson), size=12.5, weight="bold", ha="right")
        _say(page, 7.2, y - 0.34, f"{found}   eps = {story.eps:g}", size=11)
        y = _paragraph(page, 7.2, y - 0.62, parameters_sentence(lesson), width=112, size=10.5) - 0.18
        headings = ["x", "xhat", "y", "g", "h", *(f"({i + 1})" for i in range(len(story.terms))), "dx"]
    else:
        for line in lesson.words.formula:
            y = _paragraph(page, 7.2, y, line, width=90, size=12)
        y = _paragraph(page, 7.2, y, parameters_sentence(lesson), width=112, size=10.5) - 0.2
        headings = ["x", "y", "g", "dx"]
    ends = [8.3 + 7.0 * (i + 1) / len(headings) for i in range(len(headings))]
    colors = dict(zip([f"({i + 1})" for i in range(3)], TERMS, strict=True))
    for end, heading in zip(ends, headings, strict=True):
        _say(page, end, y, heading, size=11.5, weight="bold", ha="right", color=colors.get(heading, INK))
    page.plot([7.2, 15.3], [y - 0.14, y - 0.14], color=LINE, linewidth=1)
    for value in example.values:
        y -= 0.3
        _say(page, 7.2, y - 0.08, place_of(value.place), size=11, color=QUIET)
        for end, heading, text in zip(ends, headings, _texts(value), strict=True):
            _say(page, end, y - 0.08, text, size=11, ha="right", color=colors.get(heading, INK))
    y -= 0.42
    if len(example.values) < example.num_values:
        _say(page, 7.2, y, how_many(lesson), size=10, color=QUIET)
        y -= 0.1
    if story is not None:
        y -= 0.25
        _say(page, 7.2, y, gradient_text(lesson), size=12.5, weight="bold")
        for index, term in enumerate(story.terms):
            y -= 0.29
            _say(page, 7.2, y, f"({index + 1})  {term.formula}", size=11, color=TERMS[index])
            _say(page, 11.6, y, term.meaning, size=11)
    return y - 0.35


def _texts(value: Value) -> list[str]:
    if value.xhat is None or value.h is None:
        return [number(value.x), cell(value.y), number(value.g), cell(value.dx)]
    forward = [number(value.x), cell(value.xhat), cell(value.y), number(value.g), cell(value.h)]
    return [*forward, *map(cell, value.terms), cell(value.dx)]


def _what_follows(page: Axes, lesson: Explanation, top: float) -> None:
    """Write what fits of the sentences, the important ones first."""
    running = [running_line(statistic) for statistic in lesson.modes.running]
    sentences = [*terms_sentences(lesson)[:1], *running, *modes_sentences(lesson)[:2], *fine_print(lesson)]
    y = top
    for sentence in sentences:
        lines = textwrap.wrap(sentence, 108)
        if y - 0.24 * len(lines) < 0.35:
            break
        y = _paragraph(page, 7.2, y, sentence, width=108, size=10.5) - 0.06


def _paragraph(page: Axes, x: float, y: float, text: str, width: int, size: float, color: str = INK) -> float:
    for line in textwrap.wrap(text, width):
        _say(page, x, y, line, size=size, color=color)
        y -= size * 0.023
    return y


def _say(
    page: Axes,
    x: float,
    y: float,
    text: str,
    size: float = 12,
    color: str = INK,
    ha: str = "left",
    weight: str = "normal",
) -> None:
    text = re.sub(" {2,}", "\u2003", text)  # SVG makes one space of several
    page.text(x, y, text, fontsize=size, color=color, ha=ha, va="baseline", fontweight=weight)
