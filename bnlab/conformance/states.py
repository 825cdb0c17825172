"""The tensors of a layer: buffers, parameters and plain attributes."""

from dataclasses import dataclass
from typing import Literal

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
    found: dict[str, State] = {}
    for path, module in layer.named_modules():
        prefix = f"{path}." if path else ""
        not_saved = module._non_persistent_buffers_set
        for name, value in module.__dict__["_buffers"].items():
            if value is not None:
                kind: Kind = "buffer that is not saved" if name in not_saved else "buffer"
                found[prefix + name] = _copy(value, kind)
        for name, value in module.__dict__["_parameters"].items():
            if value is not None:
                found[prefix + name] = _copy(value, "parameter")
        for name, value in vars(module).items():
            if isinstance(value, Tensor):
                found[prefix + name] = _copy(value, "attribute")
    return found


def tensor_named(layer: nn.Module, name: str) -> Tensor:
    """Return a layer's tensor by its dotted name."""
    path, _, last = name.rpartition(".")
    value = getattr(layer.get_submodule(path), last)
    assert isinstance(value, Tensor)
    return value


def _copy(value: Tensor, kind: Kind) -> State:
    graph = value.grad_fn is not None or (value.requires_grad and kind != "parameter")
    return State(value.detach().clone(), kind, graph)
