"""The style of figures for paper, and how they are saved: equal runs give equal bytes; text stays text in SVG."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bnlab.errors import UnwrittenError
from bnlab.report.palette import DPI, KINDS, LINE, QUIET, SMALL
from bnlab.runfolder.whole_files import write_whole

ON_SCREEN = 90
"""Dots per inch in a notebook: a figure of 11 inches is then as wide as a page of one."""


class PaperFigure(Figure):
    """A figure that a notebook shows as it stands there, without pyplot."""

    def _repr_png_(self) -> bytes:
        drawn = io.BytesIO()
        self.savefig(drawn, format="png", dpi=ON_SCREEN)
        return drawn.getvalue()


def new_figure(width: float, height: float, layout: Literal["constrained"] | None = None) -> Figure:
    """Return an empty figure on white: no pyplot, no window, no global state.

    Args:
        width: Width of the figure, in inches.
        height: Height of the figure, in inches.
        layout: What places the axes: ``constrained`` for matplotlib's constrained layout, None for the caller.
    """
    figure = PaperFigure(figsize=(width, height), facecolor="white", layout=layout)
    FigureCanvasAgg(figure)
    return figure


def frame(axes: Axes) -> None:
    """Give axes the frame of all figures: two thin lines, at the left and below, and small gray numbers."""
    axes.tick_params(labelsize=SMALL, colors=QUIET, which="both")
    for side, spine in axes.spines.items():
        spine.set_visible(side in {"left", "bottom"})
        spine.set_color(LINE)


@contextmanager
def paper() -> Iterator[None]:
    """Keep text as text in SVG, and give equal figures equal files, for all figures drawn and saved within it."""
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "bnlab"}):
        yield


def save(figure: Figure, path_of: Callable[[str], Path], cure: str) -> list[Path]:
    """Write a figure in each format; return the paths.

    Args:
        figure: The figure; to be drawn and saved within `paper`.
        path_of: Function from the format, ``svg`` or ``png``, to the path of the file.
        cure: What a user can do if the file cannot be written: the last sentence of the error.

    Raises:
        UnwrittenError: A file cannot be written.
    """
    if figure.get_layout_engine() is not None:
        figure.draw_without_rendering()  # place all once: both files then look the same, and the second one is quick
        figure.set_layout_engine(None)  # "none" would let matplotlib draw twice for each file
    paths = []
    for kind in KINDS:
        path = path_of(kind)
        drawn = io.BytesIO()
        figure.savefig(drawn, format=kind, dpi=DPI, metadata={"Date": None} if kind == "svg" else {})
        try:
            if not path.parent.exists():
                path.parent.mkdir(parents=True)
            write_whole(path, drawn.getvalue())
        except OSError as error:
            raise UnwrittenError(f"{path} cannot be written: {error.strerror}. {cure}") from error
        paths.append(path)
    return paths
