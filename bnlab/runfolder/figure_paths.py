"""The paths of figures: in the folder of a run or sweep, or in a folder of their own if they show several runs.

::

    runs/<sweep or "single">/<run id>/figures/<diagnostic>.svg    what one run looks like inside
    runs/<sweep>/<figure>.svg                                     what a sweep found, such as lr-sensitivity
    runs/comparisons/<name>/<diagnostic>.svg                      several runs on the same axes
"""

import contextlib
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

FIGURES, COMPARISONS = "figures", "comparisons"

_MOST_LETTERS = 60
"""Letters of a comparison's name. Longer names are cut, and a hash makes them unique."""


def run_figure_path(run: Path, name: str, kind: str) -> Path:
    """Return the path of a figure of one run.

    Args:
        run: The folder of the run.
        name: The name of the figure, usually that of a diagnostic.
        kind: The file name extension, ``svg`` or ``png``.
    """
    return run / FIGURES / f"{name}.{kind}"


def figures_of(run: Path) -> list[Path]:
    """Return the figures of a run that have been drawn."""
    return [path for path in (run / FIGURES).glob("*") if path.suffix in {".svg", ".png"} and path.is_file()]


def forget_figures(run: Path) -> None:
    """Remove the figures of a run that is trained again: they show the earlier training. Other files stay."""
    for figure in figures_of(run):
        figure.unlink()
    with contextlib.suppress(OSError):  # there are none, or files of the user's are among them
        (run / FIGURES).rmdir()


def comparison_folder(root: Path, names: Sequence[str], run_ids: Sequence[str]) -> Path:
    """Return the folder for figures of several runs; the same runs have the same folder.

    Args:
        root: The folder of all runs.
        names: The names of the runs as the user gave them, shortened.
        run_ids: The ids of the runs, in order.

    Example:
        >>> comparison_folder(Path("runs"), ["batch", "none"], ["a", "b"]).as_posix()
        'runs/comparisons/batch-none-7e18f737'
    """
    digest = hashlib.sha256("\n".join(run_ids).encode()).hexdigest()[:8]
    words = re.sub(r"[^A-Za-z0-9_.=-]+", "_", "-".join(dict.fromkeys(names)))[:_MOST_LETTERS].strip("._-")
    return root / COMPARISONS / f"{words or 'runs'}-{digest}"


def figure_path(folder: Path, name: str, kind: str) -> Path:
    """Return the path of a figure of several runs.

    Args:
        folder: The folder of a sweep or of a comparison.
        name: The name of the figure, such as ``lr-sensitivity`` or a diagnostic.
        kind: The file name extension, ``svg`` or ``png``.
    """
    return folder / f"{name}.{kind}"
