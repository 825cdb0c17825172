"""State that a module keeps outside its state dict, where no saved file, no diagnostic and no other module finds it."""

import contextlib
import copy
import io
import pickle
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Run = Callable[[nn.Module, Tensor, bool], Tensor]
"""(module, input, whether in training mode) -> the output; the same random numbers are drawn in every call."""

_OF_TORCH = frozenset(vars(nn.Module()))
"""Attributes that every module has: torch's own tables, and the mode."""

_GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, np.random.BitGenerator, random.Random)
"""Sources of random numbers."""

ROUNDED = 1e-5
"""Largest difference, as a share of the largest value, that may be rounding where no attribute explains it."""


@dataclass(frozen=True)
class UnsavedState:
    """What a module loaded from a state dict does otherwise than the module that was trained.

    Attributes:
        names: Attributes, and buffers that are not saved, that the outputs depend on; without the names of modules.
        refusal: The error of loading, or of the loaded module; None: there was none.
        loads: Whether the loaded module gives the same output in eval mode.
        moves: Whether the attributes are changed by forward passes, and not only by the constructor.
        generators: Those of the names that stand for sources of random numbers, which no buffer can hold.
    """

    names: tuple[str, ...]
    refusal: str | None
    loads: bool
    moves: bool
    generators: tuple[str, ...] = ()


def find_unsaved_state(
    original: nn.Module, twin: nn.Module, batches: tuple[Tensor, Tensor], run: Run
) -> UnsavedState | None:
    """Train a module for two batches, load its state dict into another, and compare what the two do next.

    Args:
        original: A new module; it is changed.
        twin: A module built in the same way, which has processed nothing; it is changed.
        batches: Two different inputs of the network, which must change its state.
        run: Runs a module. What it raises for the original passes through.

    Returns:
        None if outputs in eval mode, and in training mode after it, are the same bit by bit. Where no attribute differs
        either, differences of the size of a rounding count as the same.
    """
    first, second = batches
    before = _copied(_unsaved_values(original))
    for x, training in ((first, True), (second, False), (second, True)):
        run(original, x, training)
    after = _copied(_unsaved_values(original))
    fresh = _copied(_unsaved_values(twin))
    names, moves = _differing(after, fresh), bool(_differing(before, after))
    try:
        state = _saved_and_read(original.state_dict())
    except Exception as error:
        return UnsavedState(_last_of(names), _reason(error), loads=False, moves=moves)
    # the second batch first: a layer that sets itself up on its first batch has done so on the other one
    passes = ((second, False), (second, True), (first, False))
    expected = [run(original, x, training) for x, training in passes]

    def gaps_with(values: Mapping[str, Any]) -> list[float]:
        """Return how far the twin is from the original, if it has these attributes and the state dict."""
        twin.load_state_dict(state)
        _set(twin, _copied(values))
        return [_gap(run(twin, x, training), y) for (x, training), y in zip(passes, expected, strict=True)]

    try:
        gaps = gaps_with({})
        if max(gaps) <= (0.0 if names else ROUNDED):
            return None
        by_name = {last: [name for name in names if name.rpartition(".")[2] == last] for last in _last_of(names)}
        needed = [
            last
            for last, same in by_name.items()
            if max(gaps_with(after | {name: fresh[name] for name in same if name in fresh})) > 0
        ]
    except Exception as error:
        return UnsavedState(_last_of(names), _reason(error), loads=False, moves=moves)
    blamed = tuple(needed) or _last_of(names)
    generators = _last_of(name for name, value in after.items() if isinstance(value, _GENERATORS))
    return UnsavedState(
        blamed,
        None,
        loads=gaps[0] <= (0.0 if names else ROUNDED),
        moves=moves or not names,
        generators=tuple(name for name in blamed if name in generators),
    )


@contextlib.contextmanager
def keeping_attributes(module: nn.Module) -> Iterator[list[str]]:
    """Restore plain attributes on the way out, and fill a list with the names of those that had changed.

    Args:
        module: The module, all parts of which are looked at.
    """
    before = _copied(_unsaved_values(module))
    changed: list[str] = []
    try:
        yield changed
    finally:
        changed += _differing(before, _unsaved_values(module))
        _set(module, {name: before[name] for name in changed if name in before})


def keeps_tensors(module: nn.Module) -> bool:
    """Return whether a plain attribute, or a buffer that is not saved, is a tensor."""
    return any(isinstance(value, Tensor) for value in _unsaved_values(module).values())


def _saved_and_read(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a state dict after a way through a file, as checkpoints hold it: tensors and plain values only."""
    file = io.BytesIO()
    torch.save(dict(state), file)
    file.seek(0)
    content: dict[str, Any] = torch.load(file, weights_only=True)
    return content


def _gap(actual: Tensor, expected: Tensor) -> float:
    """Return the largest difference, as a share of the largest value; 0 only if the bits are the same."""
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        return float("inf")
    same = (actual == expected) | (actual.isnan() & expected.isnan())
    if bool(same.all()):
        return 0.0
    gap = (actual - expected)[~same].abs().double().nan_to_num(nan=float("inf")).max()
    return float(gap / expected.abs().double().nan_to_num().max().clamp(min=1e-30))


def _unsaved_values(module: nn.Module) -> dict[str, Any]:
    """Return the attributes and the buffers that are not saved, by dotted names."""
    found: dict[str, Any] = {}
    for path, part in module.named_modules():
        own = {name: value for name, value in vars(part).items() if name not in _OF_TORCH}
        own |= {name: value for name, value in part._buffers.items() if name in part._non_persistent_buffers_set}
        found |= {f"{path}.{name}".removeprefix("."): value for name, value in own.items()}
    return found


def _set(module: nn.Module, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        path, _, last = name.rpartition(".")
        part = module.get_submodule(path)
        if last in part._buffers:
            part._buffers[last] = value
        else:
            vars(part)[last] = value


def _copied(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return copies that later changes do not reach, as far as values can be copied."""
    return {name: _copy(value) for name, value in values.items()}


def _copy(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone()
    if type(value) in {list, tuple, deque}:
        parts = [_copy(part) for part in value]
        return deque(parts, value.maxlen) if isinstance(value, deque) else type(value)(parts)
    if type(value) is dict:
        return {key: _copy(part) for key, part in value.items()}
    try:
        return copy.deepcopy(value)
    except Exception:  # a lock, a generator
        return value


def _last_of(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.rpartition(".")[2] for name in names))


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[str, ...]:
    names = [*one, *(name for name in other if name not in one)]
    return tuple(n for n in names if (n in one) != (n in other) or not _same(one[n], other[n]))


def _same(one: Any, other: Any) -> bool:
    """Return whether two values are the same; of values that cannot be compared it is taken for granted."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.shape == other.shape and _gap(one.detach(), other.detach()) == 0
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple | deque) and isinstance(other, list | tuple | deque):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, torch.Generator) and isinstance(other, torch.Generator):
        return torch.equal(one.get_state(), other.get_state())
    if isinstance(one, bool | int | float | complex | str | bytes | None) or type(one) is not type(other):
        return type(one) is type(other) and (one == other or one != one)
    try:
        return pickle.dumps(one) == pickle.dumps(other)
    except Exception:
        return True


def _reason(error: Exception) -> str:
    """Return what an error says, on one line; torch's errors of loading begin with a line that says nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[1] if len(lines) > 1 and lines[0].startswith("Error(s) in loading") else lines[0]
