"""The tensors of a layer: buffers, parameters and plain attributes."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

Kind = Literal["buffer", "buffer that is not saved", "parameter", "attribute"]


@dataclass(frozen=True)
class State:
    """One tensor of a layer at one moment.

    Attributes:
        value: A copy of the tensor's values.
        kind: How the layer holds the tensor.
        has_graph: Whether the tensor holds an autograd graph, and so keeps the batch it was computed from in memory.
    """

    value: Tensor
    kind: Kind
    has_graph: bool


def states_of(layer: nn.Module) -> dict[str, State]:
    """Return copies of all tensors of a layer by name, plain attributes included."""
    saved = layer.state_dict()
    found: dict[str, State] = {}
    for name, value in layer.named_buffers():
        found[name] = _copy(value, "buffer" if name in saved else "buffer that is not saved")
    for name, value in layer.named_parameters():
        found[name] = _copy(value, "parameter")
    for path, module in layer.named_modules():
        for name, value in vars(module).items():
            if isinstance(value, Tensor):
                found[f"{path}.{name}".removeprefix(".")] = _copy(value, "attribute")
    return found


def changed(before: dict[str, State], after: dict[str, State]) -> dict[str, State]:
    """Return the tensors, as they are afterwards, that are new or have other values than before."""
    return {
        name: state
        for name, state in after.items()
        if name not in before or not torch.equal(before[name].value, state.value)
    }


def tensor_named(layer: nn.Module, name: str) -> Tensor:
    """Return a layer's tensor by its dotted name, without its graph: what is written into it changes the layer."""
    path, _, last = name.rpartition(".")
    value: Tensor = getattr(layer.get_submodule(path), last)
    return value.detach()


def _copy(value: Tensor, kind: Kind) -> State:
    graph = value.grad_fn is not None or (value.requires_grad and kind != "parameter")
    return State(value.detach().clone(), kind, graph)
