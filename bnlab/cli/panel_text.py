"""The panel of a run's inside, in the terminal: needles with their courses, and verdicts in words."""

from bisect import bisect
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from bnlab.cli.consoles import OUT, ROOMY, counted, new_table, print_table
from bnlab.cli.summary_text import STYLE_OF, number, share
from bnlab.report.network.panel import BLOCKS, LETTERS, Needle, sparkline, where
from bnlab.report.wording import write_value

if TYPE_CHECKING:
    from bnlab.report.network.gap import Gap
    from bnlab.report.network.read import Measured, RunInside
    from bnlab.report.network.verdicts import Verdict

WIDE, WIDER = 100, 130
"""Columns of a window from which on there is room for the least and most, and for longer courses."""

WIDTHS, COURSES = (WIDE, WIDER), (8, 14, 24, 32)
"""Characters of a course: in a narrow window, a wide one, a wider one; one more where layers have a table of theirs."""

LAYER = 11
"""Letters of a layer in a narrow window."""

GAP, LEAST_UNIT = 3, 10
"""Columns between two of a table, and those that a unit is worth showing from."""

MARK = "!"
"""Before what is out of range: a pipe has no colors."""


def width() -> int:
    """Return the columns there are."""
    return OUT.width if OUT.is_terminal else ROOMY


def blocks() -> str:
    """Return the signs of a course that can be written here."""
    try:
        BLOCKS.encode(OUT.encoding)
    except UnicodeEncodeError:
        return LETTERS
    return BLOCKS


def print_title(run: "RunInside") -> None:
    """Print which run it is, how it ended, and what it is."""
    row = run.row
    status = str(row.get("status"))
    facts = [row.get("norm"), row.get("model"), row.get("model.activation"), row.get("data")]
    figures = [
        f"test {share(row['test_accuracy'])}" if row.get("test_accuracy") is not None else "",
        f"validation loss {number(row['validation_loss'])}" if row.get("validation_loss") is not None else "",
        f"{row['steps']:,} steps" if row.get("steps") else "",
    ]
    OUT.print(f"\n[bold]{run.run_id}[/]  [{STYLE_OF.get(status, 'default')}]{status}[/]", soft_wrap=True)
    OUT.print(", ".join(str(part) for part in [*facts, *figures] if part), style="dim", markup=False)


def print_panel(needles: Sequence[Needle]) -> None:
    """Print one row per diagnostic."""
    space = width()
    headings = ["  diagnostic", "layer", "course", "first", "last"]
    headings += ["least .. most"] if space >= WIDE else []
    lines = [(_cells(needle, space), needle.unit, bool(needle.verdicts)) for needle in needles]
    _print_lines(headings, lines)


def _cells(needle: Needle, space: int) -> list[str]:
    curve, unit = needle.curve, needle.unit
    layer = where(needle.key)
    cells = [
        f"{MARK if needle.verdicts else ' '} {needle.measured.name}",
        layer if space >= WIDE or len(layer) <= LAYER else f"{layer[: LAYER - 1]}…",
        sparkline(curve, COURSES[bisect(WIDTHS, space)], blocks()),
        write_value(curve.first, unit),
        write_value(curve.last, unit),
    ]
    return [*cells, _ends(curve.finite.tolist(), unit)] if space >= WIDE else cells


def _print_lines(headings: Sequence[str], lines: Sequence[tuple[Sequence[str], str, bool]]) -> None:
    """Print a table whose last column, the unit, takes what room is left, or goes.

    Args:
        headings: Of all other columns.
        lines: Cells, their unit, and whether they are out of range.
    """
    widths = [
        max(len(text) for text in column) for column in zip(headings, *(cells for cells, *_ in lines), strict=True)
    ]
    left = width() - sum(widths) - GAP * len(widths) - 1
    longest = max(len(unit) for _, unit, _ in lines)
    has_unit = left >= min(longest, LEAST_UNIT)
    table = new_table(*headings, *(["unit"] if has_unit else []), right=["first", "last"])
    for column in table.columns:
        column.no_wrap, column.overflow = True, "ellipsis"
    for cells, unit, is_out in lines:
        texts = [*cells, unit if len(unit) <= left else f"{unit[: left - 1]}…"] if has_unit else cells
        table.add_row(*map(Text, texts), style="bold yellow" if is_out else "")
    print_table(table)


def _ends(values: Sequence[float], unit: str) -> str:
    return f"{write_value(min(values), unit)} .. {write_value(max(values), unit)}" if values else "-"


def print_verdicts(needles: Sequence[Needle]) -> None:
    """Print what is out of range in words, or that nothing is."""
    verdicts = [verdict for needle in needles for verdict in needle.verdicts]
    known = [needle for needle in needles if needle.measured.card is not None and needle.measured.card.healthy]
    for verdict in verdicts:
        OUT.print(_sentence(verdict), highlight=False)
    rest = len(needles) - len(known)
    told = f"Out of range at the last look: {len({verdict.name for verdict in verdicts})} of {len(known)}."
    if not verdicts:
        told = f"{counted(len(known), 'needle')} in range." if known else "No needle here has a range."
    others = f" {counted(rest, 'other')} {'has' if rest == 1 else 'have'} no range that could be defended."
    OUT.print(told + (others if rest and known else ""), style="dim", highlight=False)


def print_gap(gap: "Gap | None") -> None:
    """Print why the network does otherwise with other statistics, if it does."""
    if gap is not None:
        is_healthy = gap.cause == "no gap"
        mark, style = ("", "dim") if is_healthy else (f"{MARK} ", "bold yellow")
        OUT.print(Text.assemble((f"{mark}{gap.cause}: ", style), gap.sentence, overflow="fold"), highlight=False)


def _sentence(verdict: "Verdict") -> Text:
    since = f"  [since step {verdict.since:,}]" if verdict.since and verdict.side != "not a number" else ""
    return Text.assemble(
        (f"{MARK} {verdict.name}: ", "bold yellow"), verdict.sentence + ".", (since, "dim"), overflow="fold"
    )


def print_layers(measured: "Measured", needle: Needle) -> None:
    """Print one diagnostic layer by layer, and what is out of range."""
    space = width()
    headings = ["  layer", "course", "first", "last", "least .. most"]
    out = {key for verdict in needle.verdicts for key in verdict.values}
    lines = []
    for key, curve in measured.curves.items():
        unit = measured.unit(key.facet)
        cells = [
            f"{MARK if key in out else ' '} {key}",
            sparkline(curve, COURSES[bisect(WIDTHS, space) + 1], blocks()),
            write_value(curve.first, unit),
            write_value(curve.last, unit),
            _ends(curve.finite.tolist(), unit),
        ]
        lines.append((cells, unit, key in out))
    _print_lines(headings, lines)
    for verdict in needle.verdicts:
        OUT.print(_sentence(verdict), highlight=False)
