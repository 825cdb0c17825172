"""The panel of a run's diagnostics, in the terminal: a row per diagnostic, and verdicts in words."""

from bisect import bisect
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.text import Text

from bnlab.cli.consoles import OUT, ROOMY, counted, new_table, print_table
from bnlab.cli.summary_text import STYLE_OF, number, share
from bnlab.report.network.panel import BLOCKS, LETTERS, PanelRow, sparkline, where
from bnlab.report.wording import write_value

if TYPE_CHECKING:
    from bnlab.report.network.absent import Absent
    from bnlab.report.network.gap import Gap
    from bnlab.report.network.out_of_range import OutOfRange
    from bnlab.report.network.read import Measured, MeasuredRun

WIDE, WIDER = 100, 130
"""Columns of a window from which on the panel shows smallest and largest values; and longer sparklines."""

WIDTHS, SPARKLINES = (WIDE, WIDER), (8, 14, 24, 32)
"""Characters of a sparkline in a narrow, a wide and a wider window; the table of one diagnostic takes the next size."""

LAYER = 11
"""Letters of a layer's name in a narrow window, at most."""

GAP, LEAST_UNIT = 3, 10
"""Letters between two columns of a table; and those that a column of units needs at least."""

MARK = "!"
"""Stands before a row that is out of range, since text in a pipe has no colors."""


def width() -> int:
    """Return the width of the terminal in columns; that of a roomy one if the output goes elsewhere."""
    return OUT.width if OUT.is_terminal else ROOMY


def blocks() -> str:
    """Return the characters of sparklines that the terminal can write."""
    try:
        BLOCKS.encode(OUT.encoding)
    except UnicodeEncodeError:
        return LETTERS
    return BLOCKS


def print_title(run: "MeasuredRun") -> None:
    """Print the run's id, its status, its main settings and its final figures."""
    row = run.row
    status = str(row.get("status"))
    facts = [row.get("norm"), row.get("model"), row.get("model.activation"), row.get("data")]
    figures = [
        f"test {share(row['test_accuracy'])}" if row.get("test_accuracy") is not None else "",
        f"validation loss {number(row['validation_loss'])}" if row.get("validation_loss") is not None else "",
        f"{row['steps']:,} steps" if row.get("steps") else "",
    ]
    OUT.print(f"\n[bold]{escape(run.run_id)}[/]  [{STYLE_OF.get(status, 'default')}]{status}[/]", soft_wrap=True)
    OUT.print(", ".join(str(part) for part in [*facts, *figures] if part), style="dim", markup=False)


def print_panel(rows: Sequence[PanelRow]) -> None:
    """Print one row per diagnostic."""
    space = width()
    headings = ["  diagnostic", "layer", "trend", "first", "last"]
    headings += ["min .. max"] if space >= WIDE else []
    lines = [(_cells(row, space), row.unit, bool(row.verdicts)) for row in rows]
    _print_lines(headings, lines)


def _cells(row: PanelRow, space: int) -> list[str]:
    curve, unit = row.curve, row.unit
    layer = where(row.key)
    cells = [
        f"{MARK if row.verdicts else ' '} {row.measured.name}",
        layer if space >= WIDE or len(layer) <= LAYER else f"{layer[: LAYER - 1]}…",
        sparkline(curve, SPARKLINES[bisect(WIDTHS, space)], blocks()),
        write_value(curve.first, unit),
        write_value(curve.last, unit),
    ]
    return [*cells, _ends(curve.finite.tolist(), unit)] if space >= WIDE else cells


def _print_lines(headings: Sequence[str], lines: Sequence[tuple[Sequence[str], str, bool]]) -> None:
    """Print a table whose last column, the unit, takes the room that is left; it is dropped if that is too little.

    Args:
        headings: The headings of all other columns.
        lines: Per line: the cells, their unit, and whether the line is out of range.
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


def print_verdicts(rows: Sequence[PanelRow]) -> None:
    """Print each verdict in words, then how many diagnostics are out of range."""
    verdicts = [verdict for row in rows for verdict in row.verdicts]
    # a diagnostic without a range is out of it where its value is not a number
    known = [row for row in rows if row.verdicts or (row.measured.card is not None and row.measured.card.healthy)]
    for verdict in verdicts:
        OUT.print(_sentence(verdict), highlight=False)
    rest = len(rows) - len(known)
    summary = f"Out of range at the last measured step: {len({verdict.name for verdict in verdicts})} of {len(known)}."
    if not verdicts:
        summary = f"{counted(len(known), 'diagnostic')} in range." if known else "No diagnostic here has a range."
    others = f" {counted(rest, 'other')} {'has' if rest == 1 else 'have'} no range."
    OUT.print(summary + (others if rest and known else ""), style="dim", highlight=False)


def print_absent(absent: "Sequence[Absent]") -> None:
    """Print the diagnostics without a value, a line per reason."""
    from bnlab.report.network.absent import by_reason

    for line in by_reason(absent):
        OUT.print(line, style="dim", markup=False, highlight=False)


def print_gap(gap: "Gap | None") -> None:
    """Print the cause of a gap between statistics, or that there is none; nothing if they were not compared."""
    if gap is not None:
        is_healthy = gap.cause == "no gap"
        mark, style = ("", "dim") if is_healthy else (f"{MARK} ", "bold yellow")
        OUT.print(Text.assemble((f"{mark}{gap.cause}: ", style), gap.sentence, overflow="fold"), highlight=False)


def _sentence(verdict: "OutOfRange") -> Text:
    since = f"  [since step {verdict.since:,}]" if verdict.since and verdict.side != "not a number" else ""
    return Text.assemble(
        (f"{MARK} {verdict.name}: ", "bold yellow"), verdict.sentence + ".", (since, "dim"), overflow="fold"
    )


def print_layers(measured: "Measured", row: PanelRow) -> None:
    """Print one diagnostic layer by layer, and its verdicts."""
    space = width()
    headings = ["  layer", "trend", "first", "last", "min .. max"]
    out = {key for verdict in row.verdicts for key in verdict.values}
    lines = []
    for key, curve in measured.curves.items():
        unit = measured.unit(key.facet)
        cells = [
            f"{MARK if key in out else ' '} {key}",
            sparkline(curve, SPARKLINES[bisect(WIDTHS, space) + 1], blocks()),
            write_value(curve.first, unit),
            write_value(curve.last, unit),
            _ends(curve.finite.tolist(), unit),
        ]
        lines.append((cells, unit, key in out))
    _print_lines(headings, lines)
    for verdict in row.verdicts:
        OUT.print(_sentence(verdict), highlight=False)
