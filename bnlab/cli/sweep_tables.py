"""What is printed when a sweep is done: its cells, its arms, and what there is no result of."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnlab.cli.consoles import OUT, counted, new_table, print_table
from bnlab.cli.summary_text import STYLE_OF, number, share

if TYPE_CHECKING:
    from bnlab.records import RunSummary
    from bnlab.results.cells import Arm, Cell
    from bnlab.stats.estimate import Estimate
    from bnlab.sweeps.execute import SweepResult

MOST_CELLS = 40
"""Lines of the table of cells; a sweep with more shows its arms, and `bnlab list runs` has the rest."""

MOST_TROUBLES = 20
WHY = {"interrupted": "cut off", "missing": "not begun"}
"""Of runs that nobody gave a reason of."""

ENDED_WELL = ("finished", "diverged")


def print_sweep(result: "SweepResult", *, is_grid: bool = True) -> None:
    """Print a sweep: per cell the mean over its seeds, per arm the best, and what has no result and why.

    Where its learning rates are no grid, an arm has no best of them: they were looked for where others did well.
    """
    from bnlab.results.cells import arms_of
    from bnlab.results.sweep import LEARNING_RATE, read_sweep

    sweep = read_sweep(result.folder)
    arms = arms_of(sweep)
    if sum(len(arm.cells) for arm in arms) <= MOST_CELLS:
        _print_cells(arms)
    if is_grid and LEARNING_RATE in sweep.swept:
        _print_best(arms)
    _print_troubles(result, set(result.reasons) if is_grid else set())
    counts = Counter(_outcome(summary) for summary in result.summaries)
    told = ", ".join(_styled(f"{count} {outcome}", outcome) for outcome, count in counts.items())
    OUT.print(f"{counted(len(result.summaries), 'run')}: {told}")
    OUT.print(str(result.folder), style="dim", soft_wrap=True, markup=False)


def _print_cells(arms: "list[Arm]") -> None:
    keys = list(arms[0].cells[0].settings) if arms else []
    with_notes = any(cell.num_diverged or cell.lacking for arm in arms for cell in arm.cells)
    figures = ["n", "test", "validation", "validation loss"]
    table = new_table(*map(_heading, keys), *figures, *([""] if with_notes else []), right=figures)
    for arm in arms:
        for cell in arm.cells:
            mark = "bold" if cell is arm.best and len(arm.cells) > 1 else ""
            row = [
                *(_value(cell.settings[key]) for key in keys),
                str(cell.num_runs - cell.num_lacking),
                _interval(cell.test_accuracy, share),
                _interval(cell.validation_accuracy, share),
                _interval(cell.validation_loss, number),
                *([_lost(cell)] if with_notes else []),
            ]
            table.add_row(*row, style=mark)
    print_table(table)


def _print_best(arms: "list[Arm]") -> None:
    keys = list(arms[0].settings) if arms else []
    figures = ["best lr", "n", "test", "validation loss"]
    table = new_table(*map(_heading, keys), *figures, "", right=figures)
    for arm in arms:
        settings = [_value(value) for value in arm.settings.values()]
        if arm.best is None:
            table.add_row(*settings, "-", "", "", "", "at no learning rate do all of its runs have a result")
            continue
        table.add_row(
            *settings,
            f"[bold]{_value(arm.best.settings['optim.lr'])}[/]",
            str(arm.best.num_runs),
            _interval(arm.best.test_accuracy, share),
            _interval(arm.best.validation_loss, number),
            "[yellow]at the edge of the grid: there may be a better one beyond[/]" if arm.at_the_edge else "",
        )
    print_table(table)


def _print_troubles(result: "SweepResult", failed_anew: set[str]) -> None:
    troubles = [one for one in result.summaries if one.status not in ENDED_WELL or one.run_id in failed_anew]
    if not troubles:
        return
    table = new_table("run", "status", "why")
    for summary in troubles[:MOST_TROUBLES]:
        outcome = _outcome(summary)
        why = result.reasons.get(summary.run_id, WHY.get(outcome, ""))
        told = f"{outcome} before" if summary.status in ENDED_WELL else outcome
        table.add_row(summary.run_id, _styled(told, outcome), why)
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


def _lost(cell: "Cell") -> str:
    counts = {"diverged": cell.num_diverged, **cell.lacking}
    return ", ".join(_styled(f"{count} {outcome}", outcome) for outcome, count in counts.items() if count)


def _outcome(summary: "RunSummary") -> str:
    """Return what became of a run, in the words of all tables."""
    from bnlab.results.cells import MISSING

    is_there = summary.status != "interrupted" or Path(summary.folder).exists()
    return summary.status if is_there else MISSING


def _styled(text: str, outcome: str) -> str:
    return f"[{STYLE_OF.get(outcome, 'red')}]{text}[/]"


def _heading(key: str) -> str:
    return key.rpartition(".")[2]


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
