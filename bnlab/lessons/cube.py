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

SIDES = {"top": (0, 1), "left": (1, 2), "right": (0, 2)}
"""The axes of the block, of N, C and positions, that span each of its visible sides."""

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

    corners: tuple[Point, ...]
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

    sizes = (len(sharing.rows), len(sharing.columns), len(drawn))
    faces = tuple(
        Face(_corners(place, *spanned), side, shares(*place))
        for side, spanned in SIDES.items()
        for place in itertools.product(*(range(size if axis in spanned else 1) for axis, size in enumerate(sizes)))
    )
    return Cube(faces, *sizes)


def project(n: float, c: float, s: float) -> Point:
    """Return a point of the block in the drawing: channels go to the left, samples to the right, positions down."""
    return ((n - c) * COS, (n + c) * SIN - s)


def _corners(place: tuple[int, ...], first: int, second: int) -> tuple[Point, ...]:
    """Return the corners of the side of a small cube that two axes span."""
    steps: tuple[dict[int, int], ...] = ({}, {first: 1}, {first: 1, second: 1}, {second: 1})
    return tuple(project(*(at + step.get(axis, 0) for axis, at in enumerate(place))) for step in steps)
