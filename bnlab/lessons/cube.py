"""The input as a block of N x C x positions, seen from a corner, with the values of one statistic colored.

As in figure 2 of Wu & He 2018, arXiv:1803.08494. The front corner is the first value of the input.
"""

import itertools
import math
from dataclasses import dataclass

from bnlab.lessons.explanation import Explanation
from bnlab.lessons.sharing import spread

MAX_POSITIONS = 4
"""Largest number of positions per channel in the drawing, one above the other."""

COS, SIN = math.cos(math.pi / 6), math.sin(math.pi / 6)

Point = tuple[float, float]


@dataclass(frozen=True)
class Face:
    """One visible side of the small cube that stands for one value.

    Attributes:
        corners: The four corners (x, y) in the drawing, in edges of a small cube. The origin is the front corner of
            the block; y points up.
        side: Which side it is: ``top``, ``left`` or ``right``.
        shares: Whether the value belongs to the first statistic.
    """

    corners: tuple[Point, Point, Point, Point]
    side: str
    shares: bool


@dataclass(frozen=True)
class Cube:
    """The block of all values that are drawn.

    Attributes:
        faces: The visible sides of the small cubes.
        num_samples: Number of samples in the drawing.
        num_channels: Number of channels in the drawing.
        num_positions: Number of positions per channel in the drawing.
    """

    faces: tuple[Face, ...]
    num_samples: int
    num_channels: int
    num_positions: int

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top end of the block, in the units of `Face.corners`."""
        return (
            -self.num_channels * COS,
            self.num_samples * COS,
            -float(self.num_positions),
            (self.num_channels + self.num_samples) * SIN,
        )


def build_cube(lesson: Explanation) -> Cube:
    """Build the block of a lesson's input."""
    sharing = lesson.sharing
    places = list(itertools.product(*(range(axis.size) for axis in sharing.axes[2:])))
    drawn = [places[i] for i in spread(len(places), MAX_POSITIONS)]

    def shares(row: int, column: int, level: int) -> bool:
        if sharing.partition and not sharing.has_statistics:
            return row == column == level == 0  # an output depends on its own input alone
        inside = all(i < axis.shared for i, axis in zip(drawn[level], sharing.axes[2:], strict=True))
        return inside and sharing.cells[row][column] == sharing.cells[0][0]

    rows, columns, levels = len(sharing.rows), len(sharing.columns), len(drawn)
    faces = [
        *(_face("top", n, c, 0, shares(n, c, 0)) for n in range(rows) for c in range(columns)),
        *(_face("left", 0, c, s, shares(0, c, s)) for c in range(columns) for s in range(levels)),
        *(_face("right", n, 0, s, shares(n, 0, s)) for n in range(rows) for s in range(levels)),
    ]
    return Cube(tuple(faces), rows, columns, levels)


def project(n: float, c: float, s: float) -> Point:
    """Return a point of the block in the drawing: channels go to the left, samples to the right, positions down."""
    return ((n - c) * COS, (n + c) * SIN - s)


def _face(side: str, n: int, c: int, s: int, shares: bool) -> Face:
    corners = {
        "top": ((n, c, s), (n + 1, c, s), (n + 1, c + 1, s), (n, c + 1, s)),
        "left": ((n, c, s), (n, c + 1, s), (n, c + 1, s + 1), (n, c, s + 1)),
        "right": ((n, c, s), (n + 1, c, s), (n + 1, c, s + 1), (n, c, s + 1)),
    }[side]
    first, second, third, fourth = (project(*corner) for corner in corners)
    return Face((first, second, third, fourth), side, shares)
