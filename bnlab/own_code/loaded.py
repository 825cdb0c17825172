"""Whether a module in use is what its file says: a notebook may import it, edit the file, and train."""

import ast
from collections import Counter
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from bnlab.own_code.source_file import decoded


def differs_from_file(module: ModuleType, file: str) -> bool:
    """Return whether a function or a constant of a module is another one than its file defines.

    Compared are the functions and methods that are in both, and names to which the file gives a literal once. What
    decorators and other code make of them is not looked at. Modules that Python's own loader has not imported are not
    compared.

    Args:
        module: A module that has been imported.
        file: The file of its source code.
    """
    if type(getattr(module.__spec__, "loader", None)) is not SourceFileLoader:
        return False  # a loader of somebody's, such as pytest's, may compile other code from the same file
    try:
        text = decoded(Path(file).read_bytes())
        tree = ast.parse(text)
        code = compile(text, file, "exec", dont_inherit=True)
    except (OSError, SyntaxError, ValueError, RecursionError):  # a compiled module
        return False
    defined: dict[str, list[tuple[Any, ...]]] = {}
    for one in _all_codes(code):
        defined.setdefault(one.co_qualname, []).append(_what_it_does(one))
    for function in _functions_of(module):
        known = defined.get(function.__code__.co_qualname)
        if known is not None and _what_it_does(function.__code__) not in known:
            return True
    for class_name, names in _plain_methods(tree):
        found = vars(module).get(class_name)
        for name in names if isinstance(found, type) and found.__module__ == module.__name__ else ():
            method = vars(found).get(name)
            if isinstance(method, FunctionType) and method.__code__.co_qualname not in defined:
                return True  # it was replaced by a function from elsewhere
    missing = object()
    return any(
        repr(vars(module).get(name, missing)) != repr(value)
        for name, value in _constants(tree)
        if vars(module).get(name, missing) is not missing
    )


def _all_codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _all_codes(constant)


def _what_it_does(code: CodeType) -> tuple[Any, ...]:
    """Return all of a function's code but the places of its lines."""
    constants = [_written(one) for one in code.co_consts if not isinstance(one, CodeType)]
    inner = [_what_it_does(one) for one in code.co_consts if isinstance(one, CodeType)]
    return (code.co_code, constants, inner, code.co_names, code.co_varnames, code.co_freevars)


def _written(constant: Any) -> str:
    """Return a constant as text; equal sets may hold their elements in different orders."""
    if isinstance(constant, frozenset):
        return f"frozenset {sorted(map(_written, constant))}"
    return f"({', '.join(map(_written, constant))})" if isinstance(constant, tuple) else repr(constant)


def _functions_of(module: ModuleType) -> Iterator[FunctionType]:
    """Yield the functions of a module and the methods of its classes."""
    for value in list(vars(module).values()):
        if getattr(value, "__module__", None) != module.__name__:
            continue
        members = list(vars(value).values()) if isinstance(value, type) else [value]
        for member in members:
            inner = getattr(member, "__func__", getattr(member, "fget", member))  # of a class method, of a property
            if isinstance(inner, FunctionType):
                yield inner


def _plain_methods(tree: ast.Module) -> Iterator[tuple[str, list[str]]]:
    """Yield each class of a module without decorators, and its methods that have none and are defined once."""
    for one in tree.body:
        if isinstance(one, ast.ClassDef) and not one.decorator_list:
            methods = [inner for inner in one.body if isinstance(inner, ast.FunctionDef)]
            defined = Counter(method.name for method in methods)
            yield one.name, [m.name for m in methods if not m.decorator_list and defined[m.name] == 1]


def _constants(tree: ast.Module) -> Iterator[tuple[str, Any]]:
    """Yield the names to which a module gives a literal, and nothing else anywhere."""
    stored = Counter(
        node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)
    )
    shared = {name for node in ast.walk(tree) if isinstance(node, ast.Global) for name in node.names}
    for statement in tree.body:
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        if isinstance(statement, ast.AnnAssign) and statement.value is not None:
            targets = [statement.target]
        for target in targets:
            if isinstance(target, ast.Name) and stored[target.id] == 1 and target.id not in shared:
                try:
                    value = ast.literal_eval(statement.value)  # type: ignore[attr-defined]
                except (ValueError, TypeError, MemoryError, RecursionError):
                    continue
                if isinstance(value, int | float | complex | str | bytes | None):
                    yield target.id, value
