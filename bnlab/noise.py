"""Chance that a network draws while it trains: dropout, norms that add noise.

A run alone draws from torch's global random state, which its seed has set. Runs that are trained together must each see
the draws that they would see alone, and vmap's own randomness cannot give them: so a layer asks here, and a cohort
hands in what each run's own generator gave. A draw is laid out as torch lays tensors out by default, whatever the
layout of what it disturbs: the same run draws the same in every layout.
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
        shape: Of the tensor, for one run.
        dtype: Of the tensor.
        probability: Of a 1; without meaning for the others.
    """

    kind: Literal["bernoulli", "uniform", "normal"]
    shape: tuple[int, ...]
    dtype: torch.dtype
    probability: float = 0.5

    def fill(self, room: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Fill a tensor, and return it.

        Args:
            room: Contiguous, of this shape and type.
            generator: Where chance comes from; None: torch's global random state.
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

    def take(self, draw: Draw, device: torch.device) -> Tensor:  # noqa: ARG002  (it lies where its maker put it)
        tensor = next(self._tensors)
        assert tuple(tensor.shape) == draw.shape
        return tensor


class _Record:
    def __init__(self) -> None:
        self.draws: list[Draw] = []

    def take(self, draw: Draw, device: torch.device) -> Tensor:
        self.draws.append(draw)
        return torch.ones(draw.shape, dtype=draw.dtype, device=device)


_source: _Source | None = None  # a plain global, as torch's random state is: compilers read it as a constant


def bernoulli(probability: float, shape: Iterable[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return ones with a probability, else zeros, each by itself.

    Args:
        probability: Of a 1.
        shape: Of the tensor.
        dtype: Of the tensor.
        device: Of the tensor.
    """
    return _drawn(Draw("bernoulli", tuple(shape), dtype, probability), device)


def uniform(shape: Iterable[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return numbers from U(0, 1), each by itself.

    Args:
        shape: Of the tensor.
        dtype: Of the tensor.
        device: Of the tensor.
    """
    return _drawn(Draw("uniform", tuple(shape), dtype), device)


def normal(shape: Iterable[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return numbers from N(0, 1), each by itself.

    Args:
        shape: Of the tensor.
        dtype: Of the tensor.
        device: Of the tensor.
    """
    return _drawn(Draw("normal", tuple(shape), dtype), device)


def _drawn(draw: Draw, device: torch.device) -> Tensor:
    if _source is not None:
        return _source.take(draw, device)
    if draw.kind == "bernoulli":
        return draw.fill(torch.empty(draw.shape, dtype=draw.dtype, device=device))
    make = torch.rand if draw.kind == "uniform" else torch.randn  # what vmap can make anew for each of its samples
    return make(draw.shape, dtype=draw.dtype, device=device)


@contextlib.contextmanager
def supplied(tensors: Iterable[Tensor]) -> Iterator[None]:
    """Let layers take what was drawn for them, in order; torch's random state is left alone.

    Args:
        tensors: One for each draw that the layers will ask for.
    """
    with _drawing_from(_Supply(tensors)):
        yield


@contextlib.contextmanager
def recorded() -> Iterator[list[Draw]]:
    """Collect what layers ask for, and give them ones.

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
