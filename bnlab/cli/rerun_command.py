"""`bnlab rerun`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from bnlab.cli.command_options import at_home
from bnlab.cli.complete import complete_run
from bnlab.cli.consoles import OUT, Waiting, new_table, print_table
from bnlab.runfolder.finding import find_run

if TYPE_CHECKING:
    from bnlab.runfolder.agreement import Agreement, Difference

VERDICTS = {
    "identical": "[bold green]bit-identical[/]: all {num_records} records",
    "rounding": "[bold yellow]the same up to rounding[/], not bit by bit",
    "different": "[bold red]different numbers[/]",
}


def rerun(
    run: Annotated[
        str, typer.Argument(help="The folder or the name of a run.", autocompletion=complete_run, show_default=False)
    ],
    keep: Annotated[
        Path | None,
        typer.Option(
            "--keep",
            metavar="DIR",
            help="Keep the repetition in this folder; otherwise it is removed.",
            callback=at_home,
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Train a run once more and compare its numbers: [bold]bnlab rerun runs/single/RUN[/].

    The repetition uses the manifest of the run: config, engine, cohort, device and number of threads.

    Exit status: 0, bit-identical or the same up to rounding (no loss differs by more than 1% of the loss at the start,
    no accuracy by more than two percent); 1, different.
    """
    folder = find_run(run)
    with Waiting(quiet=quiet):
        from bnlab.cli.train_command import TerminalObserver
        from bnlab.experiment.rerunning import rerun as repeat

    try:
        agreement, repeated = repeat(folder, keep, None if quiet else TerminalObserver())
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    kept = None if keep is None else str(repeated)
    if as_json:
        typer.echo(json.dumps({**_facts(folder.path.name, agreement), "folder": kept}))
    elif not quiet:
        _show(folder.path.name, agreement, kept)
    raise typer.Exit(0 if agreement.agrees else 1)


def _facts(name: str, agreement: "Agreement") -> dict[str, Any]:
    def told(difference: "Difference | None") -> dict[str, Any] | None:
        return None if difference is None else asdict(difference)

    return {
        "run_id": name,
        "verdict": agreement.verdict,
        "agrees": agreement.agrees,
        "num_records": agreement.num_records,
        "first_difference": told(agreement.first),
        "largest_loss_difference": told(agreement.largest_loss),
        "figures": {key: {"before": before, "after": after} for key, (before, after) in agreement.figures.items()},
        "changed": {key: {"before": before, "after": after} for key, (before, after) in agreement.changed.items()},
    }


def _show(name: str, agreement: "Agreement", kept: str | None) -> None:
    verdict = VERDICTS[agreement.verdict].format(num_records=agreement.num_records)
    OUT.print(f"\n[bold]{escape(name)}[/]  {verdict}", soft_wrap=True)
    for title, difference in (("first", agreement.first), ("largest of a loss", agreement.largest_loss)):
        if difference is not None:
            by = f" ({difference.relative:.1e} of it)" if difference.what != "record" else ""
            OUT.print(
                f"  {title}: step {difference.step:,}, {difference.what}: {difference.before} then, "
                f"{difference.after} now{by}",
                soft_wrap=True,
                markup=False,
            )
    if agreement.verdict == "different" and agreement.begins_small:
        OUT.print("  The first difference is as small as rounding; training magnifies it, more with a larger rate.")
    _print_pairs("figure", agreement.figures)
    if agreement.changed:
        _print_pairs("what has changed", agreement.changed)
    elif agreement.verdict != "identical":
        OUT.print("Nothing in the manifest has changed: the same program computed other bits.", style="yellow")
    if kept is not None:
        OUT.print(kept, style="dim", soft_wrap=True, markup=False)


def _print_pairs(title: str, pairs: dict[str, tuple[Any, Any]]) -> None:
    table = new_table(title, "then", "now")
    for key, values in pairs.items():
        if any(value is not None for value in values):
            cells = [key.replace("_", " "), *("-" if value is None else str(value) for value in values)]
            table.add_row(*map(escape, cells))
    print_table(table)
