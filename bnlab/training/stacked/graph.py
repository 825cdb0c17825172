"""Shortens a list of tensor operations: for small networks, a step costs its calls, not their arithmetic.

Removing and merging operations changes no bit of the results, except the sign of a zero: the same kernels get the same
numbers.
"""

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx import GraphModule, Node
from torch.fx.graph import CodeGen
from torch.fx.node import map_arg

_ATEN = torch.ops.aten
_IDLE = frozenset((_ATEN.alias.default, _ATEN.detach.default))
"""Operations that return their input unchanged."""

_RESHAPES = frozenset(
    (_ATEN.view.default, _ATEN._unsafe_view.default, _ATEN.unsqueeze.default, _ATEN.squeeze.dim, _ATEN.squeeze.dims)
)
"""Operations that return the same numbers in the same order, in another shape."""

_VIEWS = _RESHAPES | {_ATEN.expand.default, _ATEN.slice.Tensor, _ATEN.transpose.int, _ATEN.select.int}
"""Operations that return a view of their input; it may have the input's own shape."""

_NEUTRAL = {_ATEN.mul.Scalar: 1, _ATEN.mul.Tensor: 1, _ATEN.div.Tensor: 1, _ATEN.add.Tensor: 0, _ATEN.sub.Tensor: 0}
"""Operation -> the second operand that changes nothing."""

_CREATIONS = frozenset(
    (_ATEN.ones_like.default, _ATEN.zeros_like.default, _ATEN.new_zeros.default, _ATEN.new_ones.default)
)
"""Operations that use the shape of their input, not its numbers."""

# fmt: off
_METHODS = frozenset((
    "abs", "add", "add_", "addcmul", "bmm", "clamp", "clone", "copy_", "div", "div_", "exp", "expand", "ge",
    "gather", "gt", "le", "log", "lt", "mean", "mul", "mul_", "neg", "pow", "relu", "reciprocal", "rsqrt",
    "scatter_add", "sigmoid", "sqrt", "square", "sub", "sub_", "sum", "tanh", "transpose", "unsqueeze", "view",
))
# fmt: on
"""Operations that are also methods of a tensor, with the same arguments. Such a call takes 1 us less."""


def shorten(module: GraphModule, largest_constant: int | None = None) -> Callable[..., Any]:
    """Return a function that computes the same as a graph, with fewer and faster calls.

    Args:
        module: The graph, as `tracing.trace` returns it; it is changed.
        largest_constant: The most numbers of a tensor that is computed now and kept; None: there is no bound.

    Returns:
        A function of the graph's input tensors, one argument each, that returns a flat list of its results.
    """
    graph = module.graph
    graph.set_codegen(CodeGen())  # otherwise each call sorts nested arguments
    fixed = _never_changed(module)
    _remove_unchanging(module, fixed)
    _join_reshapes(module)
    _compute_constants(module, fixed, largest_constant)
    graph.eliminate_dead_code()
    _share_equals(module, fixed)
    _call_methods(module)
    module.recompile()
    forward: Callable[..., Any] = module.forward
    return forward


def _never_changed(module: GraphModule) -> set[Node]:
    """Return the nodes whose memory no operation changes in place."""
    base: dict[Node, Node] = {}
    changed: set[Node] = set()
    for node in module.graph.nodes:
        base[node] = node
        if node.target in _VIEWS or node.target is operator.getitem:
            base[node] = base[node.args[0]]
        if isinstance(node.target, OpOverload):
            for place, argument in enumerate(node.target._schema.arguments):
                given = node.args[place] if place < len(node.args) else node.kwargs.get(argument.name)
                if argument.alias_info is None:
                    continue
                several = given if isinstance(given, list | tuple) else [given]
                for source in (one for one in several if isinstance(one, Node)):
                    base[node] = base[source]
                    if argument.alias_info.is_write:
                        changed.add(base[source])
    return {node for node in base if base[node] not in changed}


def _replace(node: Node, other: Node) -> None:
    node.replace_all_uses_with(other)
    node.graph.erase_node(node)


def _remove_unchanging(module: GraphModule, fixed: set[Node]) -> None:
    for node in module.graph.nodes:
        if node.target in _IDLE:
            _replace(node, node.args[0])
        elif node.target in _VIEWS:
            before, after = node.args[0].meta["val"], node.meta["val"]
            if (before.shape, before.stride()) == (after.shape, after.stride()):
                _replace(node, node.args[0])
        elif node.target in _NEUTRAL and not node.kwargs and node in fixed and node.args[0] in fixed:
            same = node.args[0].meta["val"].dtype == node.meta["val"].dtype
            if same and not isinstance(node.args[1], Node) and node.args[1] == _NEUTRAL[node.target]:
                _replace(node, node.args[0])


def _join_reshapes(module: GraphModule) -> None:
    """Take a reshaped tensor from the first of a chain of reshapes."""
    for node in module.graph.nodes:
        if node.target not in _RESHAPES:
            continue
        first = node
        while first.target in _RESHAPES:
            first = first.args[0]
        before, after = first.meta["val"], node.meta["val"]
        if not (before.is_contiguous() and after.is_contiguous()):
            continue
        if before.shape == after.shape:
            _replace(node, first)
        else:
            node.target, node.args, node.kwargs = _ATEN.view.default, (first, list(after.shape)), {}


def _compute_constants(module: GraphModule, fixed: set[Node], largest: int | None) -> None:
    """Compute constants now instead of at every step."""
    values: dict[Node, Tensor] = {}
    for node in module.graph.nodes:
        if node.op != "call_function" or node not in fixed or _is_random(node):
            continue
        if node.target in _CREATIONS:
            source = node.args[0].meta["val"]
            like = torch.empty_strided(source.shape, source.stride(), dtype=source.dtype, device=source.device)
            values[node] = node.target(like, *node.args[1:], **node.kwargs)
        elif node.all_input_nodes and all(source in values for source in node.all_input_nodes):
            arguments, options = map_arg((node.args, node.kwargs), values.__getitem__)
            values[node] = node.target(*arguments, **options)
    for node, value in values.items():
        if all(user in values for user in node.users) or (largest is not None and value.numel() > largest):
            continue  # used by other constants only, or made anew at each call
        name = f"constant_{node.name}"
        module.register_buffer(name, value, persistent=False)
        with module.graph.inserting_before(node):
            constant = module.graph.get_attr(name)
        constant.meta = node.meta
        fixed.add(constant)
        node.replace_all_uses_with(constant)


def _is_random(node: Node) -> bool:
    return isinstance(node.target, OpOverload) and torch.Tag.nondeterministic_seeded in node.target.tags


def _share_equals(module: GraphModule, fixed: set[Node]) -> None:
    """Compute equal operations once: a backward pass repeats some of the forward pass to save memory."""
    seen: dict[Any, Node] = {}
    for node in module.graph.nodes:
        if node.op != "call_function" or node.target is operator.getitem or _is_random(node):
            continue
        if not {node, *node.all_input_nodes} <= fixed:
            continue
        key = repr((node.target, node.args, sorted(node.kwargs.items())))
        if key in seen:
            _replace(node, seen[key])
        else:
            seen[key] = node


def _call_methods(module: GraphModule) -> None:
    for node in module.graph.nodes:
        if not isinstance(node.target, OpOverload) or not isinstance(node.args[0], Node):
            continue
        name = node.target._schema.name.removeprefix("aten::")
        if name in _METHODS:
            node.op, node.target = "call_method", name
