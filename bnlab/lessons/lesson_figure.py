"""A lesson as a figure for slides: the block of values, the numbers, the sentences; text stays text in SVG.

Matplotlib places everything: constrained layout the panels, packers the lines and columns of text inside a panel.
"""

import io
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.offsetbox import AnchoredOffsetbox, HPacker, OffsetBox, TextArea, VPacker

from bnlab.errors import ConfigError, did_you_mean
from bnlab.lessons.cube import build_cube, project
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
from bnlab.runfolder.whole_files import write_whole

FORMATS = ("svg", "png", "pdf")
SIZE = (16.0, 9.0)
"""Of the figure in inches: the shape of a slide."""

INK, QUIET = "#1A1A1A", "#5F6B73"
SHARED = {"top": "#3C9BD1", "left": "#0072B2", "right": "#00598C"}
"""Okabe and Ito's blue in three lights."""

OTHERS = {"top": "#F7F8F9", "left": "#E9ECEE", "right": "#DCE1E4"}
TERMS = ("#0072B2", "#D55E00", "#00805D")
"""Blue, vermilion and green, the last a shade darker than Okabe and Ito's, to be read as small text on white."""

MIN_SPAN = 7.0
"""Edges of a little cube that the panel of the block spans at least, so that a small block is not drawn huge."""


def write_figure(lesson: Explanation, path: Path) -> None:
    """Write a lesson as a figure.

    Args:
        lesson: The lesson to draw.
        path: The file to write. Its ending names the format: .svg, .png or .pdf.

    Raises:
        ConfigError: The ending names another format, or the file cannot be written.
    """
    kind = path.suffix.removeprefix(".").lower()
    if kind not in FORMATS:
        raise ConfigError(f"--svg takes a file ending in .svg, .png or .pdf, got {path}. {did_you_mean(kind, FORMATS)}")
    plain = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind, {})  # the same lesson, the same bytes
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "bnlab", "pdf.fonttype": 42}):
        drawn = io.BytesIO()
        draw_figure(lesson).savefig(drawn, format=kind, dpi=150, metadata=plain)
        try:
            write_whole(path, drawn.getvalue())
        except OSError as error:
            raise ConfigError(f"--svg {path} cannot be written: {error.strerror}. Choose another place.") from error


def draw_figure(lesson: Explanation) -> Figure:
    """Return the whole figure."""
    margins = ConstrainedLayoutEngine(w_pad=0.4, h_pad=0.2)  # inches between the panels and around them
    figure = Figure(figsize=SIZE, facecolor="white", layout=margins)
    panels = figure.subplot_mosaic(
        [["head", "head"], ["block", "numbers"], ["sharing", "numbers"]],
        width_ratios=(1, 1.35),
        height_ratios=(1, 5.2, 1.8),
    )
    for axes in panels.values():
        axes.set_axis_off()
    _draw_block(panels["block"], lesson)
    _put(panels["head"], _head(lesson))
    _put(panels["sharing"], _sharing(lesson))
    lines, sentences = _numbers(lesson), _sentences(lesson)
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    figure.draw_without_rendering()  # lays the panels out, so that their heights are known
    room = panels["numbers"].get_window_extent().height
    while sentences and _height([*lines, *sentences], figure, renderer) > room:
        sentences.pop()  # the least important one
    _put(panels["numbers"], [*lines, *sentences])
    figure.set_layout_engine("none")  # the panels keep their places: what was added since fits into its panel
    return figure


def _head(lesson: Explanation) -> list[Artist]:
    options = "".join(f" {name}={value}" for name, value in lesson.options.items())
    name = _text(lesson.words.class_name, 26, weight="bold")
    words = _text(f"norm={lesson.norm}{options}", 12, color=QUIET)
    summary = textwrap.shorten(lesson.words.summary, 140, placeholder=" …")
    return [HPacker(children=[name, words], align="baseline", pad=0, sep=24), _text(summary, 13, color=QUIET)]


def _draw_block(axes: Axes, lesson: Explanation) -> None:
    cube = build_cube(lesson)
    axes.add_collection(
        PolyCollection(
            [face.corners for face in cube.faces],
            facecolors=[(SHARED if face.shares else OTHERS)[face.side] for face in cube.faces],
            edgecolors=["#FFFFFF" if face.shares else "#AEB8BE" for face in cube.faces],
            linewidths=0.8,
        )
    )
    block = axes.dataLim
    middle, half = (block.x0 + block.x1) / 2, max(block.width, MIN_SPAN) / 2
    axes.set(xlim=(middle - half, middle + half), ylim=block.intervaly, aspect="equal")
    names = lesson.sharing.axes
    floor = cube.num_positions
    labels = [
        (f"C = {names[1].size}", project(0, cube.num_channels / 2, floor), (-12, -20), "right", 0),
        (f"N = {names[0].size}", project(cube.num_samples / 2, 0, floor), (12, -20), "left", 0),
    ]
    if len(names) > 2:
        letters, sizes = ", ".join(a.letter for a in names[2:]), " × ".join(str(a.size) for a in names[2:])
        labels.append((f"{letters} = {sizes}", project(0, cube.num_channels, floor / 2), (-14, 0), "right", 90))
    for text, place, offset, side, rotation in labels:
        axes.annotate(
            text,
            place,
            offset,
            textcoords="offset points",
            ha=side,
            va="center" if rotation else "baseline",
            rotation=rotation,
            color=INK,
            fontsize=12,
        )


