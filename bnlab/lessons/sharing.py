"""Which values share a statistic, found by running the layer; nothing here is specific to a kind of norm.

The reach of a value is the set of outputs that change when the value changes, and of inputs that get a gradient from
its output. In a norm, that is the set of values that share the value's statistics.

Shape letters: N batch, C channels, S any number of spatial axes (none, L, HW, DHW).
"""

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bnlab.errors import ConfigError

LETTERS = {2: "NC", 3: "NCL", 4: "NCHW", 5: "NCDHW"}
"""Number of axes -> the letter of each."""

MAX_ROWS, MAX_COLUMNS = 8, 8
"""Largest number of samples and channels in a drawing; 8 cells of 7 characters fit into 80 columns."""

MAX_DRAWS = 20
"""Number of inputs tried until a gradient flows: a threshold behind the norm stops about half of them."""

MAX_SETS = 256
"""Largest number of sets of unequal size along one axis; with more, the axis counts as irregular."""


@dataclass(frozen=True)
class Axis:
    """One axis of the input, and how statistics use it.

    Attributes:
        letter: N, C, or a letter of a spatial axis: L; H, W; D, H, W.
        size: Number of indices of the axis.
        shared: Number of indices that belong to the first statistic: ``size`` if the axis is reduced, 1 if it is kept,
            a number between if it is divided into groups.
        num_sets: Number of sets of indices that have statistics of their own; 0 if the sets overlap.
    """

    letter: str
    size: int
    shared: int
    num_sets: int


@dataclass(frozen=True)
class Sharing:
    """Which values share a statistic.

    Attributes:
        axes: The axes of the input, in order.
        partition: Whether each value belongs to exactly one statistic, and all statistics to sets of one kind. If not,
            ``cells`` marks the values that the first output is tied to.
        num_values: Number of values of the first statistic, or that the first output depends on.
        num_statistics: Number of statistics; 0 if an output depends on its own input only.
        rows: The samples in a drawing, evenly spaced.
        columns: The channels in a drawing, evenly spaced.
        cells: For each row and column the number of its statistic, from 0; -1: no statistic.
        cells_split: Whether the positions of one cell belong to different statistics.
        through_gradient: Whether the gradient flows through the statistics; False if they are detached.
    """

    axes: tuple[Axis, ...]
    partition: bool
    num_values: int
    num_statistics: int
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    cells: tuple[tuple[int, ...], ...]
    cells_split: bool
    through_gradient: bool

    @property
    def has_statistics(self) -> bool:
        """Whether an output depends on more than its own input."""
        return self.num_values > 1


def run_layer(layer: nn.Module, x_NCS: Tensor, training: bool = True, seed: int = 0) -> Tensor:
    """Return a layer's output. The layer updates its buffers; the caller's random state does not change.

    Args:
        layer: The layer in float64.
        x_NCS: The input (N, C, *S) in float64.
        training: Whether to run in training mode, else in eval mode.
        seed: Seed of torch's random numbers during the call.

    Raises:
        ConfigError: The layer raised, or its output has another shape than the input.
    """
    layer.train(training)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would queue work for absent devices
            y_NCS = layer(x_NCS.clone())  # a layer may write into its input
    except ConfigError:
        raise
    except Exception as error:  # a user's own layer may raise anything
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"{type(layer).__name__} cannot take a float64 input of shape {tuple(x_NCS.shape)}: {said.rstrip('.')}. "
            "Try another --shape."
        ) from error
    if not isinstance(y_NCS, Tensor) or y_NCS.shape != x_NCS.shape:
        raise ConfigError(
            f"{type(layer).__name__} must give an output of its input's shape {tuple(x_NCS.shape)}, "
            f"got {tuple(y_NCS.shape) if isinstance(y_NCS, Tensor) else type(y_NCS).__name__}"
        )
    return y_NCS


def gradient(y: Tensor, x: Tensor, g: Tensor | None = None) -> Tensor:
    """Return the gradient of x by autograd; zeros where none arrives.

    Args:
        y: The output of a layer, or one value of it.
        x: The input of the layer, which requires a gradient.
        g: The gradient of y, in its shape; None: 1, for one value.
    """
    if not y.requires_grad:
        return torch.zeros_like(x)
    (dx,) = torch.autograd.grad(y, x, g, allow_unused=True)
    return torch.zeros_like(x) if dx is None else dx


