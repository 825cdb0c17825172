"""Options that several commands have, each said once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from bnlab.cli.complete import complete_override

OnError = Literal["continue", "stop"]
Only = Literal["failed", "interrupted"]

Again = Annotated[bool, typer.Option("--again", help="Train anew what is finished already.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
Runs = Annotated[Path | None, typer.Option("--runs", metavar="DIR", help="Where runs go (BNLAB_RUNS, else ./runs).")]
ConfigDir = Annotated[
    Path | None, typer.Option("--config-dir", "-cd", metavar="DIR", help="Own options, beside bnlab's conf/.")
]


def overrides_argument(text: str) -> Any:
    """Return the argument that takes words of the config, and completes them.

    Args:
        text: What ``--help`` says of it.
    """
    return typer.Argument(metavar="OVERRIDES", help=text, autocompletion=complete_override, show_default=False)


@dataclass(frozen=True)
class SweepOptions:
    """How a sweep is to be made and told of, whatever it sweeps.

    Attributes:
        runs: Where runs go; None: BNLAB_RUNS, else ./runs.
        config_dir: A folder of own options.
        jobs: Processes; None: one per core.
        dry_run: Say what would be done, and stop.
        on_error: After a failure: go on, or begin no other run.
        retries: How often a run that failed is tried again.
        only: Train only the runs that ended so.
        again: Train anew what is finished already.
        quiet: Print nothing but errors.
        as_json: Print one JSON object per run.
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
