"""The look of figures, and how they are written: equal runs give equal bytes, and text stays text in SVG."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bnlab.errors import RunError
from bnlab.report.palette import DPI, KINDS, LINE, QUIET, SMALL


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure on white, in inches: no pyplot, no window, no global state."""
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def frame(axes: Axes) -> None:
    """Give axes the usual frame: thin lines left and below, small gray numbers."""
    axes.tick_params(labelsize=SMALL, colors=QUIET, which="both")
    for side, spine in axes.spines.items():
        spine.set_visible(side in {"left", "bottom"})
        spine.set_color(LINE)


@contextmanager
def paper() -> Iterator[None]:
    """Set the options with which text stays text in SVG, and equal figures are equal files, for drawing and writing."""
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "bnlab"}):
        yield


def save(figure: Figure, path_of: Callable[[str], Path], cure: str) -> list[Path]:
    """Write a figure in each format; return the paths.

    Args:
        figure: The figure, which was drawn within `paper`, as this call must be.
        path_of: Returns the path of the file for a format, ``svg`` or ``png``.
        cure: The advice at the end of the error's message.

    Raises:
        RunError: A file cannot be written.
    """
    paths = []
    for kind in KINDS:
        path = path_of(kind)
        drawn = io.BytesIO()
        figure.savefig(drawn, format=kind, dpi=DPI, metadata={"Date": None} if kind == "svg" else {})
        try:
            if not path.parent.exists():
                path.parent.mkdir(parents=True)
            path.write_bytes(drawn.getvalue())
        except OSError as error:
            raise RunError(f"{path} cannot be written: {error.strerror}. {cure}") from error
        paths.append(path)
    return paths
