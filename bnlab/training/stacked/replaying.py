"""Repeats what a function of stacked tensors did, without its Python: what is small costs its calls alone."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast

import torch
from torch import Tensor
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from bnlab.training.stacked.graph import shorten
from bnlab.training.stacked.tracing import ForeignTensorError, trace

Result = TypeVar("Result")

NUM_KEPT = 32
"""Functions that a process keeps, as operations: 10 to 100 kB each, and a few small constants."""

LARGEST_CONSTANT = 4_096
"""Numbers in the largest constant that is kept with a function; a larger one is made at each call. An rnn has hundreds,
of 100 MB in all."""


@dataclass(frozen=True)
class _Kept:
    """A function as operations: a flat list of tensors -> a flat list of results, and how these are arranged."""

    operations: Callable[..., list[Tensor]]
    arrangement: TreeSpec


_kept: dict[object, _Kept | Literal["called once", "to be called"]] = {}
"""What was called -> its operations, if they have been recorded, and can be."""


def replayed(key: object, function: Callable[..., Result], *values: Any) -> Result:
    """Return what a function returns, to the bit; from its third call on by the operations of its second call.

    The first call is as it is: many functions are called once, and recording takes longer than a call. What computes
    with anything but torch's operations, such as NumPy's, is called each time.

    Args:
        key: All that decides what the function does, but for the tensors.
        function: A function of ``values``, and of no other tensor that changes; it must not keep any.
        values: Tensors, or dictionaries, lists and tuples of tensors.
    """
    tensors, arrangement = tree_flatten(values)
    whole = (key, str(arrangement), tuple((x.shape, x.stride(), x.dtype, x.device) for x in tensors))
    if whole not in _kept:
        while len(_kept) >= NUM_KEPT:
            del _kept[next(iter(_kept))]
        _kept[whole] = "called once"
        return function(*values)
    known = _kept[whole]
    if known == "called once":
        _kept[whole] = "to be called"
        with contextlib.suppress(ForeignTensorError):
            _kept[whole], found = _recorded(function, tensors, arrangement)
            return cast("Result", found)
    if isinstance(known, _Kept):
        return cast("Result", tree_unflatten(known.operations(*tensors), known.arrangement))
    return function(*values)


def _recorded(function: Callable[..., Any], tensors: list[Tensor], arrangement: TreeSpec) -> tuple[_Kept, Any]:
    """Call a function; return its operations, and its results."""
    results: list[Any] = []

    def flat(*inputs: Tensor) -> list[Tensor]:
        results.append(function(*tree_unflatten(list(inputs), arrangement)))
        return tree_flatten(results[0])[0]

    with torch.no_grad():
        graph = trace(flat, *tensors, with_constants=False)
    return _Kept(shorten(graph, LARGEST_CONSTANT), tree_flatten(results[0])[1]), results[0]
