"""Curves of accuracy over the steps of training, drawn with characters: a line and a letter for each arm."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.text import Text

from bnlab.report.canvas import COLORS, Canvas, letters_of

AXIS = 7
"""Columns left of the plot, for the numbers of the vertical axis."""

FIGURES = 9
"""Columns beside the name of an arm: its letter and its accuracy."""

LEAST_WIDTH, MOST_WIDTH = 40, 100
LEAST_HEIGHT = 5
"""Lines of the plot, at least: three of them have a number."""


@dataclass(frozen=True)
class RaceLine:
    """The curve of one arm.

    Attributes:
        label: The arm.
        points: Step -> accuracy, a share, rising by step.
    """

    label: str
    points: Mapping[int, float]

    @property
    def last(self) -> float | None:
        """The accuracy at the last step; None before the first one."""
        return self.points[max(self.points)] if self.points else None


def draw_race(
    lines: Sequence[RaceLine],
    num_steps: int,
    what: str = "",
    width: int = 80,
    height: int = 13,
    in_braille: bool = True,
) -> Text:
    """Return the curves as lines of text, with the axes and the name of each arm.

    The vertical axis always goes from 0 to 100%.

    Args:
        lines: The arms; one without points has its name only.
        num_steps: Where the horizontal axis ends; 0 where nobody knows yet.
        what: What is drawn, behind the names of the arms.
        width: Columns of the window; the chart has at least 40 and at most 100.
        height: Lines of the plot, without axis and names.
        in_braille: Draw lines with braille; else with full stops, for terminals that cannot.
    """
    width = min(max(width, LEAST_WIDTH), MOST_WIDTH)
    height = max(height, LEAST_HEIGHT)
    canvas = Canvas(width - AXIS - 1, height - 1 + height % 2)  # an odd number has a line in the middle
    letters = letters_of([line.label for line in lines])
    most = max([num_steps, 1, *(step for line in lines for step in line.points)])
    drawn = list(zip(lines, letters, itertools.cycle(COLORS)))
    for line, letter, color in reversed(drawn):  # the first arm on top
        points = [(step / most, 1 - min(max(value, 0.0), 1.0)) for step, value in line.points.items()]
        for start, end in itertools.pairwise(points):
            canvas.line(start, end, color)
        if points:
            canvas.sign(points[-1], letter, color)
    text = Text()
    for number in range(canvas.height):
        text.append(_tick(number, canvas.height), "dim")
        text.append_text(canvas.row(number, in_braille))
        text.append("\n")
    text.append_text(_ruler(most, canvas.width))
    return text.append_text(_legend(drawn, what, width))


def _tick(number: int, height: int) -> str:
    """Return what stands left of a row: a number at the top, in the middle and at the bottom."""
    named = {0: "100%", height // 2: "50%", height - 1: "0%"}
    return f"{named.get(number, ''):>{AXIS - 2}} |"


def _ruler(most: int, width: int) -> Text:
    end = f"{most:,} steps" if most > 1 else "steps"
    middle = f"{most // 2:,}" if most > 1 else ""
    numbers = f"0{middle:>{width // 2 + len(middle) // 2}}"
    numbers += f"{end:>{width - len(numbers)}}"
    indent = " " * (AXIS - 1)
    return Text(f"{indent}+{'-' * width}\n{indent} {numbers}\n", "dim")


def _legend(drawn: Sequence[tuple[RaceLine, str, str]], what: str, width: int) -> Text:
    """Return which letter is which arm, its last accuracy, and what is drawn, wrapped to the width."""
    entries = []
    for line, letter, color in drawn:
        last = "" if line.last is None else f" {line.last:.1%}"
        room = width - AXIS - FIGURES
        label = line.label if len(line.label) <= room else f"{line.label[: room - 2]}.."
        entries.append(Text.assemble((letter, f"bold {color}"), f" {label}", (last, "bold")))
    rows = [Text(" " * AXIS)]
    for entry in [*entries, Text(what, "dim")]:
        if rows[-1].cell_len + entry.cell_len > width and len(rows[-1]) > AXIS:
            rows.append(Text(" " * min(AXIS, max(0, width - entry.cell_len))))
        rows[-1].append_text(entry).append("   ")
    for row in rows:
        row.rstrip()
    return Text("\n").join(rows)
