"""The input as a block of N x C x positions, seen from a corner, with the values of one statistic colored.

As in figure 2 of Wu & He 2018, arXiv:1803.08494. The corner in front is the input's first value.
"""

import itertools
import math
from dataclasses import dataclass

from bnlab.lessons.explanation import Explanation
from bnlab.lessons.sharing import spread

MAX_POSITIONS = 4
"""Positions of one channel that are drawn, one above the other."""

COS, SIN = math.cos(math.pi / 6), math.sin(math.pi / 6)

Point = tuple[float, float]


@dataclass(frozen=True)
class Face:
    """One visible side of one value's little cube.

    Attributes:
        corners: In units of a cube's edge; the block's front corner is the origin, up is positive.
        side: ``top``, ``left`` or ``right``.
        shares: Whether the value belongs to the first statistic.
    """

    corners: tuple[Point, Point, Point, Point]
    side: str
    shares: bool


@dataclass(frozen=True)
class Cube:
    """The block.

    Attributes:
        faces: All that can be seen of it.
        num_samples: That are drawn.
        num_channels: That are drawn.
        num_positions: That are drawn.
    """

    faces: tuple[Face, ...]
    num_samples: int
    num_channels: int
    num_positions: int

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top."""
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
    shown = [places[i] for i in spread(len(places), MAX_POSITIONS)]

    def shares(row: int, column: int, level: int) -> bool:
        if sharing.partition and not sharing.has_statistics:
            return row == column == level == 0  # an output depends on its own input alone
        inside = all(i < axis.shared for i, axis in zip(shown[level], sharing.axes[2:], strict=True))
        return inside and sharing.cells[row][column] == sharing.cells[0][0]

    rows, columns, levels = len(sharing.rows), len(sharing.columns), len(shown)
    faces = [
        *(_face("top", n, c, 0, shares(n, c, 0)) for n in range(rows) for c in range(columns)),
        *(_face("left", 0, c, s, shares(0, c, s)) for c in range(columns) for s in range(levels)),
        *(_face("right", n, 0, s, shares(n, 0, s)) for n in range(rows) for s in range(levels)),
    ]
    return Cube(tuple(faces), rows, columns, levels)


def project(n: float, c: float, s: float) -> Point:
    """Return where a point of the block is seen: channels go to the left, samples to the right, positions down."""
    return ((n - c) * COS, (n + c) * SIN - s)


def _face(side: str, n: int, c: int, s: int, shares: bool) -> Face:
    corners = {
        "top": ((n, c, s), (n + 1, c, s), (n + 1, c + 1, s), (n, c + 1, s)),
        "left": ((n, c, s), (n, c + 1, s), (n, c + 1, s + 1), (n, c, s + 1)),
        "right": ((n, c, s), (n + 1, c, s), (n + 1, c, s + 1), (n, c, s + 1)),
    }[side]
    first, second, third, fourth = (project(*corner) for corner in corners)
    return Face((first, second, third, fourth), side, shares)
