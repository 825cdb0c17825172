"""Lines drawn with characters: dots of braille, and a letter for each arm.

A letter per arm, since a pipe has no colors and not every eye tells them apart.
"""

import string
from collections.abc import Sequence

import numpy as np
from rich.text import Text

COLORS = ("bright_blue", "dark_orange", "green", "magenta", "yellow", "cyan", "red", "bright_black")

DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""The bits of a braille character's dots, by row and column; U+2800 is the empty one."""

DIVERGED, SEVERAL = "x", "*"


class Canvas:
    """A grid of characters, each of 2 x 4 dots.

    Args:
        width: Columns.
        height: Lines.
    """

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._dots = [[0] * width for _ in range(height)]
        self._signs: dict[tuple[int, int], tuple[str, str]] = {}
        self._colors: dict[tuple[int, int], str] = {}

    def line(self, start: tuple[float, float], end: tuple[float, float], color: str) -> None:
        """Draw from one point to another, both in shares of the width and the height from the top left.

        Args:
            start: Share of the width, share of the height.
            end: The same of the other end.
            color: Its color, as rich names it.
        """
        columns, rows = 2 * self.width - 1, 4 * self.height - 1
        num = 1 + 2 * max(round(abs(end[0] - start[0]) * columns), round(abs(end[1] - start[1]) * rows))
        for t in np.linspace(0, 1, num):
            x = round((start[0] + t * (end[0] - start[0])) * columns)
            y = round((start[1] + t * (end[1] - start[1])) * rows)
            self._dots[y // 4][x // 2] |= DOTS[y % 4][x % 2]
            self._colors[y // 4, x // 2] = color

    def sign(self, point: tuple[float, float], sign: str, color: str) -> None:
        """Put a sign at a point; where there is another one already, one that says several.

        Args:
            point: Share of the width, share of the height, from the top left.
            sign: One character.
            color: Its color, as rich names it.
        """
        place = round(point[1] * (4 * self.height - 1)) // 4, round(point[0] * (2 * self.width - 1)) // 2
        before = self._signs.get(place)
        self._signs[place] = (sign, color) if before is None or before[0] == sign else (SEVERAL, "")

    def row(self, number: int, in_braille: bool) -> Text:
        """Return one row of characters.

        Args:
            number: Of the row, from the top.
            in_braille: Draw lines with braille; else with full stops, for terminals that cannot.
        """
        text = Text()
        for column, dots in enumerate(self._dots[number]):
            place = (number, column)
            if place in self._signs:
                sign, color = self._signs[place]
                text.append(sign, f"bold {color}".strip())
            else:
                filled = chr(0x2800 + dots) if in_braille else "."
                text.append(filled if dots else " ", self._colors.get(place, ""))
        return text


def letters_of(labels: Sequence[str]) -> list[str]:
    """Return a letter for each arm, its own first one if that is free; x is for runs that diverged.

    Args:
        labels: The labels of all arms.

    Example:
        >>> letters_of(["batch", "none", "batch_torch"])
        ['b', 'n', 'a']
    """
    taken: list[str] = []
    for label in labels:
        wanted = [*label.lower(), *string.ascii_lowercase, *string.ascii_uppercase, *string.digits]
        free = [c for c in wanted if c in string.ascii_letters + string.digits and c not in {*taken, DIVERGED}]
        taken.append(free[0] if free else "?")
    return taken
