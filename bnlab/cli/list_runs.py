"""`bnlab list runs`: the runs with their status and final figures."""

import re
import sys
import typing
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from bnlab.cli.command_options import at_home
from bnlab.cli.complete import complete_run
from bnlab.cli.consoles import ERR, OUT, ROOMY, new_console, new_table, print_rows, print_table, say_warning
from bnlab.cli.long_table import MANY, LongTable
from bnlab.cli.summary_text import STYLE_OF, number, share
from bnlab.errors import ConfigError, did_you_mean
from bnlab.records import Status

Runs = Annotated[
    Path | None,
    typer.Option("--runs", metavar="DIR", help="The folder of all runs (BNLAB_RUNS, else ./runs).", callback=at_home),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print a JSON list.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print comma-separated values.")]

Cell = Callable[[dict[str, Any]], str]

_FIGURE = re.compile(r"-$|-?[\d.,]+(e[+-]?\d+)?%?$")

_IN_THE_ID = {"norm", "model", "data", "optim.lr", "seed"}
"""Settings that a run's name says already."""

_OF_EVERY_RUN = ("run_id", "status", "seed", "norm", "model", "data", "optim.lr", "started", "folder", "sweep")
"""Columns of every run, whatever its config: the heading of an empty table."""

_FIRST_TO_GO = ("note", "s", "steps", "validation", "sweep")
"""Columns that are dropped in a narrow window, in this order, before any setting that was swept."""


def runs(
    path: Annotated[
        str | None,
        typer.Argument(
            help="A folder, or the name of a sweep; all runs without.",
            autocompletion=complete_run,
        ),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option("--where", "-w", help="norm=batch,none · 'lr>0.1' · 'test_accuracy>=90%' · run_id='*-s0-*'"),
    ] = None,
    status: Annotated[
        str | None, typer.Option("--status", help=f"Some of: {', '.join(typing.get_args(Status))}.")
    ] = None,
    sort: Annotated[
        list[str] | None, typer.Option("--sort", help="By these columns; -test_accuracy: the best first.")
    ] = None,
    reverse: Annotated[bool, typer.Option("--reverse", help="Turn the order round.")] = False,
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=1, help="Show so many at most.")] = None,
    columns: Annotated[
        list[str] | None, typer.Option("--columns", help="These instead: run_id,test_accuracy,'norm.*'")
    ] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    root: Runs = None,
) -> None:
    """List the runs with status and final figures.

    [bold]bnlab list runs[/]: all of them

    [bold]bnlab list runs my_sweep --where 'lr>0.1' --sort -test_accuracy -n 10[/]: the best ten of these

    [bold]bnlab list runs --status failed,interrupted[/]: what is missing

    [bold]bnlab list runs --csv > runs.csv[/]: everything that is known, --json too
    """
    from bnlab.results.query import pick_columns, read_condition, sort_rows
    from bnlab.runfolder.finding import find_folder
    from bnlab.runfolder.index import read_run_rows

    rows = read_run_rows(find_folder(path, root))
    conditions = [read_condition(text, rows) for text in where or []]
    if status is not None:
        conditions.append(read_condition(f"status={_checked_statuses(status)}", rows))
    ordered = sort_rows(rows, _words(sort), reverse)
    shown = [row for row in ordered if all(condition.holds(row) for condition in conditions)][:limit]
    picked = pick_columns(_words(columns), rows) if columns else None
    columns_known = picked or list(dict.fromkeys(key for row in rows for key in row)) or _OF_EVERY_RUN
    told = [{key: row.get(key) for key in picked} for row in shown] if picked else shown
    if print_rows(told, as_json, as_csv, columns_known):
        return
    if shown:
        table = _table(_texts(picked, shown)) if picked else _table_that_fits(shown, rows)
        table.print() if isinstance(table, LongTable) else print_table(table)
    _say_how_many(shown, rows, [condition.column for condition in conditions])


def _words(options: Sequence[str] | None) -> list[str]:
    """Return the values of an option that was repeated, or given several values with commas, or both."""
    return [word.strip() for option in options or [] for word in option.split(",") if word.strip()]


def _checked_statuses(text: str) -> str:
    known = typing.get_args(Status)
    for word in _words([text]):
        if word not in known:
            raise ConfigError(f"--status {word}: runs have no such status. {did_you_mean(word, known)}")
    return text


