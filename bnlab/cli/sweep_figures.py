"""Writing the figures and TensorBoard pages of a sweep at its end, and printing their paths."""

from pathlib import Path
from typing import TYPE_CHECKING

from bnlab.cli.command_options import SweepOptions
from bnlab.cli.consoles import ERR, say_warning

if TYPE_CHECKING:
    from bnlab.sweeps.execute import SweepResult


def leave_dashboard(result: "SweepResult") -> list[Path]:
    """Write a sweep's pages for TensorBoard, if its runs have any; return the paths of the figures drawn for it.

    A failure is only a warning: the runs and their results are not affected.
    """
    from bnlab.results.sweep import read_sweep

    if not any("tensorboard" in (row.get("loggers") or ()) for row in read_sweep(result.folder).rows):
        return []
    from bnlab.report.dashboard import write_dashboard

    try:
        return write_dashboard(result.folder)
    except Exception as error:  # whatever it is: the result of hours is worth more than its picture
        say_warning(f"the sweep's dashboard could not be written: {type(error).__name__}: {error}")
        return []


def say_where(figures: list[Path], options: SweepOptions) -> None:
    """Say where the figures of a sweep are."""
    for path in [] if options.quiet else figures:
        ERR.print(str(path), style="dim", soft_wrap=True, markup=False)
