"""Consoles: results go to standard output, everything else to standard error."""

import contextlib
import csv
import io
import json
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Self

import typer
from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from bnlab.errors import UnwrittenError

_UNPRINTABLE = dict.fromkeys((*range(9), *range(11, 32), *range(127, 160)), "�")
"""Control characters, but for tab and line feed: a terminal would obey what stands in the name of a folder."""


def printable(text: str) -> str:
    """Return a text in which each control character is replaced by a mark."""
    return text.translate(_UNPRINTABLE)


class _SafeConsole(Console):
    """A console that sends no control character of any text to the terminal, only those of its own styles."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            is_safe = segment.control or segment.text.isprintable() or segment.text == "\n"
            yield segment if is_safe else Segment(printable(segment.text), segment.style)

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable(text), **options)


def new_console(**options: Any) -> Console:
    """Return a console that does not color words by itself, and shows colors on a dumb terminal if FORCE_COLOR says so.

    It takes ``:x:`` for no picture, and prints no control character of any text.

    Args:
        **options: Options of rich's console.
    """
    is_forced = bool(os.environ.get("FORCE_COLOR")) and os.environ.get("TERM") in {"dumb", "unknown"}
    return _SafeConsole(highlight=False, emoji=False, color_system="standard" if is_forced else "auto", **options)


OUT = new_console()
"""Results."""

ERR = new_console(stderr=True)
"""Progress, warnings, errors."""

ROOMY = 160
"""Columns of a table that goes into a file or a pipe, which have no width of their own."""

NARROW = 100
"""Columns below which a terminal has no room for all columns of a wide table."""


def is_narrow() -> bool:
    """Return whether results go to a terminal with few columns."""
    return OUT.is_terminal and OUT.width < NARROW


def knows_braille(console: Console) -> bool:
    """Return whether a console can write the characters of which lines are drawn.

    Args:
        console: The console that a chart is printed on.
    """
    try:
        "\u28ff".encode(console.encoding)
    except UnicodeEncodeError:
        return False
    return True


def say_error(message: str) -> None:
    """Print an error."""
    _say("error", "bold red", message)


def say_warning(message: str) -> None:
    """Print a warning."""
    _say("warning", "bold yellow", message)


@contextlib.contextmanager
def telling_what_is_unwritten(is_asked_for: bool = False) -> Iterator[None]:
    """Tell in a sentence that figures cannot be written, and go on: the answer is what is printed.

    Args:
        is_asked_for: Whether the user named the place of the figures: then the program ends with the error.

    Raises:
        UnwrittenError: They cannot be written, and their place was named.
    """
    try:
        yield
    except UnwrittenError as error:
        if is_asked_for:
            raise
        say_warning(str(error))


def say_unless(quiet: bool) -> Callable[[str], None]:
    """Return `say_warning`, or a function that says nothing.

    Args:
        quiet: Whether nothing shall be said.
    """
    return (lambda _: None) if quiet else say_warning


class Waiting:
    """A word on the screen while nothing else can be said, as while torch is imported; in a terminal alone.

    It must be over before anything is printed on standard output: as a context, or by `end`.

    Args:
        word: What is waited for.
        quiet: Whether nothing shall be said.
    """

    def __init__(self, word: str = "Waiting for torch", quiet: bool = False) -> None:
        self._status = None if quiet or not ERR.is_terminal else ERR.status(word, spinner_style="dim")

    def __enter__(self) -> Self:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Take the word away; a second call does nothing."""
        if self._status is not None:
            self._status.stop()
            self._status = None


class _ToTerminal(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        say_warning(record.getMessage())


logging.lastResort = _ToTerminal(logging.WARNING)  # Python's own would print a message with all its characters


def _say(kind: str, style: str, message: str) -> None:
    ERR.print(f"[{style}]{kind}:[/]", end=" ")
    ERR.print(message, markup=False, soft_wrap=True)


def new_table(*columns: str, title: str | None = None, right: Sequence[str] = ()) -> Table:
    """Return an empty table in the house's style.

    Args:
        *columns: The headings of the columns, from left to right.
        title: A line above the table; None for none.
        right: The headings whose columns are aligned to the right, since they hold numbers.
    """
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False)
    for name in columns:
        table.add_column(Text(name), justify="right" if name in right else "left", overflow="fold")
    return table


def print_table(table: Table) -> None:
    """Print a table on standard output; at a width of its own if the output is no terminal."""
    if OUT.is_terminal:
        OUT.print(table)
    else:
        new_console(file=sys.stdout, width=ROOMY).print(table)


def print_rows(rows: Sequence[Mapping[str, Any]], as_json: bool, as_csv: bool, columns: Sequence[str] = ()) -> bool:
    """Print rows for a program, if JSON or CSV was asked for; return whether one was.

    Args:
        rows: Rows with equal or different keys; a key that a row lacks is an empty field in CSV.
        as_json: Whether to print one JSON list.
        as_csv: Whether to print a heading and one line per row.
        columns: The heading of CSV if there are no rows.

    Raises:
        BadParameter: Both JSON and CSV were asked for.
    """
    if as_json and as_csv:
        raise typer.BadParameter("--json and --csv exclude each other")
    if as_json:
        typer.echo(_as_json(list(rows)))
    elif as_csv:
        heading = list(dict.fromkeys(key for row in rows for key in row)) or columns
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, heading, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        typer.echo(buffer.getvalue(), nl=False)
    return as_json or as_csv


def _as_json(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as JSON; a setting that is no finite number is null."""
    text = json.dumps(rows, indent=1)
    if "NaN" in text or "Infinity" in text:
        text = json.dumps(json.loads(text, parse_constant=lambda _: None), indent=1)
    return text


def duration(seconds: float) -> str:
    """Return a duration in seconds, minutes or hours, as text.

    Example:
        >>> duration(5), duration(600), duration(9000)
        ('5 s', '10 min', '2.5 h')
    """
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def counted(number: int, thing: str, things: str = "") -> str:
    """Return a number and a noun, in the plural if needed.

    Args:
        number: How many there are.
        thing: The noun in the singular, such as ``run``.
        things: Its plural; empty: the noun with an s.

    Example:
        >>> counted(1, "run"), counted(2, "run"), counted(1500, "cohort"), counted(2, "study", "studies")
        ('1 run', '2 runs', '1,500 cohorts', '2 studies')
    """
    return f"{number:,} {thing if number == 1 else things or thing + 's'}"
