"""Slices through the loss around the weights of a model, computed on demand.

A direction is random, and each row (filter) of it has the length of the weight's row: a step of 1 changes every filter
by its own length. Vectors (biases, gamma, beta) are held fixed: a step relative to their length would be 0 for a beta
of zero.

Shape letters: A and B steps along two directions.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

from bnlab.diagnostics.curvature import row_lengths
from bnlab.diagnostics.diagnostic import Batch
from bnlab.diagnostics.measuring import looking_at
from bnlab.diagnostics.passes import Named, Passes
from bnlab.seeding import generator_for

Direction = Literal["random", "gradient"]
FloatArray = npt.NDArray[np.float64]

MOST_AT_ONCE = 1000
"""Images per pass in eval mode, at most."""


@dataclass(frozen=True)
class LossSlice:
    """Losses around a model's weights.

    Attributes:
        steps: Steps along the first direction; a step of 1 changes every filter by its own length.
        other_steps: Steps along the second direction; (0.0,) for a line.
        train_loss: Mean loss at each point, (A, B), with the statistics of each batch.
        eval_loss: Mean loss at each point, (A, B), with the present running statistics.
    """

    steps: tuple[float, ...]
    other_steps: tuple[float, ...]
    train_loss: FloatArray
    eval_loss: FloatArray


def slice_1d(
    model: nn.Module,
    batches: Sequence[Batch],
    *,
    span: float = 1.0,
    num_points: int = 51,
    seed: int = 0,
    direction: Direction = "random",
) -> LossSlice:
    """Return the loss along one direction.

    Args:
        model: The model; it is not changed.
        batches: The batches whose mean loss is computed; as large as in training, since norms use their statistics.
        span: The slice goes from -span to span.
        num_points: Number of points of the slice; with an odd number, the middle one is the weights themselves.
        seed: Seed of the random direction: equal seeds give equal directions in equal models.
        direction: ``random``, or ``gradient`` for the gradient of the training loss, with each filter scaled to the
            length of the weight's filter: filters with a tiny gradient move as far as the others.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 2))
        >>> found = slice_1d(model, [Batch(torch.randn(8, 3), torch.arange(8) % 2)], num_points=3)
        >>> found.steps, found.train_loss.shape
        ((-1.0, 0.0, 1.0), (3, 1))
    """
    steps = tuple(np.linspace(-span, span, num_points).tolist())
    with looking_at(model) as passes, torch.no_grad():
        along = _direction(passes, batches, seed, direction)
        return _slice(passes, batches, (along, {}), (steps, (0.0,)))


def slice_2d(
    model: nn.Module, batches: Sequence[Batch], *, span: float = 1.0, num_points: int = 21, seed: int = 0
) -> LossSlice:
    """Return the loss on a plane through two random directions.

    Args:
        model: The model; it is not changed.
        batches: The batches whose mean loss is computed, as in `slice_1d`.
        span: The slice goes from -span to span in both directions.
        num_points: Number of points along each direction.
        seed: Seed of the two directions; the first direction is that of `slice_1d`.
    """
    steps = tuple(np.linspace(-span, span, num_points).tolist())
    with looking_at(model) as passes, torch.no_grad():
        directions = (_random(passes, seed, "first"), _random(passes, seed, "second"))
        return _slice(passes, batches, directions, (steps, steps))


def _direction(passes: Passes, batches: Sequence[Batch], seed: int, kind: Direction) -> Named:
    if kind == "random":
        return _random(passes, seed, "first")
    total: Named = {}
    for batch in batches:
        gradient, _ = passes.gradient(*batch)
        share = {name: len(batch.labels) * g for name, g in gradient.items()}
        total = {name: total[name] + g for name, g in share.items()} if total else share
    return _normalized(passes, total)


def _random(passes: Passes, seed: int, which: str) -> Named:
    direction = {
        name: torch.randn(value.shape, generator=generator_for(seed, "slice", which, name)).to(value)
        for name, value in passes.parameters.items()
    }
    return _normalized(passes, direction)


def _normalized(passes: Passes, direction: Named) -> Named:
    """Return a direction whose filters have the length of the weights' filters; filters of zero stay zero."""
    wanted, own = row_lengths(passes.parameters), row_lengths(direction)
    return {
        name: direction[name] * length / torch.where(own[name] > 0, own[name], 1.0) for name, length in wanted.items()
    }


def _slice(
    passes: Passes,
    batches: Sequence[Batch],
    directions: tuple[Named, Named],
    steps: tuple[tuple[float, ...], tuple[float, ...]],
) -> LossSlice:
    shape = (len(steps[0]), len(steps[1]))
    losses = np.empty((2, *shape))
    num_images = sum(len(batch.labels) for batch in batches)
    by_mode = (True, batches), (False, _evened(batches))
    for (i, a), (j, b) in itertools.product(enumerate(steps[0]), enumerate(steps[1])):
        there = dict(passes.parameters)
        for step, direction in zip((a, b), directions, strict=True):
            there |= {name: there[name] + step * value for name, value in direction.items()}
        for mode, (training, cut) in enumerate(by_mode):
            total = sum(F.cross_entropy(passes.logits(x, there, training=training), y, reduction="sum") for x, y in cut)
            losses[mode, i, j] = float(total) / num_images
    return LossSlice(*steps, losses[0], losses[1])


def _evened(batches: Sequence[Batch]) -> list[Batch]:
    """Return the same images in batches of a fast size, for eval mode, where images do not affect each other."""
    parts = zip(*(torch.split(torch.cat(part), MOST_AT_ONCE) for part in zip(*batches, strict=True)), strict=True)
    return [Batch(*part) for part in parts]
