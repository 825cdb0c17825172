"""How running statistics move: the update rule that fits their values before and after each batch.

Shape letters: C channels.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bnlab.conformance.inputs import random_input
from bnlab.conformance.states import states_of, tensor_named
from bnlab.conformance.subject import LayerError, Subject, once

NUM_BATCHES = 4
CLOSE = 1e-9
CLOSE_IN_SINGLE = 1e-4
"""Largest error of a fitted update, as a share of the values; the second for buffers that stay in float32."""


@dataclass(frozen=True)
class Move:
    """The update rule of one tensor: new = kept * old + taken * statistic, batch by batch.

    Attributes:
        statistic: The statistic of the batch, by its name in `statistics_of`.
        kept: Share of the old value, one number per batch.
        taken: Share of the statistic, one number per batch.
    """

    statistic: str
    kept: tuple[float, ...]
    taken: tuple[float, ...]

    @property
    def is_constant(self) -> bool:
        """Whether every batch after the first used the same shares."""
        return _alike(self.kept[1:]) and _alike(self.taken[1:])

    @property
    def share(self) -> float:
        """Share of the new value in the last batch."""
        return self.taken[-1]

    @property
    def excess(self) -> float:
        """Largest distance of the sum of both shares from 1."""
        return max(abs(old + new - 1) for old, new in zip(self.kept, self.taken, strict=True))

    @property
    def adds_up(self) -> bool:
        """Whether both shares add up to 1 in every batch."""
        return self.excess < CLOSE_IN_SINGLE

    @property
    def is_cumulative(self) -> bool:
        """Whether the tensor is the plain average over all batches."""
        return self._averages(1)

    @property
    def counts_the_start(self) -> bool:
        """Whether the tensor is the plain average over the starting value and all batches."""
        return self._averages(2)

    def _averages(self, first: int) -> bool:
        """Return whether the share of a batch is 1 over its number, where the first batch has this number."""
        return self.adds_up and all(abs(new - 1 / t) < CLOSE_IN_SINGLE for t, new in enumerate(self.taken, first))


@dataclass(frozen=True)
class History:
    """A layer's tensors before the first training batch and after each, and the statistics of the batches.

    Attributes:
        values: Name of the tensor -> its NUM_BATCHES + 1 values.
        batches: For each batch, name of a statistic -> its values (C,).
    """

    values: dict[str, list[Tensor]]
    batches: list[dict[str, Tensor]]


@once
def record(subject: Subject) -> History:
    """Return the history of a layer's tensors over a few training batches."""
    layer = subject.fresh()
    states = [states_of(layer)]
    batches = []
    for seed in range(NUM_BATCHES):
        x = random_input(subject.shape, seed + 10)
        batches.append(statistics_of(x))
        subject.run(layer, x)
        states.append(states_of(layer))
    names = [name for name in states[-1] if all(name in state for state in states) and name not in reshaped(subject)]
    return History({name: [state[name].value for state in states] for name in names}, batches)


def statistics_of(x: Tensor) -> dict[str, Tensor]:
    """Return the statistics of a batch, per channel, that a running statistic may average."""
    rows_C = x.transpose(0, 1).flatten(1)
    mean_C = rows_C.mean(1)
    biased_C, unbiased_C = rows_C.var(1, correction=0), rows_C.var(1, correction=1)
    square_C = rows_C.square().mean(1)
    return {
        "mean": mean_C,
        "biased variance": biased_C,
        "unbiased variance": unbiased_C,
        "biased standard deviation": biased_C.sqrt(),
        "unbiased standard deviation": unbiased_C.sqrt(),
        "mean square": square_C,
        "root mean square": square_C.sqrt(),
        "sum": rows_C.sum(1),
        "sum of squared deviations": biased_C * rows_C.shape[1],
        "inverse standard deviation": biased_C.rsqrt(),
        "mean absolute deviation": (rows_C - mean_C[:, None]).abs().mean(1),
    }


@once
def reshaped(subject: Subject) -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
    """Return the tensors that take another shape in training: name -> the shapes before and after."""
    found: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}
    for shape in subject.shapes.values():
        layer = subject.fresh()
        before = {name: tuple(state.value.shape) for name, state in states_of(layer).items()}
        with contextlib.suppress(LayerError):  # other laws tell of it
            subject.run(layer, random_input(shape))
        after = {name: tuple(tensor_named(layer, name).shape) for name in before}
        found |= {name: (before[name], after[name]) for name in before if before[name] != after[name]}
    return found


@once
def roles_of(subject: Subject) -> tuple[str, str] | None:
    """Return the names of the tensors that hold the running mean and the running variance; None if there are none.

    They are found by their names, else by how training moves them.
    """
    history = record(subject)
    candidates = [
        name
        for name, values in history.values.items()
        if values[0].numel() == subject.num_channels
        and name not in reshaped(subject)
        and values[0].is_floating_point()
        and name not in subject.affine.names
    ]
    mean = _called(candidates, ("mean", "mu", "avg"))
    var = _called(candidates, ("var", "sigma", "std", "sq"))
    if mean is None or var is None:
        moves = {name: move_of(history, name) for name in candidates}
        mean = mean or next((n for n, move in moves.items() if move and move.statistic == "mean"), None)
        var = var or next((n for n, move in moves.items() if move and n != mean and "varia" in move.statistic), None)
    return None if mean is None or var is None else (mean, var)


def move_of(history: History, name: str) -> Move | None:
    """Return the update rule of a tensor, or None if no statistic of the batch explains it.

    If several statistics fit, since one is a multiple of another, the one whose shares add up to 1 is returned.
    """
    values = [value.double().reshape(-1) for value in history.values[name]]
    for close in (CLOSE, CLOSE_IN_SINGLE):
        found = (_move_by(history, values, statistic, close) for statistic in history.batches[0])
        moves = [move for move in found if move is not None]
        if moves:
            best = min(moves, key=lambda move: move.excess)
            return best if best.adds_up else moves[0]
    return None


def _move_by(history: History, values: list[Tensor], statistic: str, close: float) -> Move | None:
    seen = [batch[statistic] for batch in history.batches]
    if values[0].shape != seen[0].shape:
        return None
    fits = [_fit(old, new, s, close) for old, new, s in zip(values, values[1:], seen, strict=False)]
    found = [fit for fit in fits if fit is not None]
    if len(found) < len(fits) or all(abs(taken) < CLOSE for _, taken in found):
        return None
    kept, taken = zip(*found, strict=True)
    return Move(statistic, kept, taken)


def _fit(old_C: Tensor, new_C: Tensor, seen_C: Tensor, close: float) -> tuple[float, float] | None:
    """Return kept and taken with new = kept * old + taken * seen; None if no two numbers fit.

    If the old value is zero, its share cannot be measured and is taken to be 1 - taken.
    """
    if old_C.numel() < 3 or not bool(torch.isfinite(new_C).all()):
        return None
    blind = not bool(old_C.any())
    columns = seen_C[:, None] if blind else torch.stack([old_C, seen_C], 1)
    shares = torch.linalg.lstsq(columns, new_C[:, None]).solution
    misfit = (columns @ shares - new_C[:, None]).abs().max()
    if float(misfit) > close * float(new_C.abs().max()):
        return None
    if blind:
        return 1 - float(shares[0]), float(shares[0])
    return float(shares[0]), float(shares[1])


def _called(names: Sequence[str], words: Sequence[str]) -> str | None:
    return next((name for name in names if any(word in name.rpartition(".")[2].lower() for word in words)), None)


def _alike(values: Sequence[float]) -> bool:
    return max(values) - min(values) < CLOSE_IN_SINGLE
