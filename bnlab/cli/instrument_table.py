"""The table of what instruments measured: arms by instrument, over seeds."""

from collections.abc import Sequence

from rich.markup import escape

from bnlab.cli.consoles import OUT, new_table, print_table
from bnlab.report.instrument_rows import InstrumentRow
from bnlab.report.interval_text import label_of_interval, points_with_interval, three_digits, with_interval
from bnlab.report.wording import write_value
from bnlab.results.arms import Arm
from bnlab.results.versus import Versus
from bnlab.stats.estimate import Estimate

MOST_INSTRUMENTS = 12
"""Instruments in the table where none was asked for by name; `bnlab compare -d NAME` shows each."""


def print_instruments(arms: Sequence[Arm], rows: Sequence[InstrumentRow], *, beside: str = "") -> None:
    """Print instruments, arm by arm, and what the numbers are.

    Args:
        arms: The arms, in the order of the rows' values.
        rows: What the instruments measured; none prints nothing.
        beside: What is said below the table besides.
    """
    if not rows:
        return
    against = f"against {arms[0].label}" if len(arms[0].label) <= 14 else "against the first"
    several = len(arms) > 1
    table = new_table("instrument", "arm", "last value", *([against] if several else []), right=["last value", against])
    for row in rows:
        for place, (arm, mean) in enumerate(zip(arms, row.means, strict=True)):
            if mean is None and place:
                continue
            named = f"{escape(row.name)}" if place == 0 else f"[dim]{escape(row.layer)}[/]" if place == 1 else ""
            if place == 0 and row.layer and not several:
                named += f" [dim]{escape(row.layer)}[/]"
            cells = [named, escape(arm.label), escape(_mean(row, mean))]
            is_last = place == len(arms) - 1 or all(each is None for each in row.means[place + 1 :])
            table.add_row(*cells, *([_versus(row, row.against[place])] if several else []), end_section=is_last)
    print_table(table)
    parts = [label_of_interval([mean for row in rows for mean in row.means])]
    if several:
        parts.append("The layer is the one where the arms differ most.")
        parts.append("x: ratio, seed by seed, and geometric means.")
        has_pairs = any(each is not None and each.difference.low is not None for row in rows for each in row.against)
        if has_pairs:
            parts.append("Bold: the arms differ, also where all layers and arms share the 5%.")
    OUT.print(
        " ".join(part for part in [*parts, beside] if part), style="dim", markup=False, soft_wrap=not OUT.is_terminal
    )


def _mean(row: InstrumentRow, mean: Estimate | None) -> str:
    if row.is_share:  # the sign of percent once
        text = with_interval(mean, lambda value: write_value(value, row.unit))
        head, bracket, ends = text.partition(" [")
        return head + bracket + ends.replace("%", "")
    return with_interval(mean, write_value)


def _two_digits(value: float) -> str:
    return f"{value:.2g}"


def _versus(row: InstrumentRow, found: Versus | None) -> str:
    if found is None:
        return ""
    if row.is_share:
        text = f"{points_with_interval(found.difference)} points"
    elif row.scale == "log":
        text = f"x {with_interval(found.difference, _two_digits)}"
    else:
        text = with_interval(found.difference, lambda value: ("+" if value > 0 else "") + three_digits(value))
    return f"[bold]{escape(text)}[/]" if found.is_apart else escape(text)
