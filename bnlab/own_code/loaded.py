"""Whether a module in use is what its file says: a notebook may import it, edit the file or set a value, and train."""

import abc
import ast
from collections import Counter
from collections.abc import Iterator, Set
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from bnlab.own_code.source_file import decoded

Content = dict[str, CodeType | str | None]
"""Names of a module, and of its classes as ``Class.name`` -> the code of a function; a plain value, as text; else None.
"""


def content_of(module: ModuleType) -> Content:
    """Return the functions and the plain values that a module has now.

    Args:
        module: A module that has been imported.
    """
    found: Content = {}
    for name, value in list(vars(module).items()):
        found[name] = _content(name, value)
        if isinstance(value, type) and value.__module__ == module.__name__:
            found |= {f"{name}.{inner}": _content(inner, member) for inner, member in list(vars(value).items())}
    return found


def is_other(now: Content, then: Content, set_later: Set[str]) -> bool:
    """Return whether a function or a plain value is another one than it was.

    Args:
        now: What a module has.
        then: What it had.
        set_later: Names that the code itself may give to other values.
    """
    return any(
        value is not None and name in now and now[name] != value
        for name, value in then.items()
        if set_later.isdisjoint(name.split("."))
    )


def differs_from_file(module: ModuleType, file: str, set_later: Set[str] = frozenset()) -> bool:
    """Return whether a function or a constant of a module is another one than its file defines.

    Compared are the functions and methods that are in both, and names to which the file gives a literal and nothing
    else. What decorators and other code make of them is not looked at. Modules that Python's own loader has not
    imported are not compared.

    Args:
        module: A module that has been imported.
        file: The file of its source code.
        set_later: Names that the code itself may give to other values.
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
    for part in _all_codes(code):
        defined.setdefault(part.co_qualname, []).append(what_it_does(part))
    now = content_of(module)
    for one in now.values():
        if isinstance(one, CodeType) and one.co_filename == module.__file__:
            what = what_it_does(one)
            if what not in defined.get(one.co_qualname, [what]):
                return True
    told: Content = {name: repr(value) for name, value in _constants(tree)}
    for name in _plain_functions(tree, module):
        found = now.get(name)
        is_its_own = isinstance(found, CodeType) and found.co_qualname in defined
        told[name] = found if is_its_own else "replaced by one from elsewhere"
    return is_other(now, told, set_later)


def _content(name: str, value: Any) -> CodeType | str | None:
    if isinstance(value, classmethod | staticmethod):
        value = value.__func__
    elif isinstance(value, property):
        value = value.fget
    if isinstance(value, FunctionType):
        return value.__code__
    return repr(value) if _is_plain(name, value) else None


def _is_plain(name: str, value: Any) -> bool:
    return isinstance(value, int | float | complex | str | bytes | None) and not name.startswith("__")


def _all_codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _all_codes(constant)


def what_it_does(code: CodeType) -> tuple[Any, ...]:
    """Return all of a function's code but the places of its lines.

    Args:
        code: The code of a function, or of a module.
    """
    constants = [_written(one) for one in code.co_consts if not isinstance(one, CodeType)]
    inner = [what_it_does(one) for one in code.co_consts if isinstance(one, CodeType)]
    return (code.co_code, constants, inner, code.co_names, code.co_varnames, code.co_freevars)


def _written(constant: Any) -> str:
    """Return a constant as text; equal sets may hold their elements in different orders."""
    if isinstance(constant, frozenset):
        return f"frozenset {sorted(map(_written, constant))}"
    return f"({', '.join(map(_written, constant))})" if isinstance(constant, tuple) else repr(constant)


def _plain_functions(tree: ast.Module, module: ModuleType) -> Iterator[str]:
    """Yield the functions, and methods of classes that no other code makes, with one definition and no decorator."""
    for one in _defined_once(tree):
        if isinstance(one, ast.FunctionDef):
            yield one.name
            continue
        found = vars(module).get(one.name)
        bases = found.__mro__[:-1] if isinstance(found, type) and type(found) in {type, abc.ABCMeta} else ()
        if bases and not any("__init_subclass__" in vars(base) for base in bases):
            methods = (method for method in _defined_once(one) if isinstance(method, ast.FunctionDef))
            yield from (f"{one.name}.{method.name}" for method in methods)


def _defined_once(scope: ast.Module | ast.ClassDef) -> Iterator[ast.FunctionDef | ast.ClassDef]:
    bound = Counter(name for one in scope.body for name in _bound(one))
    definitions = [one for one in scope.body if isinstance(one, ast.FunctionDef | ast.ClassDef)]
    for one in definitions:
        if not one.decorator_list and bound[one.name] == 1 and not bound["*"]:
            yield one


def _bound(code: ast.AST) -> Iterator[str]:
    """Yield each name that code binds, as often as it does."""
    for node in ast.walk(code):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            yield node.id
        elif isinstance(node, ast.alias):
            yield node.asname or node.name.partition(".")[0]
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.ExceptHandler) and node.name:
            yield node.name


def _constants(tree: ast.Module) -> Iterator[tuple[str, Any]]:
    """Yield the names to which a module gives a literal, and nothing else anywhere."""
    bound = Counter(_bound(tree))
    for statement in tree.body:
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        if isinstance(statement, ast.AnnAssign) and statement.value is not None:
            targets = [statement.target]
        for target in targets:
            if isinstance(target, ast.Name) and bound[target.id] == 1 and not bound["*"]:
                try:
                    value = ast.literal_eval(statement.value)  # type: ignore[attr-defined]
                except (ValueError, TypeError, MemoryError, RecursionError):
                    continue
                if _is_plain(target.id, value):
                    yield target.id, value
