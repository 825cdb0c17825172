"""Observes one forward pass: the input of each norm, the layer it comes from, and which layers overwrite outputs."""

import contextlib
import functools
import inspect
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from bnlab.diagnostics.taps import leaving_no_trace
from bnlab.traps.facts import NormFacts, facts_of

_LINEAR_MAPS = (nn.Linear, nn.modules.conv._ConvNd)
_DROPOUTS = (F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout)


@dataclass(frozen=True)
class NormUse:
    """A norm in a forward pass.

    Attributes:
        role: The name of the module in the network.
        module: The norm itself, a module of the network.
        facts: Its kind, and the number of values per statistic.
        shape: The shape of its input.
        biased_map: The linear map with a bias whose output is used by this norm alone; None: there is none.
        dropout: The last dropout layer that its input has passed through, directly or not; None: there is none.
        cancels_at: The largest mean of a group of its input, in standard deviations, where the layer takes the variance
            as E[x^2] - E[x]^2; 0 where it does not.
        overflows_at: The largest variance of a channel of its input, where that is above the largest number of its
            running variance's type; 0 where it is not.
    """

    role: str
    module: nn.Module
    facts: NormFacts
    shape: tuple[int, ...]
    biased_map: str | None
    dropout: str | None
    cancels_at: float
    overflows_at: float


@dataclass
class Pass:
    """The observations of a forward pass in training mode.

    Attributes:
        norms: The norms in the order in which they ran.
        overwritten: Layers whose output was changed later.
        overwriters: Layers that changed their input. Other changes come from code between layers, such as ``x += y``.
        input_overwritten: Whether the network's own input was changed.
        error: The error that ended the pass; None: the pass was complete.
    """

    norms: list[NormUse] = field(default_factory=list)
    overwritten: list[str] = field(default_factory=list)
    overwriters: list[str] = field(default_factory=list)
    input_overwritten: bool = False
    error: Exception | None = None


def watch(model: nn.Module, *inputs: Any) -> Pass:
    """Run a network once, in training mode and without gradients; network and input do not change.

    Args:
        model: The network, on any device; on ``meta`` the pass costs next to nothing.
        *inputs: The arguments of the network: one small batch.
    """
    seen = Pass()
    around = "net." if getattr(model, "is_foreign", False) else ""  # its owner gave it the names behind that
    names = {module: name.removeprefix(around) or type(module).__name__ for name, module in model.named_modules()}
    watcher = _Watcher(names, seen)
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))  # in inference mode a tensor does not count its changes
        stack.enter_context(torch.no_grad())
        stack.enter_context(leaving_no_trace(model))
        stack.enter_context(warnings.catch_warnings(action="ignore"))  # torch warns of some traps too
        copies = [value.clone() if isinstance(value, Tensor) else value for value in inputs]
        before = [value._version for value in copies if isinstance(value, Tensor)]
        for module in names:
            stack.callback(module.register_forward_pre_hook(watcher.enter, with_kwargs=True).remove)
            stack.callback(module.register_forward_hook(watcher.leave, with_kwargs=True).remove)
        stack.enter_context(watcher)
        model.train()
        output = None
        try:
            output = model(*copies)
        except Exception as error:
            seen.error = error
        watcher.conclude(output)
        seen.input_overwritten = before != [value._version for value in copies if isinstance(value, Tensor)]
    return seen


