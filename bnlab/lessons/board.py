"""A table of the input: a row per sample, a column per channel, a color per statistic.

A letter names the statistic too, for terminals without color.
"""

import itertools
import string
from collections.abc import Iterator

from rich.style import Style
from rich.table import Table
from rich.text import Text

from bnlab.lessons.explanation import Explanation

PALETTE = ("#56B4E9", "#E69F00", "#009E73", "#F0E442", "#CC79A7", "#D55E00", "#0072B2")
"""Okabe & Ito's colors, which differ for every kind of color vision (2008, "Color Universal Design")."""

DARK = frozenset({"#0072B2"})
"""The colors on which white letters are easier to read than black ones."""

CELL_WIDTH = 7
WITH_NUMBERS = 9
ARROW = "  → "
TALL = 4
"""Cells of up to this many samples are two lines high, so that they are nearly square."""


def letters() -> Iterator[str]:
    """Yield A to Z, then AA, AB and so on."""
    for length in itertools.count(1):
        yield from map("".join, itertools.product(string.ascii_uppercase, repeat=length))


def marks(lesson: Explanation) -> dict[int, tuple[str, str]]:
    """Return number of a statistic -> its letter and color, for those in the drawing, row by row.

    If there are more statistics than colors, colors are used again, but never in neighboring cells.
    """
    cells = lesson.sharing.cells
    letter_of = dict(
        zip(dict.fromkeys(number for row in cells for number in row if number >= 0), letters(), strict=False)
    )
    if len(letter_of) <= len(PALETTE):
        return dict(zip(letter_of, zip(letter_of.values(), PALETTE, strict=False), strict=True))
    return {
        number: (letter_of[number], PALETTE[(3 * down + across) % len(PALETTE)])
        for down, row in enumerate(dict.fromkeys(cells))
        for across, number in enumerate(dict.fromkeys(row))
    }


def draw_board(lesson: Explanation) -> Table:
    """Draw the samples and channels of the input, colored by statistic; small inputs with input and output values."""
    sharing = lesson.sharing
    mark = marks(lesson) if sharing.partition else {0: ("x", PALETTE[0])}
    boards = [lesson.small, lesson.small_output] if lesson.small is not None else [None]
    table = Table(box=None, padding=(0, 1, 0, 0), show_header=False)
    table.add_column(justify="right", width=9)

    def add(label: Text, cells: list[list[Text]], between: str = "") -> None:
        first, *second = cells
        table.add_row(label, *first, *(cell for board in second for cell in (Text(between), *board)))

    if lesson.small is not None:
        add(Text(), [[Text(f"  {name}", "bold"), *[Text()] * (len(sharing.columns) - 1)] for name in "xy"])
    width = CELL_WIDTH if lesson.small is None else WITH_NUMBERS
    add(Text("N ↓  C →", "bold"), [[Text(f"c={c}".center(width)) for c in sharing.columns]] * len(boards))
    height = 2 if len(sharing.rows) <= TALL and lesson.small is None else 1
    for row, n in enumerate(sharing.rows):
        cells = [_row(lesson, row, mark, board, height) for board in boards]
        add(Text(f"n={n}"), cells, ARROW if row == len(sharing.rows) // 2 else "")
    return table


def _row(
    lesson: Explanation,
    row: int,
    mark: dict[int, tuple[str, str]],
    values: tuple[tuple[float, ...], ...] | None,
    height: int,
) -> list[Text]:
    sharing = lesson.sharing
    drawn = []
    for column, statistic in enumerate(sharing.cells[row]):
        word, color = mark.get(statistic, ("·", ""))
        if not sharing.partition and row == column == 0:
            word = "y"
        if values is not None:
            word = f" {word if statistic >= 0 else ' '}{_short(values[row][column]).rjust(WITH_NUMBERS - 3)} "
        drawn.append(_cell(word, color, CELL_WIDTH if values is None else WITH_NUMBERS, height))
    return drawn


def _cell(word: str, color: str, width: int, height: int) -> Text:
    style = Style(bgcolor=color, color="#ffffff" if color in DARK else "#000000") if color else Style()
    return Text("\n").join(Text(line.center(width), style) for line in [word, *[""] * (height - 1)])


def _short(value: float) -> str:
    text = f"{value:.2f}" if abs(value) < 100 else f"{value:.3g}"
    return "0" if float(text) == 0 else text.rstrip("0").rstrip(".") if "." in text else text
