"""A class read from the text of its module: nothing is imported, since torch takes long."""

import ast
import contextlib
import math
import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def read_class(module: str, class_name: str) -> tuple[dict[str, Any], str | None]:
    """Return a class's literal attributes, its bases' too, and its docstring; None where there is no such class.

    Args:
        module: The dotted name of the module.
        class_name: The name of the class in that module.
    """
    tree = _tree_of(module)
    found = [node for node in (tree.body if tree else ()) if isinstance(node, ast.ClassDef) and node.name == class_name]
    if tree is None or not found:
        return {}, None
    node = found[-1]
    constants = _assigned(tree.body, {})
    facts: dict[str, Any] = {}
    for base in reversed(node.bases):
        if isinstance(base, ast.Name) and base.id != class_name:
            facts |= read_class(_home_of(base.id, module, tree), base.id)[0]
    return facts | _assigned(node.body, constants), ast.get_docstring(node, clean=False) or ""


def _home_of(name: str, module: str, tree: ast.Module) -> str:
    """Return the module that a name comes from."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                if (alias.asname or alias.name) == name == alias.name:
                    return node.module
    return module


def _assigned(body: Sequence[ast.stmt], constants: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is assigned to single names, where it is a literal or made of literals and of known constants."""
    facts: dict[str, Any] = {}
    for node in body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target, value = node.targets[0], node.value
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            target, value = node.target, node.value
        else:
            continue
        if isinstance(target, ast.Name):
            try:
                facts[target.id] = _value_of(value, constants)
            except ValueError:
                continue
    return facts


def _value_of(node: ast.expr, constants: Mapping[str, Any]) -> Any:
    """Return what an expression gives, if it is plain enough.

    Raises:
        ValueError: It is not.
    """
    match node:
        case ast.Constant():
            return node.value
        case ast.Name(id=name) if name in constants:
            return constants[name]
        case ast.Attribute(value=ast.Name(id="math"), attr="inf"):
            return math.inf
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value_of(operand, constants)
        case ast.Dict(keys=keys, values=values):
            return {
                _value_of(key, constants): _value_of(value, constants)
                for key, value in zip(keys, values, strict=True)
                if key is not None
            }
        case ast.Tuple(elts=elements) | ast.List(elts=elements) | ast.Set(elts=elements):
            return tuple(_value_of(element, constants) for element in elements)
        case ast.Call(func=ast.Name(id="frozenset" | "set" | "tuple"), args=[argument], keywords=[]):
            return _value_of(argument, constants)
        case ast.Call(func=ast.Name(id="frozenset"), args=[], keywords=[]):
            return ()
        case ast.Call(func=ast.Name(id="float"), args=[ast.Constant(value=str() as word)], keywords=[]):
            return float(word)
        case _:
            raise ValueError(ast.dump(node))


def _tree_of(module: str) -> ast.Module | None:
    """Return a module's source, parsed; None where it is not found, or is no Python."""
    try:
        spec = _spec_of(module)
    except (ImportError, ValueError):
        return None
    return _parsed(spec.origin) if spec is not None and spec.origin and spec.origin.endswith(".py") else None


@lru_cache(maxsize=64)
def _parsed(path: str) -> ast.Module | None:
    try:
        return ast.parse(Path(path).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return None


def _spec_of(module: str) -> ModuleSpec | None:
    """Return where a module lies. `importlib.util.find_spec` would import the packages that it lies in."""
    first, *rest = module.split(".")
    spec = find_spec(first)
    if spec is None:
        with contextlib.suppress(FileNotFoundError):  # the current folder was deleted
            spec = PathFinder.find_spec(first, [os.getcwd()])  # noqa: PTH109  (a string is what sys.path holds)
    name = first
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            return None
        name = f"{name}.{part}"
        spec = PathFinder.find_spec(name, list(spec.submodule_search_locations))
    return spec
