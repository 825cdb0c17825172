"""A table of the input: a row per sample, a column per channel, a color per statistic.

A letter names the statistic too, for terminals without color.
"""

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
ARROW = "  →  "
TALL = 4
"""Cells of up to this many samples are two lines high, so that they are nearly square."""


def letter_of(index: int) -> str:
    """Return a statistic's letter.

    Example:
        >>> letter_of(0), letter_of(25), letter_of(26)
        ('A', 'Z', 'AA')
    """
    word = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        word = chr(ord("A") + rest) + word
    return word


def marks(lesson: Explanation) -> dict[int, tuple[str, str]]:
    """Return number of a statistic -> its letter and color, for those in the drawing, row by row.

    If there are more statistics than colors, colors are used again, but never in neighboring cells.
    """
    cells = lesson.sharing.cells
    statistics = list(dict.fromkeys(number for row in cells for number in row if number >= 0))
    if len(statistics) <= len(PALETTE):
        return {number: (letter_of(index), PALETTE[index]) for index, number in enumerate(statistics)}
    found: dict[int, tuple[str, str]] = {}
    for down, row in enumerate(dict.fromkeys(cells)):
        for across, number in enumerate(dict.fromkeys(row)):
            found[number] = (letter_of(statistics.index(number)), PALETTE[(3 * down + across) % len(PALETTE)])
    return found


def draw_board(lesson: Explanation) -> Table:
    """Draw the samples and channels of the input, colored by statistic; small inputs with input and output values."""
    sharing = lesson.sharing
    mark = marks(lesson) if sharing.partition else {0: ("x", PALETTE[0])}
    boards = [lesson.small, lesson.small_output] if lesson.small is not None else [None]
    width = CELL_WIDTH if lesson.small is None else WITH_NUMBERS
    headings = [Text(f"c={c}".center(width)) for c in sharing.columns]
    table = Table(box=None, padding=(0, 0), pad_edge=False, show_header=False)
    table.add_column(justify="right", width=9)
    table.add_column(width=1)
    for index in range(len(boards)):
        for _ in sharing.columns:
            table.add_column(width=width + 1)
        if index < len(boards) - 1:
            table.add_column(width=len(ARROW))
    if len(boards) == 2:
        blank = [Text()] * (len(sharing.columns) - 1)
        x, y = (Text(f"  {name}", "bold") for name in ("x", "y"))
        table.add_row(Text(), Text(), x, *blank, Text(), y, *blank)
    table.add_row(Text("N ↓  C →", style="bold"), Text(), *headings, *([Text(), *headings] if len(boards) == 2 else []))
    tall = len(sharing.rows) <= TALL and lesson.small is None
    for row, n in enumerate(sharing.rows):
        drawn: list[Text] = []
        for board in boards:
            arrow = ARROW if row == len(sharing.rows) // 2 else ""
            drawn += [Text(arrow)] if drawn else []
            drawn += _row(lesson, row, mark, board, 2 if tall else 1)
        table.add_row(Text(f"n={n}"), Text(), *drawn)
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
