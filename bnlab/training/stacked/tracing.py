"""Records the operations on tensors that a function makes, as a graph that can be run again.

`torch.fx.experimental.proxy_tensor.make_fx` records the same graph, and more than is needed here: it takes five to
seven times as long, and on its first call imports torch's compiler, which takes as long as `import torch`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import getitem as _item
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.fx import Graph, GraphModule, Node
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.weak import WeakTensorKeyDictionary


@dataclass(frozen=True, slots=True)
class Described:
    """What a graph keeps of a tensor: all but its numbers, which would fill the memory."""

    shape: torch.Size
    strides: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device
    contiguous: bool

    def stride(self) -> tuple[int, ...]:
        """Return the strides, in elements."""
        return self.strides

    def is_contiguous(self) -> bool:
        """Return whether the elements lie in memory in their order."""
        return self.contiguous


def describe(tensor: Tensor) -> Described:
    """Return what a graph keeps of a tensor."""
    return Described(tensor.shape, tensor.stride(), tensor.dtype, tensor.device, tensor.is_contiguous())


class ForeignTensorError(Exception):
    """A function uses a tensor that is no argument of it, and that no operation of torch's has made from one."""


def trace(function: Callable[..., Any], *inputs: Tensor, with_constants: bool = True) -> GraphModule:
    """Return the operations that a function makes on tensors, as a graph with the same arguments and the same result.

    The function is called once. What it decides in Python is decided for good; a tensor that is no argument of it, and
    that no operation of torch's has made from one, becomes a constant of the graph: what NumPy computes, for one.

    Args:
        function: A function of tensors. It may use `torch.func`: what is recorded are operations on plain tensors.
        inputs: Its arguments, of the shapes, types and strides of later ones.
        with_constants: Whether it may use other tensors.

    Returns:
        The graph; each node has a `Described` for a tensor as ``meta["val"]``, and in ``meta["varies"]`` whether its
        values depend on the arguments, or on chance.

    Raises:
        RuntimeError: The function asks for the number in a tensor that it computed from its arguments, or for a size
            that depends on such a number.
        ForeignTensorError: It uses another tensor, and must not.
    """
    recording = _Recording(inputs, with_constants)
    with recording:
        result = function(*inputs)
    recording.graph.output(recording.nodes_for(result))
    return GraphModule(recording.constants, recording.graph)


class _Recording(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no types for it
    """Writes each operation into a graph, and makes it."""

    def __init__(self, inputs: Sequence[Tensor], with_constants: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._with_constants = with_constants
        self.graph = Graph()
        self.constants = nn.Module()
        self._nodes = WeakTensorKeyDictionary()
        for number, tensor in enumerate(inputs):
            self._remember(tensor, self.graph.placeholder(f"input_{number}"), varies=True)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Say that no compiler needs to be kept out: torch would import it for that."""
        return False

    def __torch_dispatch__(
        self, func: OpOverload, types: object, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Make an operation, and write it down.

        Raises:
            RuntimeError: It asks for a number, or a size, that depends on the values of the arguments.
            ForeignTensorError: It is on a tensor that the function must not use.
        """
        options = dict(kwargs or {})
        tensors = [each for each in tree_leaves((args, options)) if isinstance(each, Tensor)]
        given = [each.type for each in func._schema.returns]
        asks = bool(given) and not any(isinstance(each, torch.TensorType | torch.ListType) for each in given)
        if asks or _has_size_by_values(func, tensors):  # .item(), equal; nonzero
            if any(self._node_of(tensor).meta["varies"] for tensor in tensors):
                raise RuntimeError("its code asks for the value of a tensor")
            if asks:
                return func(*args, **options)
        if func is torch.ops.aten.lift_fresh.default:  # a tensor made from numbers: each call begins with a copy
            if not self._with_constants:
                raise ForeignTensorError
            args = (self._constant(args[0].clone()),)
            func = torch.ops.aten.lift_fresh_copy.default
        result = func(*args, **options)
        node = self.graph.call_function(func, *self.nodes_for((tuple(args), options)))
        varies = any(source.meta["varies"] for source in node.all_input_nodes) or _is_random(func)
        node.meta["varies"] = varies
        if isinstance(result, Tensor):
            self._remember(result, node, varies)
        elif isinstance(result, tuple | list):
            for place, each in enumerate(result):
                if isinstance(each, Tensor):
                    self._remember(each, self.graph.call_function(_item, (node, place)), varies)
        return result

    def nodes_for(self, values: Any) -> Any:
        """Return values with the node of each tensor in its place."""
        return tree_map_only(Tensor, self._node_of, values)

    def _node_of(self, tensor: Tensor) -> Node:
        if tensor not in self._nodes:
            if not self._with_constants:
                raise ForeignTensorError
            self._constant(tensor)
        found: Node = self._nodes[tensor]
        return found

    def _constant(self, tensor: Tensor) -> Tensor:
        """Make a tensor a constant of the graph, and return it."""
        name = f"constant_{sum(1 for _ in self.constants.buffers())}"
        self.constants.register_buffer(name, tensor, persistent=False)
        self._remember(tensor, self.graph.get_attr(name), varies=False)
        return tensor

    def _remember(self, tensor: Tensor, node: Node, varies: bool) -> None:
        node.meta |= {"val": describe(tensor), "varies": varies}
        self._nodes[tensor] = node


def _has_size_by_values(func: OpOverload, tensors: Sequence[Tensor]) -> bool:
    """Return whether the size of an operation's result depends on numbers. Of x[indices] it does for masks alone."""
    if func is torch.ops.aten.index.Tensor:
        return any(tensor.dtype in {torch.bool, torch.uint8} for tensor in tensors[1:])
    return torch.Tag.dynamic_output_shape in func.tags


def _is_random(func: OpOverload) -> bool:
    return torch.Tag.nondeterministic_seeded in func.tags
