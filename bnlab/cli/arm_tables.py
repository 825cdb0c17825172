"""Tables of arms: means over seeds with their intervals, and each arm against the first one."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape

from bnlab.cli.consoles import OUT, print_table
from bnlab.cli.fitting_table import table_that_fits
from bnlab.cli.summary_text import STYLE_OF
from bnlab.report.interval_text import (
    label_of_interval,
    points_with_interval,
    share_with_interval,
    signed_digits,
    three_digits,
    with_interval,
)
from bnlab.results.arms import LEARNING_RATE, SEED, Arm
from bnlab.results.outcomes import Cell
from bnlab.results.versus import Figure, Versus, against_first

TEST, VALIDATION, LOSS = "test", "validation", "validation loss"
MOST_ROWS = 40
"""Arms in the table; `bnlab list runs` has all runs."""

SHORT = 14
"""Letters of the first arm's name up to which it stands in a heading."""


def print_cells(arms: Sequence[Arm], swept: Sequence[str]) -> None:
    """Print a line per arm and learning rate, and mark the rate at which an arm does best.

    Args:
        arms: The arms of a sweep.
        swept: The settings that tell its runs apart.
    """
    keys = [key for key in swept if key != SEED]
    cells = [(arm, cell) for arm in arms for cell in arm.cells]
    bests = {arm.label: best.lr for arm in arms if (best := arm.best()) is not None and len(arm.cells) > 1}
    columns = _settings([{**arm.settings, LEARNING_RATE: cell.lr} for arm, cell in cells], keys)
    columns |= _figures([cell for _, cell in cells])
    notes = [_notes(cell, is_best=bests.get(arm.label) == cell.lr) for arm, cell in cells]
    if any(notes):
        columns[""] = notes
    print_table(table_that_fits(columns, (VALIDATION,), ("n", TEST, VALIDATION, LOSS)))
    is_marked = LEARNING_RATE in keys and bool(bests)
    _say(_label([cell for _, cell in cells]), "*: the lowest mean of the arm." if is_marked else "")


def print_arms(arms: Sequence[Arm], swept: Sequence[str]) -> None:
    """Print a line per arm, at its best learning rate, with its difference from the first arm seed by seed.

    Args:
        arms: The arms of a sweep or of a comparison.
        swept: The settings that tell its runs apart.
    """
    has_rates = LEARNING_RATE in swept
    shown = list(arms)[:MOST_ROWS]
    bests = [arm.best() for arm in shown]
    cells = [None if best is None else best.cell for best in bests]
    columns = _settings([arm.settings for arm in shown], [key for key in swept if key not in {SEED, LEARNING_RATE}])
    columns = columns or {"arm": [escape(arm.label) for arm in shown]}
    if has_rates:
        columns["best lr"] = ["-" if b is None else "none" if b.lr is None else f"{b.lr:g}" for b in bests]
    columns |= _figures(cells)
    against = against_first(shown)
    drop = [VALIDATION, LOSS]
    name = f"against {shown[0].label}" if shown and len(shown[0].label) <= SHORT else "against the first"
    if any(against):
        figure: Figure = "test_accuracy" if any("test_accuracy" in each for each in against) else "accuracy"
        columns = _with(columns, TEST, f"{name}, points", [_points(each.get(figure)) for each in against])
        columns = _with(columns, LOSS, f"loss {name}", [_change(each.get("loss")) for each in against])
        drop = [f"loss {name}", VALIDATION, LOSS]
    notes = [_notes_of_arm(arm, has_rates=has_rates) for arm in shown]
    if any(notes):
        columns[""] = notes
    numbers = [heading for heading in columns if heading in {"n", "best lr", TEST, VALIDATION, LOSS} or name in heading]
    print_table(table_that_fits(columns, drop, numbers))
    if len(arms) > len(shown):
        OUT.print(f"... and {len(arms) - len(shown)} more arms", style="dim")
    _say(_label([cell for cell in cells if cell is not None]), _about_pairs(against, shown))
    edges = [arm.label for arm, best in zip(shown, bests, strict=True) if has_rates and best is not None and best.edge]
    if edges:
        text = f"At the edge of the learning rates: {', '.join(edges)}. There may be a better one beyond."
        OUT.print(text, style="yellow", markup=False, soft_wrap=not OUT.is_terminal)


