"""`bnlab export`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from bnlab.cli.command_options import Quiet, Runs, output_option
from bnlab.cli.complete import complete_run
from bnlab.cli.consoles import ERR, OUT, counted, say_warning
from bnlab.cli.own_prints import own_prints_on_stderr

MOST_TOLD = 5
"""Runs of which is said why they were left out; of the others their number."""

Target = Literal["csv", "parquet", "mlflow", "wandb", "trackio"]


def export(
    path: Annotated[
        str,
        typer.Argument(
            metavar="PATH",
            help="A run, a sweep, a folder of runs; for trackio also runs/studies.",
            autocompletion=complete_run,
        ),
    ],
    to: Annotated[Target, typer.Option("--to", help="Where to, or in which form.", show_default=False)],
    output: Annotated[
        Path | None,
        output_option("FOLDER", "The folder of the tables, of MLflow's database, of Trackio's projects."),
    ] = None,
    quiet: Quiet = False,
    runs: Runs = None,
) -> None:
    """Write runs to another tool, or as tables. Again: what is there is brought up to date, nothing stands there twice.

    [bold]bnlab export my_sweep --to csv[/]: runs.csv and curves.csv, into the folder my_sweep-csv

    [bold]bnlab export my_sweep --to mlflow[/]: an experiment in runs/mlflow.db, or on the server of MLFLOW_TRACKING_URI

    [bold]bnlab export runs/studies --to trackio[/]: a Trackio project per claim

    Nothing is sent from this machine, unless the tool is told so by its own variables.
    """
    from bnlab.pages.exporting import export as export_to

    with own_prints_on_stderr():
        done = export_to(path, to, output, runs)
    if quiet:
        return
    for number, (name, why) in enumerate(done.left_out.items()):
        if number == MOST_TOLD:
            say_warning(f"{len(done.left_out) - MOST_TOLD} more were left out")
            break
        say_warning(f"{name} was left out: {why}")
    OUT.print(done.address, soft_wrap=True, markup=False)
    there = f", {len(done.there)} there already" if done.there else ""
    what = f"{counted(len(done.written), done.what)} written{there}"
    ERR.print(f"{what}. To look at them: {done.command}", style="dim", soft_wrap=True, markup=False, highlight=False)