class _Watcher(TorchFunctionMode):
    """Follows tensors through modules and through the functions between them.

    Tensors of interest are kept until the end, so that Python does not reuse their ids.
    """

    def __init__(self, names: Mapping[nn.Module, str], seen: Pass) -> None:
        super().__init__()
        self.names = names
        self.seen = seen
        self.running: list[tuple[nn.Module, list[tuple[Tensor, int]]]] = []
        self.norms: list[tuple[nn.Module, NormFacts, Tensor, str | None]] = []
        self.outputs: list[tuple[str, Tensor, int]] = []
        self.biased_maps: dict[int, str] = {}
        self.used_elsewhere: set[int] = set()  # by anything except a norm that removes a channel's shift
        self.num_removing = 0  # the number of such norms running now
        self.dropped: dict[int, str] = {}
        self.kept: list[Tensor] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        results = list(tensors_in(result))
        if results:  # otherwise it only read a shape or a type
            given = list(tensors_in((args, kwargs)))
            if not self.num_removing:
                self.used_elsewhere.update(id(tensor) for tensor in given)
            drops = func in _DROPOUTS and _is_active(func, args, kwargs or {})
            place = self.names[self.running[-1][0]] if drops and self.running else self._dropout_of(given)
            self._mark(results, place)
        return result

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = list(tensors_in((args, kwargs)))
        self.running.append((module, [(tensor, tensor._version) for tensor in given]))
        facts = facts_of(module, tuple(given[0].shape)) if given else None
        if facts is not None:
            self.norms.append((module, facts, given[0], self._dropout_of(given)))
            self.num_removing += facts.removes_channel_shift

    def leave(self, module: nn.Module, _args: tuple[Any, ...], _kwargs: dict[str, Any], output: Any) -> None:
        _, given = self.running.pop()
        results = list(tensors_in(output))
        drops = (
            isinstance(module, nn.modules.dropout._DropoutNd) and module.training and module.p > 0
        )  # or its function
        self._mark(results, self.names[module] if drops else self._dropout_of([tensor for tensor, _ in given]))
        facts = facts_of(module, tuple(given[0][0].shape)) if given else None
        if facts is not None:
            self.num_removing -= facts.removes_channel_shift
        if isinstance(module, _LINEAR_MAPS) and module.bias is not None and results:
            self.kept.append(results[0])
            self.biased_maps[id(results[0])] = self.names[module]
            self.used_elsewhere.discard(id(results[0]))  # the id of an earlier tensor, deleted by now
        if any(True for _ in module.children()):  # its children were observed already
            return
        if any(tensor._version != version for tensor, version in given):
            self.seen.overwriters.append(self.names[module])
        self.outputs.extend((self.names[module], tensor, tensor._version) for tensor in results)

    def conclude(self, output: Any) -> None:
        """Add the observations that are complete only at the end of the pass."""
        self.used_elsewhere.update(id(tensor) for tensor in tensors_in(output))
        self.seen.overwritten.extend(name for name, tensor, version in self.outputs if tensor._version != version)
        for module, facts, tensor, dropout in self.norms:
            biased_map = None if id(tensor) in self.used_elsewhere else self.biased_maps.get(id(tensor))
            told = (self.names[module], module, facts, tuple(tensor.shape), biased_map, dropout)
            self.seen.norms.append(NormUse(*told, _cancels_at(module, tensor), _overflows_at(module, facts, tensor)))

    def _dropout_of(self, tensors: list[Tensor]) -> str | None:
        return next((self.dropped[id(tensor)] for tensor in tensors if id(tensor) in self.dropped), None)

    def _mark(self, tensors: list[Tensor], place: str | None) -> None:
        if place is not None:
            self.dropped.update((id(tensor), place) for tensor in tensors)
            self.kept.extend(tensors)


def _cancels_at(module: nn.Module, x: Tensor) -> float:
    """Return `NormUse.cancels_at`. torch 2.14's GroupNorm does so on a CPU, for images with their channels last."""
    if not isinstance(module, nn.GroupNorm) or x.dim() < 4 or not x.stride(1) == 1 < x.shape[1]:
        return 0.0
    if x.device.type != "cpu" or x.dtype == torch.float64:
        return 0.0
    std, mean = torch.std_mean(x.double().reshape(x.shape[0], module.num_groups, -1), dim=2, correction=0)
    return float((mean.abs() / (std + module.eps**0.5)).max())


def _overflows_at(module: nn.Module, facts: NormFacts, x: Tensor) -> float:
    """Return `NormUse.overflows_at`. A training output may be right all the same: it is computed in float32."""
    if not facts.keeps_running_statistics or x.is_meta or x.dim() < 2:
        return 0.0
    largest = min((torch.finfo(b.dtype).max for b in module.buffers() if b.is_floating_point()), default=math.inf)
    variance = float(x.double().transpose(0, 1).flatten(1).var(1, correction=0).max())
    return variance if variance > largest else 0.0


def _is_active(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    bound = _signature(func).bind(*args, **kwargs)
    bound.apply_defaults()
    return bool(bound.arguments["training"]) and bound.arguments["p"] > 0


_signature = functools.cache(inspect.signature)


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in nested tuples, lists and dictionaries."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from tensors_in(part)
    elif isinstance(value, tuple | list):
        for part in value:
            yield from tensors_in(part)
