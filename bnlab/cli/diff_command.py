"""`bnlab diff`."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from bnlab.cli.complete import complete_run
from bnlab.cli.consoles import ERR, OUT, new_table, print_table, say_warning

if TYPE_CHECKING:
    from bnlab.results.difference import Difference, RunDifference

A_RUN = typer.Argument(metavar="RUN", help="A run: name, folder, last, -2.", autocompletion=complete_run)


def diff(
    first: Annotated[str, A_RUN],
    second: Annotated[str, A_RUN],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Compare two runs: the settings that differ, then the results of both.

    [bold]bnlab diff -2 -1[/]: the run before the last one, and the last one

    [bold]bnlab diff RUN RUN --json[/]: for a program
    """
    from bnlab.results.difference import difference_of
    from bnlab.runfolder.cures import with_cure
    from bnlab.runfolder.finding import find_run
    from bnlab.runfolder.index import read_run_rows

    folders = [find_run(word).path for word in (first, second)]
    rows = [read_run_rows(folder)[0] for folder in folders]
    found = difference_of(*rows)
    for row in rows:
        if "problem" in row:
            say_warning(f"{row['run_id']}: {with_cure(row['problem'], Path(row['folder']))}")
    if as_json:
        typer.echo(json.dumps({"runs": [row["run_id"] for row in rows], **found.as_dict()}))
        return
    _print(found, [row["run_id"] for row in rows])


def _print(found: "RunDifference", names: list[str]) -> None:
    for number, name in enumerate(names, 1):
        OUT.print(f"[dim]{number}[/]  [bold]{name}[/]", soft_wrap=True, highlight=False)
    if found.settings:
        _table("setting", found.settings)
    else:
        OUT.print("All settings that can change the numbers are equal.")
    if found.immaterial:
        told = ", ".join(f"{one.name} {_text(one.first)} and {_text(one.second)}" for one in found.immaterial)
        ERR.print(f"Without effect on the numbers: {told}", style="dim", markup=False, soft_wrap=True)
    _table("result", found.outcomes)


def _table(heading: str, rows: "tuple[Difference, ...]") -> None:
    has_change = heading == "result"
    table = new_table(heading, "1", "2", *(["2 - 1"] if has_change else []), right=["1", "2", "2 - 1"])
    for one in rows:
        is_share = one.name.endswith("accuracy")
        cells = [_text(value, is_share=is_share) for value in (one.first, one.second)]
        change = _change(one.first, one.second, is_share=is_share)
        table.add_row(Text(one.name), *map(Text, cells), *([Text(change)] if has_change else []))
    print_table(table)


def _text(value: Any, *, is_share: bool = False) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.2%}" if is_share else f"{value:.5g}"
    return str(value)


def _change(first: Any, second: Any, *, is_share: bool) -> str:
    """Return the second value minus the first; empty where one of them is no number."""
    numbers = [value for value in (first, second) if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) < 2 or not all(map(math.isfinite, numbers)):
        return ""
    change = numbers[1] - numbers[0]
    return f"{100 * change:+.2f} points" if is_share else f"{change:+.4g}"
