"""Looking inside a network without leaving a trace."""

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn


@contextlib.contextmanager
def leaving_no_trace(model: nn.Module) -> Iterator[None]:
    """Restore buffers, modes and torch's random state on the way out.

    For norms it matters more than elsewhere: a forward pass made only to look would move the running averages
    that the experiment is about.

    Args:
        model: What will be looked at.
    """
    modes = {module: module.training for module in model.modules()}
    # by module and name: a layer may put a new tensor in a buffer's place, and that must be undone too
    buffers = [(module, dict(module._buffers)) for module in model.modules()]
    values = {buffer: buffer.clone() for buffer in model.buffers()}
    with torch.random.fork_rng():
        try:
            yield
        finally:
            with torch.no_grad():
                for buffer, value in values.items():
                    buffer.copy_(value)
            for module, by_name in buffers:
                module._buffers.clear()
                module._buffers.update(by_name)
            for module, mode in modes.items():
                module.training = mode


@contextlib.contextmanager
def tapped(modules: Mapping[str, nn.Module]) -> Iterator[tuple[dict[str, Tensor], dict[str, Tensor]]]:
    """Collect the inputs and outputs of modules in the next forward pass, by role, detached.

    Args:
        modules: What to listen to.
    """
    inputs: dict[str, Tensor] = {}
    outputs: dict[str, Tensor] = {}
    hooks = []

    for role, module in modules.items():

        def listen(_: nn.Module, args: tuple[Tensor, ...], output: Tensor, role: str = role) -> None:
            inputs[role], outputs[role] = args[0].detach(), output.detach()

        hooks.append(module.register_forward_hook(listen))
    try:
        yield inputs, outputs
    finally:
        for hook in hooks:
            hook.remove()


@contextlib.contextmanager
def shifted(shifts: Mapping[str, tuple[nn.Module, Tensor]]) -> Iterator[None]:
    """Add a tensor to what a module sees in the next forward pass; zeros make its gradient one's own to ask for.

    Args:
        shifts: Role -> (module, tensor of its input's shape).
    """
    hooks = []
    for module, shift in shifts.values():

        def add(_: nn.Module, args: tuple[Tensor, ...], shift: Tensor = shift) -> tuple[Tensor, ...]:
            return (args[0] + shift, *args[1:])

        hooks.append(module.register_forward_pre_hook(add))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
