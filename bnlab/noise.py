"""Random numbers that layers draw during training: dropout, norms that add noise.

A run alone draws from torch's global random state, which is set from its seed. Each of several stacked runs must get
the draws that it would get alone, and vmap's own random functions cannot give them. So layers draw through this
module, and stacked runs supply the numbers from each run's own generator. A draw has torch's default memory layout,
for any layout of the data, so that a run draws the same numbers in every layout.
"""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class Draw:
    """One tensor of random numbers that a layer asks for.

    Attributes:
        kind: ``bernoulli`` (1 with the probability, else 0), ``uniform`` (on [0, 1)) or ``normal`` (of mean 0 and
            variance 1).
        shape: The shape of the tensor, for one run.
        dtype: The floating-point type of the tensor.
        probability: The probability of a 1, in [0, 1]; only ``bernoulli`` uses it.
    """

    kind: Literal["bernoulli", "uniform", "normal"]
    shape: tuple[int, ...]
    dtype: torch.dtype
    probability: float = 0.5

    def fill(self, room: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Fill a tensor, and return it.

        Args:
            room: A contiguous tensor of this shape and type.
            generator: The source of random numbers; None: torch's global random state.
        """
        if self.kind == "bernoulli":
            return room.bernoulli_(self.probability, generator=generator)
        if self.kind == "uniform":
            return room.uniform_(generator=generator)
        return room.normal_(generator=generator)


class _Source(Protocol):
    def take(self, draw: Draw, device: torch.device) -> Tensor: ...


class _Supply:
    def __init__(self, tensors: Iterable[Tensor]) -> None:
        self._tensors = iter(tensors)

    def take(self, draw: Draw, device: torch.device) -> Tensor:  # noqa: ARG002  (a supplied tensor is on its device already)
        tensor = next(self._tensors)
        assert tuple(tensor.shape) == draw.shape
        return tensor


class _Record:
    def __init__(self) -> None:
        self.draws: list[Draw] = []

    def take(self, draw: Draw, device: torch.device) -> Tensor:
        self.draws.append(draw)
        return torch.ones(draw.shape, dtype=draw.dtype, device=device)


_source: _Source | None = None  # a plain global, like torch's random state: compilers read it as a constant


def bernoulli(probability: float, shape: Iterable[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return independent draws: 1 with a probability, otherwise 0.

    Args:
        probability: The probability of a 1, in [0, 1].
        shape: The shape of the returned tensor.
        dtype: The floating-point type of the returned tensor.
        device: The device of the returned tensor.
    """
    return _drawn(Draw("bernoulli", tuple(shape), dtype, probability), device)


def uniform(shape: Iterable[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return independent draws from U(0, 1).

    Args:
        shape: The shape of the returned tensor.
        dtype: The floating-point type of the returned tensor.
        device: The device of the returned tensor.
    """
    return _drawn(Draw("uniform", tuple(shape), dtype), device)


def normal(shape: Iterable[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return independent draws from N(0, 1).

    Args:
        shape: The shape of the returned tensor.
        dtype: The floating-point type of the returned tensor.
        device: The device of the returned tensor.
    """
    return _drawn(Draw("normal", tuple(shape), dtype), device)


def _drawn(draw: Draw, device: torch.device) -> Tensor:
    if _source is not None:
        return _source.take(draw, device)
    if draw.kind == "bernoulli":
        return draw.fill(torch.empty(draw.shape, dtype=draw.dtype, device=device))
    make = torch.rand if draw.kind == "uniform" else torch.randn  # vmap can draw these for each of its samples
    return make(draw.shape, dtype=draw.dtype, device=device)


@contextlib.contextmanager
def supplied(tensors: Iterable[Tensor]) -> Iterator[None]:
    """Give layers these numbers instead of new draws, in order; torch's random state does not change.

    Args:
        tensors: One tensor for each draw that the layers will ask for.
    """
    with _drawing_from(_Supply(tensors)):
        yield


@contextlib.contextmanager
def recorded() -> Iterator[list[Draw]]:
    """Collect the draws that layers ask for, and give them tensors of ones.

    Example:
        >>> with recorded() as draws:
        ...     _ = normal((2, 3), torch.float32, torch.device("cpu"))
        >>> draws[0].kind, draws[0].shape
        ('normal', (2, 3))
    """
    record = _Record()
    with _drawing_from(record):
        yield record.draws


@contextlib.contextmanager
def _drawing_from(source: _Source) -> Iterator[None]:
    global _source
    before, _source = _source, source
    try:
        yield
    finally:
        _source = before
