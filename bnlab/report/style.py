"""How figures on paper look, and how they are written: the same runs, the same bytes; text stays text in SVG."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bnlab.errors import RunError

KINDS = ("svg", "png")
DPI = 150
INK, QUIET, LINE, OUTSIDE = "#1A1A1A", "#5F6B73", "#C4CCD1", "#EEF1F2"
COLORS = ("#0072B2", "#D55E00", "#00805D", "#B4578F", "#B87A00", "#3A9BD0", "#5F6B73", "#1A1A1A")
"""Okabe and Ito's, made for color-blind readers; green, purple, orange and sky a shade darker, to be seen on white."""

MARKERS = ("o", "s", "^", "D", "v", "P", "h", "X")
DASHES: tuple[tuple[float, ...], ...] = ((), (5, 1.6), (1.5, 1.5), (7, 1.5, 1.5, 1.5))
"""Of a second swept key; and with more arms than colors, the colors come again with other dashes."""

SMALL, USUAL, LARGE = 8.5, 10.0, 13.0
"""Points."""


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure on white, in inches: no pyplot, no window, no global state."""
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def frame(axes: Axes) -> None:
    """Give axes the house's frame: two thin sides, small quiet numbers."""
    axes.tick_params(labelsize=SMALL, colors=QUIET, which="both")
    for side, spine in axes.spines.items():
        spine.set_visible(side in {"left", "bottom"})
        spine.set_color(LINE)


@contextmanager
def paper() -> Iterator[None]:
    """Draw and write within: text stays text in SVG, and equal figures are equal files."""
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "bnlab"}):
        yield


def save(figure: Figure, path_of: Callable[[str], Path], cure: str) -> list[Path]:
    """Write a figure in each format; return the paths.

    Args:
        figure: What to write; drawn and written within `paper`.
        path_of: Format -> where to.
        cure: What a user can do where that cannot be written to.

    Raises:
        RunError: It cannot.
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