def _sharing(lesson: Explanation) -> list[Artist]:
    colored = "Blue: the values that share one statistic."
    if not lesson.sharing.num_statistics:
        colored = f"Blue: what {place_of((0,) * len(lesson.shape), 'y')} depends on."
    drawn = [said for said in drawing_sentences(lesson) if "drawn" in said]
    return [
        _text(" ".join(sharing_sentences(lesson)), 12, width=62),
        _text(" ".join([colored, *drawn]), 10.5, width=70, color=QUIET),
    ]


def _numbers(lesson: Explanation) -> list[Artist]:
    """Return the formulas and the table."""
    story = lesson.example.story
    lines: list[Artist] = []
    if story is None:
        lines += [_text(line, 12, width=90) for line in lesson.words.formula]
    else:
        found = "   ".join(f"{name} = {number(value)}" for name, value in story.statistics.items())
        lines += [
            _text(f"{story.forward_text},   {output_text(lesson)}", 12.5, width=88, weight="bold"),
            _text(f"{found}   eps = {story.eps:g}", 11),
        ]
    lines += [_text(parameters_sentence(lesson), 10.5, width=108), _table(lesson)]
    if how_many(lesson):
        lines.append(_text(how_many(lesson), 10, color=QUIET))
    if story is not None:
        names = [_text(f"({i + 1})  {term.formula}", 11, color=TERMS[i]) for i, term in enumerate(story.terms)]
        meanings = [_text(term.meaning, 11) for term in story.terms]
        lines += [
            _text(gradient_text(lesson), 12.5, weight="bold"),
            HPacker(children=[_stack(names, 3), _stack(meanings, 3)], align="bottom", pad=0, sep=40),
        ]
    return [line for line in lines if not (isinstance(line, TextArea) and not line.get_text())]


def _table(lesson: Explanation) -> OffsetBox:
    story, values = lesson.example.story, lesson.example.values
    columns = {"": [place_of(value.place) for value in values], "x": [number(value.x) for value in values]}
    if story is not None:
        columns["xhat"] = [cell(value.xhat or 0.0) for value in values]
    columns["y"] = [cell(value.y) for value in values]
    columns["g"] = [number(value.g) for value in values]
    colors = {"": QUIET}
    if story is not None:
        columns["h"] = [cell(value.h or 0.0) for value in values]
        for index in range(len(story.terms)):
            columns[f"({index + 1})"] = [cell(value.terms[index]) for value in values]
            colors[f"({index + 1})"] = TERMS[index]
    columns["dx"] = [cell(value.dx) for value in values]
    drawn: list[Artist] = []
    for heading, texts in columns.items():
        color = {"color": colors.get(heading, INK)}
        cells: list[Artist] = [
            TextArea(heading, textprops={"fontsize": 11.5, "weight": "bold", **color}),
            TextArea("\n".join(texts), textprops={"fontsize": 11, "linespacing": 1.7, "ma": "right", **color}),
        ]
        drawn.append(VPacker(children=cells, align="right", pad=0, sep=5))
    return HPacker(children=drawn, align="bottom", pad=0, sep=16 if story is not None else 60)


def _sentences(lesson: Explanation) -> list[Artist]:
    """Return what else may be said, the important sentences first."""
    running = [running_line(statistic) for statistic in lesson.modes.running]
    said = [*terms_sentences(lesson)[:1], *running, *modes_sentences(lesson)[:2], *fine_print(lesson)]
    return [_text(sentence, 10.5, width=108) for sentence in said]


def _text(text: str, size: float, width: int = 1000, color: str = INK, weight: str = "normal") -> TextArea:
    """Return text in lines of at most ``width`` letters."""
    lines = [re.sub(" {2,}", "\u2003", line) for line in textwrap.wrap(text, width)]  # SVG makes one space of several
    return TextArea(
        "\n".join(lines), textprops={"fontsize": size, "color": color, "weight": weight, "linespacing": 1.4}
    )


def _stack(boxes: Sequence[Artist], sep: float = 7) -> VPacker:
    return VPacker(children=list(boxes), align="left", pad=0, sep=sep)


def _put(axes: Axes, boxes: Sequence[Artist]) -> None:
    axes.add_artist(AnchoredOffsetbox("upper left", child=_stack(boxes), frameon=False, pad=0, borderpad=0))


def _height(boxes: Sequence[Artist], figure: Figure, renderer: RendererBase) -> float:
    """Return how many pixels boxes take, one under the other."""
    stack = _stack(boxes)
    stack.set_figure(figure)
    return float(stack.get_bbox(renderer).height)
