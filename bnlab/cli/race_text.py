"""What is printed at the end of a race: the curves, a table of the arms, what to type next."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer
from rich.markup import escape
from rich.text import Text

from bnlab.cli.consoles import OUT, knows_braille, print_table
from bnlab.cli.fitting_table import table_that_fits
from bnlab.cli.interval_text import label_of_interval, points_with_interval, share_with_interval

if TYPE_CHECKING:
    from bnlab.cli.race_view import RaceCurves
    from bnlab.results.arms import Arm

PIPED = 80
"""Width of the chart in columns, where the output is no terminal."""

HEIGHT = 11
"""Lines of the plot that stays: with its table it fits into a window of 24 lines."""


def print_curves(curves: "RaceCurves", title: str, height: int = HEIGHT) -> None:
    """Print the curves of all arms on standard output.

    Args:
        curves: The curves; they are read anew.
        title: What stands above them.
        height: Lines of the plot.
    """
    from bnlab.report.race_chart import draw_race

    width = OUT.width if OUT.is_terminal else PIPED
    chart = draw_race(curves.read(), 0, curves.of, width, height, knows_braille(OUT))
    with OUT.capture() as drawn:
        OUT.print(Text(title, "bold"), soft_wrap=True)
        OUT.print(chart, soft_wrap=True)
    typer.echo(drawn.get(), nl=False, color=OUT.is_terminal)


def print_arms(arms: "Sequence[Arm]") -> None:
    """Print a line per arm: test accuracy with its interval, validation, and the difference to the first arm."""
    from bnlab.results.race import cell_of
    from bnlab.results.versus import cells_against_first

    cells = [cell_of(arm) for arm in arms]
    tests = [None if cell is None else cell.mean_test_accuracy() for cell in cells]
    validations = [cell.mean("accuracy") if cell is not None and cell.outcomes else None for cell in cells]
    against = [found.get("test_accuracy") for found in cells_against_first(cells)]
    versus = [points_with_interval(one.difference) if one else "" for one in against]
    notes = ["" if cell is None else _notes(cell.num_diverged, sum(cell.num_missing.values())) for cell in cells]
    name = f"points to {arms[0].label}" if len(arms[0].label) <= 12 else "points to first"
    columns = {
        "arm": [escape(arm.label) for arm in arms],
        "n": ["0" if cell is None else str(len(cell.outcomes)) for cell in cells],
        "test": [share_with_interval(one) for one in tests],
        name: versus,
        "validation": [share_with_interval(one) for one in validations],
        **({"": notes} if any(notes) else {}),
    }
    print_table(table_that_fits(columns, drop=["validation", "n"], right=["n", "test", name, "validation"]))
    if label := label_of_interval([*tests, *(one.difference for one in against if one)]):
        OUT.print(label, style="dim", soft_wrap=not OUT.is_terminal)


def _notes(num_diverged: int, num_missing: int) -> str:
    named = {"diverged": num_diverged, "missing": num_missing}
    return ", ".join(f"[yellow]{number} {word}[/]" for word, number in named.items() if number)
