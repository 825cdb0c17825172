"""A table of thousands of lines, as rich would print it, in a tenth of the time.

rich measures, wraps, pads and crops each cell by itself: 10,000 runs take six seconds. Here nothing is wrapped, so that
a line is put together in one go; heading and rule are rich's own. A table that has to be wrapped is left to rich.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property

from rich.console import Console
from rich.segment import Segment, Segments

from bnlab.cli.consoles import new_table

MANY = 500
"""Lines from which on a table is put together here: below, rich takes less than half a second."""

_BETWEEN = "   "  # what rich puts between two columns of the house's tables, and, of one blank, around all of them


class LongTable:
    """A table that is printed without wrapping.

    Args:
        columns: Heading -> the cells of the column, in rich's markup; each of one line.
        right: Headings of columns that hold numbers.
        console: The console that it is meant for.
    """

    def __init__(self, columns: Mapping[str, Sequence[str]], right: Sequence[str], console: Console) -> None:
        self._columns, self._right, self._console = columns, right, console
        self._styled: dict[str, tuple[list[Segment], int]] = {}

    @cached_property
    def width(self) -> int:
        """How many columns of a terminal it takes."""
        return sum(self._widths) + len(_BETWEEN) * (len(self._widths) - 1) + 2

    @cached_property
    def _widths(self) -> list[int]:
        return [
            max(self._width_of(heading), max(map(self._width_of, cells))) for heading, cells in self._columns.items()
        ]

    def _width_of(self, cell: str) -> int:
        return len(cell) if _is_plain(cell) else self._segments_of(cell)[1]

    def _segments_of(self, cell: str) -> tuple[list[Segment], int]:
        if cell not in self._styled:
            text = self._console.render_str(cell)
            self._styled[cell] = list(text.render(self._console)), text.cell_len
        return self._styled[cell]

    def print(self) -> None:
        """Print it on its console."""
        head = new_table(*self._columns, right=self._right)
        head.add_row(*("x" * width for width in self._widths))
        options = self._console.options.update(width=max(self.width, self._console.width))
        lines = self._console.render_lines(head, options, pad=False)
        found = [segment for line in lines[:3] for segment in (*line, Segment.line())]
        sides = [heading in self._right for heading in self._columns]
        for cells in zip(*self._columns.values(), strict=True):
            parts: list[Segment] = []
            text = " "
            for cell, width, is_right in zip(cells, self._widths, sides, strict=True):
                if _is_plain(cell):
                    text += (cell.rjust(width) if is_right else cell.ljust(width)) + _BETWEEN
                    continue
                segments, own = self._segments_of(cell)
                blanks = " " * (width - own)
                parts += [Segment(text + (blanks if is_right else "")), *segments]
                text = ("" if is_right else blanks) + _BETWEEN
            found += [*parts, Segment(text[: 1 - len(_BETWEEN)]), Segment.line()]
        found += [segment for line in lines[4:] for segment in (*line, Segment.line())]
        self._console.print(Segments(found), soft_wrap=True, end="")


def _is_plain(cell: str) -> bool:
    """Return whether a cell is printed as it stands, one column of the terminal a letter: as nearly all are."""
    return cell.isascii() and cell.isprintable() and not ("[" in cell or "\\" in cell)
