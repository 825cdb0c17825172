"""The figure of a finished sweep, and its pages in TensorBoard."""

import contextlib
from pathlib import Path

from bnlab.errors import StudyError
from bnlab.loggers.tensorboard.sweep_dashboard import write_sweep_dashboard
from bnlab.records import ENDED
from bnlab.report.lr_sensitivity.figure import write_figures
from bnlab.report.lr_sensitivity.summary import read_sensitivity
from bnlab.results.sweep import SweepRuns, read_sweep


def write_dashboard(folder: Path, sweep: SweepRuns | None = None) -> list[Path]:
    """Draw a sweep's figures and write its dashboard, out of the runs that have ended; return the figures' paths.

    A sweep over learning rates has a figure of final loss and accuracy against them. There is none for other sweeps,
    for a search, whose learning rates are no grid, or for a sweep in which no seed has all of its runs yet.

    Args:
        folder: The folder of the sweep.
        sweep: The folder, as the caller has read it; None: it is read.
    """
    paths: list[Path] = []
    with contextlib.suppress(StudyError):  # it has no learning-rate curve
        found = read_sensitivity(folder, sweep=sweep)
        paths = write_figures(found, folder) if any(arm.figures for arm in found.arms) else []
    pictures = {path.stem: path.read_bytes() for path in paths if path.suffix == ".png"}
    write_sweep_dashboard(folder, pictures)
    return paths


def refresh_dashboard(folder: Path, known: frozenset[str] | None) -> frozenset[str]:
    """Write a sweep's dashboard if runs have ended since it was written; return the ids of those that have.

    Args:
        folder: The folder of the sweep.
        known: The ids that the last call returned; None: the dashboard is written in any case.
    """
    sweep = read_sweep(folder)
    ended = frozenset(row["run_id"] for row in sweep.rows if row["status"] in ENDED)
    if ended != known:
        write_dashboard(folder, sweep)
    return ended
