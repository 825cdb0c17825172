"""Figures for notebooks: the ones that the command line draws, as matplotlib figures.

Each takes runs the way commands do: a folder, a name, ``last``, the beginning of a name, the name of a sweep, or what
`bnlab.train` returned. A figure is shown by a notebook as it stands there, and saved by ``figure.savefig``. No pyplot
is used, so that no window opens, and nothing has to be closed.
"""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from bnlab.errors import ConfigError
from bnlab.records import RunSummary
from bnlab.report.instrument_figure import draw_instruments
from bnlab.report.lr_sensitivity.figure import draw_sensitivity
from bnlab.report.lr_sensitivity.summary import read_sensitivity
from bnlab.report.network.comparison import MOST_RUNS, choose_runs
from bnlab.report.network.figures import draw
from bnlab.report.network.labels import label_runs, shared_settings
from bnlab.report.network.read import read_measured_run
from bnlab.report.training_curves import ArmCurves, draw_training_curves, read_arm_curves
from bnlab.results.compared_arms import ComparedArms, as_arms
from bnlab.results.curves import read_run_curves
from bnlab.runfolder.finding import find_folder
from bnlab.runfolder.folder import RunFolder
from bnlab.runfolder.index import read_run_rows

Runs = str | Path | RunSummary
"""A run, or the runs of a folder or a sweep."""


def curves(*runs: Runs, where: Sequence[str] = ()) -> Figure:
    """Return loss and accuracy over training: a line per run, or per arm with a band where an arm has several seeds.

    Args:
        *runs: Runs and sweeps, at least one.
        where: Conditions on the runs, such as ``["norm=batch", "lr>0.1"]``.

    Raises:
        ConfigError: There is no such run, or nothing to draw.

    Example:
        >>> import bnlab, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     summary = bnlab.train(["data=synthetic", "train.steps=20"], runs=folder)
        ...     figure = bnlab.plot.curves(summary)
        >>> [axes.get_title(loc="left") for axes in figure.get_axes()]
        ['loss', 'accuracy']
    """
    folders, compared = _read(runs, where)
    if _is_by_arms(compared):
        figure = draw_training_curves(read_arm_curves(compared.arms))
    else:
        labeled = label_runs([read_measured_run(folder) for folder in folders])
        of_runs = [ArmCurves(each.label, 1, read_run_curves(each.run.folder)) for each in labeled]
        figure = draw_training_curves(of_runs, shared_settings(labeled))
    if figure is None:
        raise ConfigError(f"{_told(runs)}: no run has two validations to draw a line between. Train longer.")
    return figure


def lr_sensitivity(sweep: str | Path) -> Figure:
    """Return the final loss and accuracy of a sweep's arms against the learning rate.

    Args:
        sweep: A sweep with two or more learning rates, by name or folder.

    Raises:
        ConfigError: There is no such sweep.
        StudyError: It has one learning rate only, or no run has a result.
    """
    return draw_sensitivity(read_sensitivity(find_folder(sweep)))


def saturation(*runs: Runs, where: Sequence[str] = ()) -> Figure:
    """Return the saturation of each layer: over the steps for runs, over the layers for arms with several seeds.

    Args:
        *runs: Runs and sweeps, at least one.
        where: Conditions on the runs, such as ``["norm=batch"]``.

    Raises:
        ConfigError: There is no such run, or none has recorded it.
    """
    return diagnostic("saturation", *runs, where=where)


def diagnostic(name: str, *runs: Runs, where: Sequence[str] = ()) -> Figure:
    """Return what a diagnostic measured, in the figure that shows it best; of arms with seeds, the last values.

    Args:
        name: A diagnostic, such as ``gradient_norm``.
        *runs: Runs and sweeps, at least one.
        where: Conditions on the runs.

    Raises:
        ConfigError: There is no such run, or none has recorded this diagnostic.
    """
    folders, compared = _read(runs, where)
    if _is_by_arms(compared):
        figure = draw_instruments(compared.arms, [name])
    else:
        labeled = label_runs([read_measured_run(folder) for folder in folders])
        figure = draw([name], labeled) if any(name in each.run.measured for each in labeled) else None
    if figure is None:
        raise ConfigError(f"{_told(runs)}: no run has recorded {name}. Train with diagnostics=full, which has most.")
    return figure


def _read(runs: Sequence[Runs], where: Sequence[str]) -> tuple[list[RunFolder], ComparedArms]:
    """Return the folders of some runs, and the runs as arms.

    Raises:
        ConfigError: There are none.
    """
    if not runs:
        raise ConfigError("a figure needs a run: give a folder, a name, or what bnlab.train returned.")
    words = [run.folder if isinstance(run, RunSummary) else str(run) for run in runs]
    folders = choose_runs(words, where)
    if not folders:
        raise ConfigError(f"{_told(runs)}: there are no such runs. Those there are: bnlab.read_runs().")
    rows = [row for folder in folders for row in read_run_rows(folder.path)]
    return folders, as_arms(rows)


def _is_by_arms(compared: ComparedArms) -> bool:
    return compared.has_seeds or len(compared.rows) > MOST_RUNS


def _told(runs: Sequence[Runs]) -> str:
    names = [run.run_id if isinstance(run, RunSummary) else str(run) for run in runs]
    return ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")
