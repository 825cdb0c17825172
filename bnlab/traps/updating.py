"""Counts how often one training step updates the running statistics of each norm: in its forward pass and backward."""

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from bnlab.diagnostics.taps import leaving_no_trace
from bnlab.traps.watching import tensors_in


@dataclass
class Updates:
    """How often one training step changed the buffers of a module.

    Attributes:
        role: The name of the module in the network.
        module: The module that holds the buffers.
        forward: Updates during the forward pass.
        backward: Updates during the backward pass: activation checkpointing runs the forward pass again.
    """

    role: str
    module: nn.Module
    forward: int = 0
    backward: int = 0


@dataclass
class _Counter:
    """Counts the calls of one module that change its buffers."""

    updates: Updates
    is_backward: bool = False
    before: list[tuple[int, int, Tensor]] = field(default_factory=list)

    def enter(self, module: nn.Module, _args: Any) -> None:
        self.before = _state_of(module)

    def leave(self, module: nn.Module, _args: Any, _output: Any) -> None:
        if _has_moved(self.before, _state_of(module)):
            if self.is_backward:
                self.updates.backward += 1
            else:
                self.updates.forward += 1


def count_updates(model: nn.Module, *inputs: Any) -> list[Updates]:
    """Return the modules with running values that one training step updates more than once.

    Buffers, gradients, modes, hooks and random state are restored.

    Args:
        model: The network whose norms are counted; it is left as it was.
        *inputs: The arguments of the network, which must be able to process them.
    """
    counters = {module: _Counter(Updates(name or type(module).__name__, module)) for name, module in _holders(model)}
    if not counters:
        return []
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(leaving_no_trace(model))
        stack.enter_context(warnings.catch_warnings(action="ignore"))
        for module, counter in counters.items():
            stack.callback(module.register_forward_pre_hook(counter.enter).remove)
            # a recomputation ends with an exception as soon as the backward pass has all that it needs
            stack.callback(module.register_forward_hook(counter.leave, always_call=True).remove)
        model.train()
        for parameter, _ in gradients:
            parameter.grad = None  # else the backward pass adds to it in place
        copies = [value.clone() if isinstance(value, Tensor) else value for value in inputs]
        try:
            output = model(*copies)
            for counter in counters.values():
                counter.is_backward = True
            ends = [value.abs().float().mean() for value in tensors_in(output) if value.requires_grad]
            torch.autograd.backward(ends)
        except Exception:  # it cannot be trained on this example, or without its own loss: other traps tell of it
            pass
        finally:
            for parameter, gradient in gradients:
                parameter.grad = gradient
    return [c.updates for c in counters.values() if c.updates.forward > 1 or c.updates.backward]


def _holders(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules that hold buffers of real numbers, but for transformations of weights (spectral norm)."""
    for name, module in model.named_modules():
        if "parametrizations" not in name.split(".") and _state_of(module):
            yield name, module


def _state_of(module: nn.Module) -> list[tuple[int, int, Tensor]]:
    """Return identity, count of changes and value of the buffers of real numbers; on meta of all buffers."""
    buffers = [buffer for buffer in module._buffers.values() if buffer is not None]
    if not any(buffer.is_floating_point() for buffer in buffers):
        return []
    told = [buffer for buffer in buffers if buffer.is_floating_point() or buffer.is_meta]
    return [(id(buffer), buffer._version, buffer.detach().clone()) for buffer in told]


def _has_moved(before: list[tuple[int, int, Tensor]], after: list[tuple[int, int, Tensor]]) -> bool:
    """Return whether a value changed; on the meta device, which has no values, whether a buffer was written to."""
    if len(before) != len(after):
        return True
    for (old, changes, was), (new, more, value) in zip(before, after, strict=True):
        if value.is_meta and ((old, changes) != (new, more)):
            return True
        if not value.is_meta and not torch.equal(was.nan_to_num(), value.nan_to_num()):
            return True
    return False
