"""Observing the layers of a network without changing it."""

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn


@contextlib.contextmanager
def leaving_no_trace(model: nn.Module) -> Iterator[None]:
    """Restore buffers, modes and torch's random state on the way out.

    This matters most for norms: a forward pass of a diagnostic would change the running averages, which the experiment
    is about.

    Args:
        model: The network to restore.
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

    A module that runs several times in the pass, as those of a recurrent cell do, has the values of all times, one
    after the other along the first axis: each time step counts as a sample. Where their shapes differ in another axis,
    as in a layer that is used at two sizes of an image, the first call alone is kept.

    Args:
        modules: Role -> module whose inputs and outputs are collected. Those of later times are joined at the end.
    """
    inputs: dict[str, Tensor] = {}
    outputs: dict[str, Tensor] = {}
    later: dict[str, list[tuple[Tensor, Tensor]]] = {}
    hooks = []

    for role, module in modules.items():

        def listen(_: nn.Module, args: tuple[Tensor, ...], output: Tensor, role: str = role) -> None:
            seen = args[0].detach(), output.detach()
            if role in inputs:
                later.setdefault(role, []).append(seen)
            else:
                inputs[role], outputs[role] = seen

        hooks.append(module.register_forward_hook(listen))
    try:
        yield inputs, outputs
    finally:
        for hook in hooks:
            hook.remove()
        for role, seen in later.items():  # at once: joining them one by one would copy the first ones many times
            given, returned = zip(*seen, strict=True)
            if any(x.shape[1:] != inputs[role].shape[1:] for x in given) or any(
                y.shape[1:] != outputs[role].shape[1:] for y in returned
            ):
                continue
            inputs[role], outputs[role] = torch.cat([inputs[role], *given]), torch.cat([outputs[role], *returned])


@contextlib.contextmanager
def shifted(shifts: Mapping[str, tuple[nn.Module, Tensor]]) -> Iterator[None]:
    """Add a tensor to a module's input in the next forward pass; the gradient by zeros is the gradient by the input.

    Args:
        shifts: Role -> (module, tensor of its input's shape; of all its inputs, joined, where it runs several times,
            or of its first input alone).
    """
    hooks = []
    for module, shift in shifts.values():
        left = {"shift": shift}  # its part for this time, and those for later times, if there are any

        def add(_: nn.Module, args: tuple[Tensor, ...], left: dict[str, Tensor] = left) -> tuple[Tensor, ...]:
            if not len(left["shift"]):
                return args
            now, left["shift"] = left["shift"][: len(args[0])], left["shift"][len(args[0]) :]
            return (args[0] + now, *args[1:])

        hooks.append(module.register_forward_pre_hook(add))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