def _say_how_many(shown: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]], asked: Sequence[str]) -> None:
    """Say on standard error how many runs there are, with which status, and which of them are damaged."""
    from bnlab.results.query import describe_column
    from bnlab.results.sweep_plan import find_plan_problem
    from bnlab.runfolder.cures import with_cure

    if not rows:
        ERR.print("There are no runs here yet: bnlab train makes one.", style="dim")
    elif not shown:
        facts = "; ".join(describe_column(column, rows) for column in dict.fromkeys(asked))
        ERR.print(f"None of {len(rows)} runs is so: {facts}.", style="dim", markup=False, soft_wrap=True)
    else:
        standing = ", ".join(f"{count} {status}" for status, count in Counter(row["status"] for row in shown).items())
        of = "" if len(shown) == len(rows) else f" of {len(rows)}"
        ERR.print(f"{len(shown)}{of} run{'s' if len(rows) > 1 else ''}: {standing}", style="dim", highlight=False)
    for row in shown:
        if "problem" in row:
            say_warning(f"{row['run_id']}: {with_cure(row['problem'], Path(row['folder']))}")
    for folder in dict.fromkeys(Path(row["folder"]).parent for row in rows):
        if problem := find_plan_problem(folder):
            say_warning(f"{folder}: {problem}")


def _table_that_fits(rows: Sequence[dict[str, Any]], beside: Sequence[dict[str, Any]]) -> Table | LongTable:
    """Return the usual columns, as many as the window is wide enough for: a name that is cut is of no use.

    Args:
        rows: The runs of the table.
        beside: All runs below the path; where they are of one sweep, the column with its name is left out.
    """
    from bnlab.results.swept import swept_keys

    one_sweep = len({row["folder"].removesuffix(row["run_id"]) for row in beside}) == 1
    telling = swept_keys(rows) if one_sweep else ["norm"]
    swept = [key for key in telling if key not in _IN_THE_ID or (key == "norm" and _share_a_word(rows))]
    cells: dict[str, Cell] = {
        "sweep": lambda row: escape(Path(row["folder"]).parent.name),
        "run": lambda row: escape(row["run_id"]),
        **{key: _cell_of(key) for key in swept},
        "status": _status,
        "test": _cell_of("test_accuracy"),
        "validation": _cell_of("validation_accuracy"),
        "steps": _cell_of("steps"),
        "s": _cell_of("duration_s"),
        **({"tags": _tags} if any("tags" in row for row in rows) else {}),
        **({"note": _cell_of("note")} if any("note" in row for row in rows) else {}),
    }
    if one_sweep:
        del cells["sweep"]
    texts = {name: [cell(row) for row in rows] for name, cell in cells.items()}
    for dropped in (*_FIRST_TO_GO, *reversed(swept), None):
        table = _table(texts)
        if dropped is None or _width_of(table) <= _room():
            return table
        texts.pop(dropped, None)
    raise AssertionError  # the loop's last turn returns


def _room() -> int:
    return OUT.width if OUT.is_terminal else ROOMY


def _share_a_word(rows: Sequence[dict[str, Any]]) -> bool:
    """Return whether runs with different norms have the same word for it in their names, as with a:Mine and b:Mine."""
    norms = {row["norm"] for row in rows if isinstance(row.get("norm"), str)}
    return len({norm.rpartition(":")[2] for norm in norms}) < len(norms)


def _texts(columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    return {name: [_cell_of(name)(row) for row in rows] for name in columns}


def _table(columns: dict[str, list[str]]) -> Table | LongTable:
    """Return a table of some columns, by rich where it is not long, or has to be wrapped."""
    right = [name for name, texts in columns.items() if all(_FIGURE.match(text) for text in texts)]
    if len(next(iter(columns.values()))) >= MANY:
        console = OUT if OUT.is_terminal else new_console(file=sys.stdout, width=ROOMY)
        long = LongTable(columns, right, console)
        if long.width <= _room() and not any("\n" in text for texts in columns.values() for text in texts):
            return long
    table = new_table(*columns, right=right)
    for line in zip(*columns.values(), strict=True):
        table.add_row(*line)
    return table


def _width_of(table: Table | LongTable) -> int:
    if isinstance(table, LongTable):
        return table.width
    return Measurement.get(OUT, OUT.options.update(width=10_000), table).maximum


def _cell_of(column: str) -> Cell:
    """Return a function that writes a column's value: accuracies in percent, other figures short, words unchanged."""

    def cell(row: dict[str, Any]) -> str:
        value = row.get(column)
        if value is None:
            return "-"
        if column == "status":
            return _status(row)
        if column.endswith("accuracy"):
            return share(value)
        if column == "duration_s":
            return number(value, 1)
        if column == "steps":
            return f"{value:,}"
        if column.endswith("loss"):
            return number(value)
        if isinstance(value, float):
            return f"{value:g}"
        return escape(str(value))

    return cell


def _tags(row: dict[str, Any]) -> str:
    return escape(", ".join(row.get("tags") or ["-"]))


def _status(row: dict[str, Any]) -> str:
    status = str(row["status"])
    step = f" at {row['diverged_at_step']}" if row.get("diverged_at_step") else ""
    return f"[{STYLE_OF.get(status, 'default')}]{status}{step}[/]"