def _settings(of_rows: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> dict[str, list[str]]:
    """Return a column per setting, by the last part of its key; by the whole key where two end alike."""
    ends = [key.rpartition(".")[2] for key in keys]
    names = [end if ends.count(end) == 1 else key for key, end in zip(keys, ends, strict=True)]
    return {name: [_value(row.get(key)) for row in of_rows] for key, name in zip(keys, names, strict=True)}


def _figures(cells: Sequence[Cell | None]) -> dict[str, list[str]]:
    """Return the columns of the means: how many seeds, test and validation accuracy, validation loss."""
    having = [cell if cell is not None and cell.outcomes else None for cell in cells]
    return {
        "n": [str(len(cell.outcomes)) if cell else "0" for cell in having],
        TEST: [escape(share_with_interval(cell.mean_test_accuracy() if cell else None)) for cell in having],
        LOSS: [escape(with_interval(cell.mean("loss") if cell else None, three_digits)) for cell in having],
        VALIDATION: [escape(share_with_interval(cell.mean("accuracy") if cell else None)) for cell in having],
    }


def _with(columns: Mapping[str, list[str]], behind: str, heading: str, cells: list[str]) -> dict[str, list[str]]:
    """Return columns with one more behind another."""
    wider: dict[str, list[str]] = {}
    for name, own in columns.items():
        wider[name] = own
        if name == behind:
            wider[heading] = cells
    return wider


def _points(versus: Versus | None) -> str:
    return "" if versus is None else _bold(points_with_interval(versus.difference), versus)


def _change(versus: Versus | None) -> str:
    return "" if versus is None else _bold(with_interval(versus.difference, signed_digits), versus)


def _bold(text: str, versus: Versus) -> str:
    return f"[bold]{escape(text)}[/]" if versus.is_apart else escape(text)


def _notes_of_arm(arm: Arm, *, has_rates: bool) -> str:
    best = arm.best()
    if best is None:
        return "no run has a result"
    if has_rates and best.lr is None:
        return "no run ended better than it started"
    return "" if has_rates else _notes(best.cell if len(arm.cells) > 1 else arm.cells[0], is_best=False)


def _notes(cell: Cell, *, is_best: bool) -> str:
    counts = {"diverged": cell.num_diverged, **cell.num_missing}
    told = [f"[{STYLE_OF.get(outcome, 'red')}]{count} {outcome}[/]" for outcome, count in counts.items() if count]
    return ", ".join([*(["*"] if is_best else []), *told])


def _label(cells: Sequence[Cell]) -> str:
    known = [cell for cell in cells if cell.outcomes]
    of_cells = [(cell.mean_test_accuracy(), cell.mean("loss"), cell.mean("accuracy")) for cell in known]
    return label_of_interval(estimate for each in of_cells for estimate in each)


def _about_pairs(against: Sequence[Mapping[Figure, Versus]], arms: Sequence[Arm]) -> str:
    """Return what the differences are, and what bold means; empty where there are none with an interval."""
    having = [versus for each in against for versus in each.values() if versus.difference.low is not None]
    if not having:
        return ""
    num = len(arms) - 1
    shared = "" if num == 1 else f", also where all {num} comparisons share the 5%"
    meaning = "seed by seed, with the wider interval by which verdicts are reached"
    return f"Against {arms[0].label}: {meaning}; bold where 0 lies outside{shared}."


def _say(*sentences: str) -> None:
    told = " ".join(sentence for sentence in sentences if sentence)
    if told:
        OUT.print(told, style="dim", markup=False, soft_wrap=not OUT.is_terminal)


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else escape(str(value))
