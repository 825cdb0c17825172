"""Options that several commands have, each defined once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from bnlab.cli.complete import complete_override

OnError = Literal["continue", "stop"]
Only = Literal["failed", "interrupted"]

MARK = "shared:"
"""Stands where ``--`` was typed behind `bnlab race`: typer drops that."""

Again = Annotated[bool, typer.Option("--again", help="Train anew what is finished already.")]
Jobs = Annotated[
    int | None, typer.Option("--jobs", "-j", min=1, metavar="N", help="Processes (default: one per physical core).")
]
NoFigures = Annotated[bool, typer.Option("--no-figures", help="Print only; draw nothing.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]


def at_home(path: Path | None) -> Path | None:
    """Return a path with ~ and ~user in place: a shell leaves them alone in --runs=~/x."""
    try:
        return None if path is None else path.expanduser()
    except RuntimeError as error:
        raise typer.BadParameter(f"{path}: {error}") from error


Runs = Annotated[
    Path | None,
    typer.Option("--runs", metavar="DIR", help="Where runs go (BNLAB_RUNS, else ./runs).", callback=at_home),
]
ConfigDir = Annotated[
    Path | None,
    typer.Option("--config-dir", "-cd", metavar="DIR", help="Own options, beside bnlab's conf/.", callback=at_home),
]


def output_option(metavar: str, text: str) -> Any:
    """Return the option that says where files are written to.

    Args:
        metavar: What it takes: ``FOLDER``, or ``PLACE`` for a folder or a file.
        text: The help text of the option.
    """
    return typer.Option("--output", "-o", metavar=metavar, help=text, show_default=False, callback=at_home)


def overrides_argument(text: str) -> Any:
    """Return the argument that takes words of the config, and completes them.

    Args:
        text: The help text of the argument.
    """
    return typer.Argument(metavar="OVERRIDES", help=text, autocompletion=complete_override, show_default=False)


@dataclass(frozen=True)
class SweepOptions:
    """The options of a command that trains a sweep.

    Attributes:
        runs: The folder for all runs; None: BNLAB_RUNS, else ./runs.
        config_dir: A folder with the user's own options; None: there is none but ./conf.
        jobs: Processes, or jobs of a cluster; None: one per physical core.
        dry_run: Say what would be trained, and train nothing.
        on_error: ``continue`` with the other runs after a failure, or ``stop``: no further run begins.
        retries: How often a run that failed is tried again.
        only: Train only the runs with this status; None: all runs without a result.
        again: Train runs anew that have a result.
        quiet: Print nothing but errors.
        as_json: Print one JSON object per run, on standard output.
        figures: Draw the figures and write the page at the end, where results are printed for a reader.
        command: The command that was typed, as the line that continues it names it.
    """

    runs: Path | None = None
    config_dir: Path | None = None
    jobs: int | None = None
    dry_run: bool = False
    on_error: OnError = "continue"
    retries: int = 0
    only: Only | None = None
    again: bool = False
    quiet: bool = False
    as_json: bool = False
    figures: bool = True
    command: str = "sweep"
