"""What is printed at the end of a race: its curves."""

from typing import TYPE_CHECKING

import typer
from rich.text import Text

from bnlab.cli.consoles import OUT, knows_braille

if TYPE_CHECKING:
    from bnlab.cli.race_view import RaceCurves

PIPED = 80
"""Width of the chart in columns, where the output is no terminal."""

HEIGHT = 9
"""Lines of the plot that stays: with its table it fits into a window of 24 lines."""


def print_curves(curves: "RaceCurves", title: str) -> None:
    """Print the curves of all arms on standard output.

    Args:
        curves: The curves; they are read anew.
        title: What stands above them.
    """
    from bnlab.report.race_chart import draw_race

    width = OUT.width if OUT.is_terminal else PIPED
    chart = draw_race(curves.read(), 0, curves.of, width, HEIGHT, knows_braille(OUT))
    with OUT.capture() as drawn:
        OUT.print(Text(title, "bold"), soft_wrap=True)
        OUT.print(chart, soft_wrap=True)
    typer.echo(drawn.get(), nl=False, color=OUT.is_terminal)
