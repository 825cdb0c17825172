"""`bnlab dashboard`."""

import threading
from pathlib import Path
from typing import Annotated

import typer

from bnlab.cli.consoles import ERR
from bnlab.errors import ConfigError
from bnlab.runfolder.index import runs_root


def dashboard(
    path: Annotated[
        Path | None,
        typer.Argument(help="A run, a sweep, or all runs (BNLAB_RUNS, else ./runs).", show_default=False),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(help="Where to serve; without it 6006, or the next that is free.", show_default=False),
    ] = None,
) -> None:
    """Show runs in TensorBoard, on this machine only: [bold]bnlab dashboard runs/single[/].

    Ctrl-C ends it.
    """
    root = runs_root(path)
    if not root.is_dir():
        raise ConfigError(f"{root} is not there: no runs to show yet. Train one: bnlab train")
    from bnlab.loggers.tensorboard.serving import serve

    typer.echo(serve(root, port))
    ERR.print("Ctrl-C ends it.", style="dim")
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
