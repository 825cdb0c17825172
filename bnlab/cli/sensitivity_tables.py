"""The output of `bnlab lr-sensitivity`: two tables, a chart, and sentences."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import typer
from rich.markup import escape

from bnlab.cli.consoles import OUT, knows_braille, new_table, print_table
from bnlab.cli.summary_text import share

if TYPE_CHECKING:
    from bnlab.report.lr_sensitivity.summary import ArmSensitivity, SweepSensitivity
    from bnlab.stats.censoring import Bounded
    from bnlab.stats.estimate import Estimate

PIPED = 80
"""Width of the chart in columns, where the output is no terminal."""

SHORT = 12
"""The longest name of a reference that is put into a heading, in letters."""

SIGN = {"exact": "", "at_least": ">= ", "at_most": "<= ", "unknown": ""}


def print_sensitivity(found: "SweepSensitivity") -> None:
    """Print tables, chart and sentences on standard output."""
    from bnlab.report.lr_sensitivity.chart import draw_chart

    _print_where(found)
    _print_how_much(found)
    chart = draw_chart(found, found.by, OUT.width if OUT.is_terminal else PIPED, in_braille=knows_braille(OUT))
    if chart is not None:
        with OUT.capture() as drawn:
            OUT.print(chart, soft_wrap=True)
        typer.echo(drawn.get(), nl=False, color=OUT.is_terminal)
    OUT.print()
    for sentence in found.sentences:
        OUT.print(sentence, markup=False, soft_wrap=not OUT.is_terminal)


def _print_where(found: "SweepSensitivity") -> None:
    references = {each.reference for each in found.arms if each.reference}
    name = next(iter(references)) if len(references) == 1 else ""
    is_short = 0 < len(name) <= SHORT
    against = f"/ {name}'s max" if is_short else "/ reference's"
    columns = ["max lr", "of each seed", "decades", *([against] if _has_pairs(found) else [])]
    OUT.print("[bold]Where it trains: the highest learning rate, and the width in decades[/]")
    table = new_table("arm", *columns, right=columns)
    for each in found.arms:
        if each.figures is None:
            table.add_row(escape(each.arm.label), *["-"] * len(columns))
            continue
        trainable = each.figures.trainable
        cells = [
            f"[bold]{_bound(trainable.max_lr)}[/]",
            _bound(trainable.max_lr_of_seeds),
            _bound(trainable.width_of_seeds),
            *([_bound(each.against.max_lr_ratio) if each.against else ""] if _has_pairs(found) else []),
        ]
        table.add_row(escape(each.arm.label), *cells)
    print_table(table)
    if references and not is_short:
        OUT.print(f"The reference: {name or 'norm=none with the same other settings'}", style="dim", markup=False)


def _print_how_much(found: "SweepSensitivity") -> None:
    columns = ["best lr", f"{found.by} there", "lr sensitivity", f"within {found.tolerance:.0%}"]
    OUT.print(f"[bold]How much it matters: the {found.by}, and the decades around its best[/]")
    table = new_table("arm", *columns, right=columns)
    for each in found.arms:
        table.add_row(escape(each.arm.label), *_how_much(each, found))
    print_table(table)


def _how_much(each: "ArmSensitivity", found: "SweepSensitivity") -> list[str]:
    figures, best = each.figures, each.arm.best(found.by)
    if best is None:
        return ["-"] * 4
    edge = {"highest": ">= ", "lowest": "<= ", None: ""}[best.edge]
    is_loss = found.by == "loss"
    told = ["none" if best.lr is None else f"[bold]{edge}{two_digits(best.lr)}[/]"]
    if figures is None:
        return [*told, _interval(best.cell.mean(found.by), _digits if is_loss else share), "-", "-"]
    sensitivity = figures.loss_sensitivity if is_loss else figures.accuracy_sensitivity
    is_told = (
        figures.tolerance_width.value is not None
    )  # an arm that learned nothing depends on no learning rate, which is no merit
    return [
        *told,
        _interval(figures.best(found.by).outcome, _digits if is_loss else share),
        f"[bold]{_interval(sensitivity, _hundredths)}[/]" if is_told else "-",
        _bound(figures.tolerance_width) if is_told else "-",
    ]


def two_digits(value: float) -> str:
    """Return a number with two digits, which is as well as a grid tells it.

    Example:
        >>> two_digits(100.0), two_digits(0.316228), two_digits(1234.5), two_digits(3e-6)
        ('100', '0.32', '1200', '3e-06')
    """
    return f"{float(f'{value:.2g}'):g}"


def _digits(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _hundredths(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _has_pairs(found: "SweepSensitivity") -> bool:
    return any(each.against is not None for each in found.arms)


def _bound(figure: "Bounded") -> str:
    """Return a figure that may be a bound, with its interval: an end that is not known is written as dots."""
    if figure.value is None:
        return "unknown"
    text = f"{SIGN[figure.side]}{two_digits(figure.value)}"
    if figure.low is None and figure.high is None:
        return text
    ends = ["..." if end is None else two_digits(end) for end in (figure.low, figure.high)]
    return f"{text} \\[{ends[0]}, {ends[1]}]"


def _interval(figure: "Estimate", write: Callable[[float | None], str]) -> str:
    text = write(figure.value)
    return text if figure.low is None else f"{text} \\[{write(figure.low)}, {write(figure.high)}]"
