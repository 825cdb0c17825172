"""A lesson as a page for the terminal."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from bnlab.lessons.board import draw_board
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
    running_sentences,
    sharing_sentences,
    terms_sentences,
)

WIDTH = 96
"""Largest width of a page in columns: longer lines of text are hard to read."""

TERM_STYLES = ("bold #2B85C5", "bold #D55E00", "bold #009E73")
"""Blue, vermilion and green: each has a contrast of at least 3 both on white and on a terminal's dark gray."""


Columns = dict[str, Callable[[Value], RenderableType]]
"""Heading of a column -> what it shows of a value."""


def draw_page(lesson: Explanation) -> RenderableType:
    """Return the whole page."""
    parts: list[RenderableType] = [*_head(lesson)]
    sections = [
        ("Which values share a statistic", _sharing(lesson)),
        ("Forward", _forward(lesson)),
        (_backward_title(lesson), _backward(lesson)),
        ("Running statistics", _running(lesson)),
        ("Training mode and eval mode", _points(modes_sentences(lesson))),
        ("Fine print", _fine_print(lesson)),
    ]
    shown = [(title, list(content)) for title, content in sections]
    for index, (title, content) in enumerate((s for s in shown if s[1]), 1):
        parts += [Text(), Rule(Text(f"{index}  {title}", style="bold"), align="left", style="dim")]
        parts += [Padding(part, (0, 0, 0, 3)) for part in content]
    return Group(*parts)


def _head(lesson: Explanation) -> Iterator[RenderableType]:
    words = lesson.words
    options = "".join(f" norm.{name}={value}" for name, value in lesson.options.items())
    shape = ", ".join(f"{axis.letter}={axis.size}" for axis in lesson.sharing.axes)
    yield Text.assemble((words.class_name, "bold"), f"  norm={lesson.norm}{options}   input {shape}")
    if words.summary:
        yield Text(words.summary)
    if words.formula:
        yield Padding(Text("\n".join(words.formula), style="bold"), (1, 0, 0, 3))


def _sharing(lesson: Explanation) -> Iterator[RenderableType]:
    yield draw_board(lesson)
    yield Text()
    yield from _paragraphs(sharing_sentences(lesson))
    yield from _paragraphs(drawing_sentences(lesson), style="dim")


def _forward(lesson: Explanation) -> Iterator[RenderableType]:
    story = lesson.example.story
    if story is None:
        return
    yield Text(story.forward_text)
    threshold = "" if story.floor is None else "   (a threshold of the layer's own)"
    yield Text(f"{output_text(lesson)}{threshold}")
    yield Text()
    found = "    ".join(f"{name} = {number(value)}" for name, value in story.statistics.items())
    yield Text.assemble(("Statistic A:  ", "bold"), found, (f"    (eps = {story.eps:g})", "dim"))
    yield from _paragraphs([parameters_sentence(lesson)], style="dim")
    yield Text()
    yield from _table(
        lesson, {"x": lambda v: number(v.x), "xhat": lambda v: cell(v.xhat or 0.0), "y": lambda v: cell(v.y)}
    )


def _backward_title(lesson: Explanation) -> str:
    story = lesson.example.story
    names = {2: "two", 3: "three"}
    return f"Backward: {names[len(story.terms)]} terms" if story is not None else "Forward and backward"


def _backward(lesson: Explanation) -> Iterator[RenderableType]:
    story = lesson.example.story
    if story is None:
        yield Text("The layer computes y from x by a formula of its own; dx is autograd's, for the gradient g of y.")
        yield from _paragraphs([parameters_sentence(lesson)], style="dim")
        yield Text()
        yield from _table(
            lesson,
            {
                "x": lambda v: number(v.x),
                "y": lambda v: cell(v.y),
                "g": lambda v: number(v.g),
                "dx": lambda v: cell(v.dx),
            },
        )
        return
    yield Text(gradient_text(lesson))
    legend = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    for index, term in enumerate(story.terms):
        legend.add_row(Text(f"({index + 1})", TERM_STYLES[index]), term.formula, term.meaning)
    yield legend
    yield Text()
    terms = {f"({index + 1})": _written_term(index) for index in range(len(story.terms))}
    reached = [not term.stopped for term in story.terms]
    columns: Columns = {
        "g": lambda v: number(v.g),
        "h": lambda v: cell(v.h or 0.0),
        **terms,
        "sum": lambda v: cell(sum(itertools.compress(v.terms, reached))),
        "autograd": lambda v: Text(cell(v.dx), "bold"),
    }
    yield from _table(lesson, columns, dict(zip(terms, TERM_STYLES, strict=False)))
    yield Text()
    yield from _points(terms_sentences(lesson))


def _written_term(index: int) -> Callable[[Value], RenderableType]:
    return lambda value: cell(value.terms[index])


def _running(lesson: Explanation) -> Iterator[RenderableType]:
    for statistic in lesson.modes.running:
        what = f"   ({statistic.what} of the batch)" if statistic.what else ""
        yield Text.assemble((running_line(statistic), "bold"), (what, "dim"))
    yield from _points(running_sentences(lesson))


def _fine_print(lesson: Explanation) -> Iterator[RenderableType]:
    yield from _points(fine_print(lesson))
    for name in ("Fails", "Source"):
        if name in lesson.words.sections:
            yield Text.assemble((f"{name}: ", "bold"), (lesson.words.sections[name], "dim"))


def _table(lesson: Explanation, columns: Columns, styles: Mapping[str, str] = {}) -> Iterator[RenderableType]:
    """Yield a table with a row for each value, and how many of the values it shows."""
    gap = 2 if len(lesson.shape) == 2 else 1  # longer indices leave less room
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 0, 0, gap), show_edge=False)
    table.add_column("value", style="dim", no_wrap=True)
    for name in columns:
        style = styles.get(name, "")
        table.add_column(name, justify="right", style=style.removeprefix("bold "), header_style=style, no_wrap=True)
    for value in lesson.example.values:
        table.add_row(place_of(value.place), *(write(value) for write in columns.values()))
    yield table
    yield from _paragraphs([how_many(lesson)], style="dim")


def _paragraphs(sentences: Iterable[str], style: str = "") -> Iterator[RenderableType]:
    text = " ".join(sentence for sentence in sentences if sentence)
    if text:
        yield Text(text, style=style)


def _points(sentences: Iterable[str]) -> Iterator[RenderableType]:
    """Yield sentences as a list, one under the other."""
    points = Table.grid(padding=(0, 1, 0, 0))
    for sentence in sentences:
        points.add_row("-", Text(sentence))
    if points.row_count:
        yield points
