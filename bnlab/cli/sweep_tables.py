"""The tables printed at the end of a sweep: its cells, its arms, and the runs without a result."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from bnlab.cli.consoles import OUT, counted, new_table, print_table
from bnlab.cli.summary_text import STYLE_OF, number, share
from bnlab.records import ENDED

if TYPE_CHECKING:
    from bnlab.records import RunSummary
    from bnlab.results.arms import Arm
    from bnlab.results.outcomes import Cell
    from bnlab.stats.estimate import Estimate
    from bnlab.sweeps.execute import SweepResult

MOST_CELLS = 40
"""Lines of the table of cells; a sweep with more shows its arms, and `bnlab list runs` shows the rest."""

MOST_TROUBLES = 20
WHY = {"interrupted": "cut off", "missing": "not begun"}
"""Reasons by status, for runs without a reason of their own."""


def print_sweep(result: "SweepResult", *, is_grid: bool = True) -> None:
    """Print a sweep: the mean over seeds of each cell, the best of each arm, and the runs without a result and why.

    Args:
        result: What `execute` returned; the runs are read from its folder.
        is_grid: Whether the learning rates were chosen before the sweep began. Those of a search were chosen where
            others did well, so its arms have no best of them.
    """
    from bnlab.results.arms import LEARNING_RATE, SEED
    from bnlab.results.sweep import read_sweep

    sweep = read_sweep(result.folder)
    found = sweep.read_arms()
    if sum(len(arm.cells) for arm in found.arms) <= MOST_CELLS:
        _print_cells(found.arms, [key for key in sweep.swept if key != SEED])
    if is_grid and LEARNING_RATE in sweep.swept:
        _print_best(found.arms, [key for key in sweep.swept if key not in {SEED, LEARNING_RATE}])
        for sentence in found.sentences():
            OUT.print(sentence, markup=False, soft_wrap=not OUT.is_terminal)
    _print_troubles(result, set(result.reasons) if is_grid else set())
    counts = Counter(_outcome(summary) for summary in result.summaries)
    told = ", ".join(_styled(f"{count} {outcome}", outcome) for outcome, count in counts.items())
    OUT.print(f"{counted(len(result.summaries), 'run')}: {told}")
    OUT.print(str(result.folder), style="dim", soft_wrap=True, markup=False)


def _print_cells(arms: "Sequence[Arm]", keys: Sequence[str]) -> None:
    from bnlab.results.arms import LEARNING_RATE

    with_notes = any(cell.num_diverged or cell.num_missing for arm in arms for cell in arm.cells)
    figures = ["n", "test", "validation", "validation loss"]
    table = new_table(*map(_heading, keys), *figures, *([""] if with_notes else []), right=figures)
    for arm in arms:
        best = arm.best()
        for cell in arm.cells:
            is_best = best is not None and best.lr == cell.lr and len(arm.cells) > 1
            settings = {**arm.settings, LEARNING_RATE: cell.lr}
            row = [
                *(_value(settings.get(key)) for key in keys),
                str(len(cell.outcomes)),
                *_means(cell, with_validation=True),
                *([_notes(cell)] if with_notes else []),
            ]
            table.add_row(*row, style="bold" if is_best else "")
    print_table(table)


def _print_best(arms: "Sequence[Arm]", keys: Sequence[str]) -> None:
    figures = ["best lr", "n", "test", "validation loss"]
    table = new_table(*map(_heading, keys), *figures, "", right=figures)
    for arm in arms:
        settings = [_value(arm.settings.get(key)) for key in keys]
        best = arm.best()
        if best is None:
            table.add_row(*settings, "-", "", "", "", "no run has a result")
            continue
        note = "[yellow]at the edge of the grid: there may be a better one beyond[/]" if best.edge else ""
        table.add_row(
            *settings,
            "none" if best.lr is None else f"[bold]{_value(best.lr)}[/]",
            str(len(best.cell.runs)),
            *_means(best.cell, with_validation=False),
            "no run ended better than it started" if best.lr is None else note,
        )
    print_table(table)


def _means(cell: "Cell", *, with_validation: bool) -> list[str]:
    """Return the figures of a cell: test accuracy, validation accuracy if it is asked for, validation loss."""
    validation = ["-", "-"]
    if cell.outcomes:
        validation = [_interval(cell.mean("accuracy"), share), _interval(cell.mean("loss"), number)]
    return [_interval(cell.mean_test_accuracy(), share), *validation[0 if with_validation else 1 :]]


def _print_troubles(result: "SweepResult", failed_anew: set[str]) -> None:
    troubles = [one for one in result.summaries if one.status not in ENDED or one.run_id in failed_anew]
    if not troubles:
        return
    table = new_table("run", "status", "why")
    for summary in troubles[:MOST_TROUBLES]:
        outcome = _outcome(summary)
        why = result.reasons.get(summary.run_id, WHY.get(outcome, ""))
        told = f"{outcome} before" if summary.status in ENDED else outcome
        table.add_row(escape(summary.run_id), _styled(told, outcome), escape(why))
    print_table(table)
    if troubles[MOST_TROUBLES:]:
        OUT.print(f"... and {len(troubles) - MOST_TROUBLES} more", style="dim")
    if any(summary.status == "failed" for summary in troubles):
        OUT.print("Each run's log.txt has the whole story. The same command tries them again.", style="dim")


def _interval(estimate: "Estimate | None", write: Any) -> str:
    """Return a figure with half the width of its interval, if it has one."""
    if estimate is None:
        return "-"
    if estimate.low is None or estimate.high is None:
        return str(write(estimate.value))
    return f"{write(estimate.value)} ±{write((estimate.high - estimate.low) / 2)}"


def _notes(cell: "Cell") -> str:
    counts = {"diverged": cell.num_diverged, **cell.num_missing}
    return ", ".join(_styled(f"{count} {outcome}", outcome) for outcome, count in counts.items() if count)


def _outcome(summary: "RunSummary") -> str:
    """Return a run's status in the words of all tables: a run without a folder is missing."""
    from bnlab.results.outcomes import MISSING

    is_there = summary.status != "interrupted" or Path(summary.folder).exists()
    return summary.status if is_there else MISSING


def _styled(text: str, outcome: str) -> str:
    return f"[{STYLE_OF.get(outcome, 'red')}]{text}[/]"


def _heading(key: str) -> str:
    return key.rpartition(".")[2]


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else escape(str(value))
