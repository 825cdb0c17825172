"""Where figures lie: in a run's folder, in a sweep's, and in one of their own where they show several runs.

::

    runs/<sweep or "single">/<run id>/figures/<diagnostic>.svg    what one run looks like inside
    runs/comparisons/<name>/<diagnostic>.svg                      several runs on the same axes
"""

import hashlib
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

FIGURES, COMPARISONS = "figures", "comparisons"

_MOST_LETTERS = 60
"""Of a comparison's name: longer ones are cut, and their hash tells them apart."""


def run_figure_path(run: Path, name: str, kind: str) -> Path:
    """Return the path of a figure of one run.

    Args:
        run: The run's folder.
        name: Of the figure, mostly a diagnostic's.
        kind: ``svg`` or ``png``.
    """
    return run / FIGURES / f"{name}.{kind}"


def forget_figures(run: Path) -> None:
    """Take away the figures of a run that is trained anew: they show another one."""
    shutil.rmtree(run / FIGURES, ignore_errors=True)


def comparison_folder(root: Path, names: Sequence[str], run_ids: Sequence[str]) -> Path:
    """Return where figures of several runs lie; equal runs have the same place.

    Args:
        root: The folder of all runs.
        names: What was asked for, as short as can be.
        run_ids: The runs.

    Example:
        >>> comparison_folder(Path("runs"), ["batch", "none"], ["a", "b"]).as_posix()
        'runs/comparisons/batch-none-7e18f737'
    """
    digest = hashlib.sha256("\n".join(run_ids).encode()).hexdigest()[:8]
    words = re.sub(r"[^A-Za-z0-9_.=-]+", "_", "-".join(dict.fromkeys(names)))[:_MOST_LETTERS].strip("._-")
    return root / COMPARISONS / f"{words or 'runs'}-{digest}"


def comparison_path(folder: Path, name: str, kind: str) -> Path:
    """Return where one figure of a comparison lies."""
    return folder / f"{name}.{kind}"
