"""Colors, marks and sizes of figures: one palette for all of them."""

KINDS = ("svg", "png")
DPI = 150
INK, QUIET, LINE, OUTSIDE = "#1A1A1A", "#5F6B73", "#C4CCD1", "#EEF1F2"
COLORS = ("#0072B2", "#D55E00", "#00805D", "#B4578F", "#B87A00", "#3A9BD0", "#5F6B73", "#1A1A1A")
"""Okabe and Ito's colors for color-blind readers; green, purple, orange and sky are darker, to show on white."""

MARKERS = ("o", "s", "^", "D", "v", "P", "h", "X")
DASHES: tuple[tuple[float, ...], ...] = ((), (5, 1.6), (1.5, 1.5), (7, 1.5, 1.5, 1.5))
"""Line styles of a second swept key; with more arms than colors, colors are used again with other dashes."""

MOST_LINES = len(COLORS) * len(DASHES)
"""Lines that color and dashes can tell apart."""


def line_styles(number: int) -> list[tuple[str, tuple[float, ...]]]:
    """Return a color and dashes for each of some lines, which after `MOST_LINES` begin anew.

    Args:
        number: Of lines.
    """
    return [(COLORS[n % len(COLORS)], DASHES[n // len(COLORS) % len(DASHES)]) for n in range(number)]


SMALL, USUAL, LARGE = 8.5, 10.0, 13.0
"""Sizes of text, in points."""
