"""What a sweep leaves for the eye: its figures, its page, its TensorBoard pages; and what to type next."""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bnlab.cli.consoles import ERR, Waiting, counted, say_warning
from bnlab.errors import BnlabError

if TYPE_CHECKING:
    from bnlab.cli.next_command import NextCommand
    from bnlab.results.sweep import SweepRuns
    from bnlab.sweeps.execute import SweepResult


@dataclass(frozen=True)
class Pictures:
    """The files that a sweep leaves for the eye.

    Attributes:
        figures: Figures as PNG; an SVG of the same name lies beside each.
        page: The page; None where there is none.
    """

    figures: tuple[Path, ...] = ()
    page: Path | None = None


def leave_dashboard(result: "SweepResult") -> list[Path]:
    """Write a sweep's pages for TensorBoard, if its runs have any; return the paths of the figures drawn for it.

    A failure is only a warning: the runs and their results are not affected.
    """
    from bnlab.results.sweep import read_sweep

    sweep = read_sweep(result.folder)
    if not any("tensorboard" in (row.get("loggers") or ()) for row in sweep.rows):
        return []
    from bnlab.report.dashboard import write_dashboard

    try:
        return write_dashboard(result.folder, sweep)
    except Exception as error:  # whatever it is: the result of hours is worth more than its picture
        say_warning(f"the sweep's dashboard could not be written: {type(error).__name__}: {error}")
        return []


def leave_pictures(folder: Path, *, is_new: bool, has_rates: bool = False) -> Pictures:
    """Draw a sweep's figures and write its page; return their paths. A failure is only a warning.

    Args:
        folder: The folder of the sweep.
        is_new: Whether runs have ended since they were drawn; else those that are there are named.
        has_rates: Whether the figure of the outcome against the learning rate has been drawn already.
    """
    with Waiting("Drawing"):
        from bnlab.pages.report_files import NAME as PAGE
        from bnlab.report.lr_sensitivity.figure import NAME as RATES
        from bnlab.report.training_curves import NAME as CURVES

    page = folder / f"{PAGE}.html"
    if not is_new and page.exists():
        figures = [folder / f"{name}.png" for name in (CURVES, RATES, INSTRUMENTS)]
        return Pictures(tuple(path for path in figures if path.exists()), page)
    try:
        with Waiting("Drawing"):
            figures = _draw(folder, has_rates)
            return Pictures(tuple(figures), _write_page(folder))
    except Exception as error:  # as above
        kind = "" if isinstance(error, BnlabError) else f"{type(error).__name__}: "
        say_warning(f"the sweep's figures could not be written: {kind}{error}")
        return Pictures()


def _draw(folder: Path, has_rates: bool) -> list[Path]:
    """Draw the curves of the arms, the outcome against the learning rate, and what was asked to be measured."""
    from bnlab.errors import StudyError
    from bnlab.report.lr_sensitivity.figure import NAME as RATES
    from bnlab.report.lr_sensitivity.figure import write_figures
    from bnlab.report.lr_sensitivity.summary import read_sensitivity
    from bnlab.report.training_curves import NAME, read_arm_curves, write_training_curves
    from bnlab.results.instruments import asked_instruments
    from bnlab.results.sweep import read_sweep
    from bnlab.runfolder.figure_paths import figure_path

    sweep = read_sweep(folder)
    arms = sweep.read_arms().arms
    paths = write_training_curves(read_arm_curves(arms), shared(sweep), lambda kind: figure_path(folder, NAME, kind))
    if has_rates:
        paths.append(figure_path(folder, RATES, "png"))
    else:
        with contextlib.suppress(StudyError):  # it has no learning-rate curve
            found = read_sensitivity(folder, sweep=sweep)
            paths += write_figures(found, folder) if any(arm.figures for arm in found.arms) else []
    if asked := asked_instruments(sweep):
        from bnlab.report.instrument_figure import write_instruments

        paths += write_instruments(arms, asked, shared(sweep), lambda kind: figure_path(folder, INSTRUMENTS, kind))
    return [path for path in paths if path.suffix == ".png"]


INSTRUMENTS = "instruments"
"""The name of the figure of what was asked to be measured."""


def shared(sweep: "SweepRuns") -> str:
    """Return the settings that all runs of a sweep share, in a few words, for a figure's corner."""
    facts = sweep.shared_settings()
    steps, epochs = facts.get("train.steps"), facts.get("train.epochs")
    parts = [str(facts[key]) for key in ("model", "model.activation", "data", "optim") if facts.get(key)]
    if isinstance(facts.get("optim.lr"), float):
        parts.append(f"lr {facts['optim.lr']:g}")
    return ", ".join([*parts, *([counted(steps, "step")] if steps else [f"{epochs} epochs"] if epochs else [])])


def _write_page(folder: Path) -> Path | None:
    from bnlab.errors import StudyError
    from bnlab.pages.report_files import make_report, write_report

    try:
        return write_report(make_report(str(folder))).paths[0]
    except StudyError:  # no run has an outcome
        return None


def say_ending(folder: Path, pictures: Pictures, following: "NextCommand | None") -> None:
    """Say where the figures and the page of a sweep are, and what to type next.

    Args:
        folder: The folder of the sweep.
        pictures: Its figures and its page.
        following: What to type next; None: nothing is proposed.
    """
    lines = []
    if pictures.figures:
        names = ", ".join(path.name for path in pictures.figures)
        lines.append(("Figures", f"{names} (and .svg) in {near(folder)}"))
    if pictures.page:
        lines.append(("Page", near(pictures.page)))
    elif not pictures.figures:
        lines.append(("Runs", near(folder)))
    if following is not None:
        lines += [("Next", following.line), ("", following.why)]
    for name, text in lines:
        ERR.print(f"{name:8}", style="bold", end="")
        ERR.print(text, style="" if name == "Next" else "dim", markup=False, highlight=False, soft_wrap=True)


def near(path: Path) -> str:
    """Return a path as it is typed here: relative to the current folder where it lies below it."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
