"""What is printed at the end of a sweep: the tables of its arms, and the runs without a result."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from bnlab.cli.consoles import OUT, counted, new_table, print_table
from bnlab.cli.summary_text import STYLE_OF
from bnlab.records import ENDED

if TYPE_CHECKING:
    from bnlab.records import RunSummary
    from bnlab.sweeps.execute import SweepResult

MOST_CELLS = 40
"""Lines of the table of cells; a sweep with more shows its arms, and `bnlab list runs` shows the rest."""

MOST_ARMS = 8
"""Arms in the table of what was measured; `bnlab compare` has all of them."""

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
    from bnlab.cli.arm_tables import print_arms, print_cells
    from bnlab.cli.instrument_table import MOST_INSTRUMENTS, print_instruments
    from bnlab.report.instrument_rows import instrument_rows
    from bnlab.results.arms import LEARNING_RATE
    from bnlab.results.instruments import asked_instruments
    from bnlab.results.sweep import read_sweep

    sweep = read_sweep(result.folder)
    found = sweep.read_arms()
    has_rates = LEARNING_RATE in sweep.swept
    if (has_rates or not is_grid) and sum(len(arm.cells) for arm in found.arms) <= MOST_CELLS:
        print_cells(found.arms, sweep.swept)
    if is_grid:
        print_arms(found.arms, sweep.swept)
    if asked := asked_instruments(sweep):
        having = [arm for arm in found.arms if arm.compared][:MOST_ARMS]
        print_instruments(having, instrument_rows(having, asked)[:MOST_INSTRUMENTS])
    if is_grid and has_rates:
        for sentence in found.sentences():
            OUT.print(sentence, markup=False, soft_wrap=not OUT.is_terminal)
    print_troubles(result, set(result.reasons) if is_grid else set())
    counts = Counter(_outcome(summary) for summary in result.summaries)
    told = ", ".join(_styled(f"{count} {outcome}", outcome) for outcome, count in counts.items())
    OUT.print(f"{counted(len(result.summaries), 'run')}: {told}")


def print_troubles(result: "SweepResult", failed_anew: set[str]) -> None:
    """Print the runs without a result, and why; nothing where each has one.

    Args:
        result: What `execute` returned.
        failed_anew: Ids of runs with a result that could not be trained anew.
    """
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


def _outcome(summary: "RunSummary") -> str:
    """Return a run's status in the words of all tables: a run without a folder is missing."""
    from bnlab.results.outcomes import MISSING

    is_there = summary.status != "interrupted" or Path(summary.folder).exists()
    return summary.status if is_there else MISSING


def _styled(text: str, outcome: str) -> str:
    return f"[{STYLE_OF.get(outcome, 'red')}]{text}[/]"
