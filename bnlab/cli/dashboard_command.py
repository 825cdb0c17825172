"""`bnlab dashboard`."""

import threading
from pathlib import Path
from typing import Annotated

import typer

from bnlab.cli.complete import complete_run
from bnlab.cli.consoles import ERR, say_warning
from bnlab.errors import ConfigError
from bnlab.runfolder.finding import find_folder, is_sweep

REFRESH_S = 10.0
"""Seconds between two looks for runs that have ended: twice what TensorBoard waits between two of its own."""


def dashboard(
    path: Annotated[
        str | None,
        typer.Argument(
            help="A sweep, by name or folder; a run; or all runs (BNLAB_RUNS, else ./runs).",
            autocompletion=complete_run,
            show_default=False,
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            help="Where to serve; 0: any port that is free; without it 6006, or the next that is free.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Show runs in TensorBoard, on this machine only.

    It opens on loss, accuracy and saturation: of each sweep, the arms; of more than 40 single runs, the 12 newest.

    [bold]bnlab dashboard my_sweep[/]: the arms of a sweep, also while it trains

    [bold]bnlab dashboard runs/single[/]: some runs

    Ctrl-C ends it.
    """
    root = find_folder(path)
    if not root.is_dir():
        raise ConfigError(f"{root} is not there: no runs to show yet. Train one: bnlab train")
    from bnlab.loggers.tensorboard.serving import serve

    try:
        if is_sweep(root):
            _show_sweep(root, port)
        else:
            typer.echo(serve(root, port))
            checked = _what_is_checked(root)
            ERR.print(f"{checked}It opens on Custom Scalars; HParams has a table. Ctrl-C ends it.", style="dim")
        while True:  # on Windows, a wait without a limit does not notice Ctrl-C
            threading.Event().wait(REFRESH_S)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _what_is_checked(folder: Path) -> str:
    """Return a sentence, with a space behind it, about the runs that are not checked; nothing if there are none."""
    from bnlab.loggers.tensorboard.first_page import read_first_page

    first = read_first_page(folder)
    if not first.num_others:
        return ""
    which, what = ("", "arms") if is_sweep(folder) else (" newest", "runs and arms")
    number = len(first.runs)
    return f"{number}{which} of {number + first.num_others} {what} are checked; empty the filter of runs to see all. "


def _show_sweep(folder: Path, port: int | None) -> None:
    """Serve a sweep's folder, print its pages, and write its arms again whenever runs end, until all have ended."""
    from bnlab.loggers.tensorboard.serving import serve, sweep_pages
    from bnlab.results.sweep import read_sweep

    ended = _refreshed(folder, None)
    sweep = read_sweep(folder)
    typer.echo(address := serve(folder, port))
    for what, page in sweep_pages(address, by_norm=sweep.arm_keys == ("norm",)).items():
        ERR.print(f"[dim]{what:<28}[/]{page}", soft_wrap=True)
    if ended is not None:
        news = "" if len(ended) == len(sweep.planned) else " Runs that end from now on are added."
        checked = _what_is_checked(folder)
        ERR.print(
            f"{checked}{len(ended)} of {len(sweep.planned)} runs have ended.{news} Ctrl-C ends this.", style="dim"
        )
    while ended is not None and len(ended) < len(sweep.planned):
        threading.Event().wait(REFRESH_S)
        ended = _refreshed(folder, ended)


def _refreshed(folder: Path, known: frozenset[str] | None) -> frozenset[str] | None:
    """Write the dashboard; return the ids of the runs that have ended, or None if it cannot be written."""
    from bnlab.report.dashboard import refresh_dashboard

    try:
        return refresh_dashboard(folder, known)
    except OSError as error:  # somebody else's folder, a full disk
        say_warning(f"the arms of {folder} cannot be written: {error.strerror}. Its runs are shown as they are.")
        return None