def spread(size: int, at_most: int) -> tuple[int, ...]:
    """Return indices that represent an axis: all, or evenly spaced ones, so that each group is represented equally.

    Example:
        >>> spread(3, 8), spread(256, 4)
        ((0, 1, 2), (0, 64, 128, 192))
    """
    count = min(size, at_most)
    return tuple(i * size // count for i in range(count))


def samples_of(size: int, at_most: int) -> tuple[int, ...]:
    """Return indices of a range with both ends among them, in uneven steps, so that they vary along every axis.

    Example:
        >>> samples_of(3, 8), samples_of(64, 4)
        ((0, 1, 2), (0, 21, 42, 63))
    """
    count = min(size, at_most)
    return tuple(i * (size - 1) // max(count - 1, 1) for i in range(count))


def find_sharing(layer: nn.Module, shape: tuple[int, ...]) -> Sharing:
    """Find out which values share a statistic in training mode.

    Args:
        layer: Any layer (N, C, *S) -> (N, C, *S), in float64; it is not changed.
        shape: Shape of the input (N, C, *S).

    Raises:
        ConfigError: The layer does not accept the shape.
    """
    prober = _Prober(layer, shape)
    first, through_gradient = prober.reach((0,) * len(shape))
    indices = [_indices(first, axis) for axis in range(len(shape))]
    num_values = int(first.sum())
    labels = None  # for each axis, the number of the set of each index
    if num_values == math.prod(map(len, indices)):
        found = [_sets_along(prober, axis, indices[axis]) for axis in range(len(shape))]
        labels = found if all(found) and _is_so_elsewhere(prober, found) else None
    num_sets = [max(label) + 1 for label in labels] if labels else [0] * len(shape)
    rows, columns = spread(shape[0], MAX_ROWS), spread(shape[1], MAX_COLUMNS)

    def statistic_at(n: int, c: int) -> int:
        if labels is None:
            return 0 if bool(first[n, c].any()) else -1
        return (labels[0][n] * num_sets[1] + labels[1][c]) * math.prod(num_sets[2:]) if num_values > 1 else -1

    return Sharing(
        axes=tuple(map(Axis, LETTERS[len(shape)], shape, map(len, indices), num_sets)),
        partition=labels is not None,
        num_values=num_values,
        num_statistics=math.prod(num_sets) if labels and num_values > 1 else 0,
        rows=rows,
        columns=columns,
        cells=tuple(tuple(statistic_at(n, c) for c in columns) for n in rows),
        cells_split=any(number > 1 for number in num_sets[2:]),
        through_gradient=through_gradient,
    )


class _Prober:
    """Finds the reach of values in a layer, with random inputs."""

    def __init__(self, layer: nn.Module, shape: tuple[int, ...]) -> None:
        self.layer = copy.deepcopy(layer)
        numbers = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in self.layer.parameters():  # with a scale of 0 nothing would change
                parameter.add_(0.05 + 0.1 * torch.rand(parameter.shape, generator=numbers, dtype=torch.float64))
        self.numbers = numbers
        self.shape = shape

    def reach(self, place: tuple[int, ...]) -> tuple[Tensor, bool]:
        """Return the reach of a value as a mask, and whether the gradient alone finds all of it."""
        felt = torch.zeros(self.shape, dtype=torch.bool)
        moved = torch.zeros(self.shape, dtype=torch.bool)
        for draw in range(MAX_DRAWS):
            x = torch.randn(self.shape, generator=self.numbers, dtype=torch.float64).requires_grad_()
            y = run_layer(copy.deepcopy(self.layer), x)
            felt |= gradient(y[place], x) != 0  # no tolerance: where there is no dependence, the gradient is exactly 0
            moved |= self._moved_by(x, y, place)
            if draw >= 1 and felt[place]:
                break
        itself = torch.zeros_like(felt)
        itself[place] = True
        hidden = (moved & ~felt & ~itself).nonzero().tolist()[:3]  # values that the gradient missed
        through = not any(self._moved_by(x, y, tuple(other))[place] for other in hidden)
        return felt | moved | itself, through

    def _moved_by(self, x: Tensor, y: Tensor, place: tuple[int, ...]) -> Tensor:
        """Return a mask of the outputs that change when one value of the input changes."""
        changed = x.detach().clone()
        changed[place] += 1.5
        with torch.no_grad():
            return run_layer(copy.deepcopy(self.layer), changed) != y.detach()


def _indices(mask: Tensor, axis: int) -> tuple[int, ...]:
    others = [other for other in range(mask.dim()) if other != axis]
    return tuple(mask.sum(others).nonzero().flatten().tolist())


def _is_so_elsewhere(prober: _Prober, labels: list[list[int]]) -> bool:
    """Return whether the sets found along each axis through the first value hold for the last values too.

    They do not where one part of the channels is normalized over other axes than the rest, for one.
    """
    last = tuple(size - 1 for size in prober.shape)
    for place in {(0, last[1], *([0] * (len(last) - 2))), last}:
        expected = torch.ones(prober.shape, dtype=torch.bool)
        for axis, label in enumerate(labels):
            together = torch.tensor([number == label[place[axis]] for number in label])
            expected &= together.view([-1 if other == axis else 1 for other in range(len(last))])
        if not torch.equal(prober.reach(place)[0], expected):
            return False
    return True


def _sets_along(prober: _Prober, axis: int, first: tuple[int, ...]) -> list[int]:
    """Return for each index of an axis the number of its set; nothing if the sets overlap."""

    def set_at(index: int) -> tuple[int, ...]:
        place = [0] * len(prober.shape)
        place[axis] = index
        return _indices(prober.reach(tuple(place))[0], axis)

    size, width = prober.shape[axis], len(first)
    if first != tuple(range(width)):
        return []
    if width == size:
        return [0] * size
    if size % width == 0:  # probably equal sets, side by side: two more probes suffice
        second, last = tuple(range(width, 2 * width)), tuple(range(size - width, size))
        if set_at(width) == second and set_at(size - 1) == last:
            return [index // width for index in range(size)]
    labels = [0] * width
    for number in range(1, MAX_SETS):
        if len(labels) == size:
            return labels
        found = set_at(len(labels))
        if found != tuple(range(len(labels), len(labels) + len(found))):
            return []
        labels += [number] * len(found)
    return []
