"""What the code of a given class or function does, with everything of the user's that it names, as plain text."""

import dis
import functools
import hashlib
import pickle
import sys
import uuid
from collections.abc import Iterator, Mapping
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from bnlab.own_code.loaded import what_it_does
from bnlab.own_code.module_files import is_installed, is_of_python
from bnlab.own_code.source_file import read_file

_PLAIN = (bool, int, float, complex, str, bytes, type(None), type(...))

_CHANGES_NO_NUMBER = frozenset(
    {"__dict__", "__weakref__", "__doc__", "__module__", "__qualname__", "__annotations__", "_abc_impl"}
)
"""Members of a class that are not compared: Python makes them, or nothing is computed from them."""


class Reader:
    """Reads objects as nested tuples of text. Each object is read once: it may refer to itself."""

    def __init__(self) -> None:
        self._met: dict[int, tuple[int, Any]] = {}  # id -> number and object, which must live as long as its id counts

    def read(self, value: Any) -> Any:
        """Return what an object is, as nested tuples of text and numbers.

        What can be read in no way, such as an open file, is another text at each call.

        Args:
            value: Any object that code may name.
        """
        if isinstance(value, _PLAIN):
            return type(value).__name__, repr(value)
        if isinstance(value, tuple):
            return "tuple", type(value).__name__, *map(self.read, value)
        if id(value) in self._met:
            return "met", self._met[id(value)][0]
        self._met[id(value)] = len(self._met), value
        if isinstance(value, ModuleType):
            return "module", value.__name__, self._digest_of(value)
        if isinstance(value, type | FunctionType) and not _is_own(value.__module__):
            return "installed", value.__module__, value.__qualname__
        if isinstance(value, FunctionType):
            return self._function(value)
        if isinstance(value, type):
            members = sorted((name, one) for name, one in vars(value).items() if name not in _CHANGES_NO_NUMBER)
            bases = tuple(map(self.read, value.__bases__))
            return "class", value.__qualname__, bases, tuple((name, self.read(one)) for name, one in members)
        return self._object(value)

    def _function(self, value: FunctionType) -> Any:
        cells = value.__closure__ or ()
        named = sorted(set(_globals_of(value.__code__)) & value.__globals__.keys())
        return (
            "function",
            what_it_does(value.__code__),
            self.read(value.__defaults__),
            self.read(value.__kwdefaults__),
            tuple(self.read(cell.cell_contents) if _is_set(cell) else "empty" for cell in cells),
            tuple((name, self.read(value.__globals__[name])) for name in named),
        )

    def _object(self, value: Any) -> Any:
        kind = f"{type(value).__module__}:{type(value).__qualname__}"
        if isinstance(value, list):
            return kind, *map(self.read, value)
        if isinstance(value, set | frozenset):
            return kind, *sorted(map(self.read, value), key=repr)
        if isinstance(value, Mapping):
            return kind, *((self.read(key), self.read(one)) for key, one in value.items())
        if isinstance(value, classmethod | staticmethod):
            return kind, self.read(value.__func__)
        if isinstance(value, property):
            return kind, *map(self.read, (value.fget, value.fset, value.fdel))
        if isinstance(value, functools.partial):
            return kind, self.read(value.func), self.read(value.args), self.read(value.keywords)
        if isinstance(value, MethodType):
            return kind, self.read(value.__func__), self.read(value.__self__)
        if _is_own(type(value).__module__) and hasattr(value, "__dict__"):
            return kind, self.read(type(value)), self.read(vars(value))
        try:
            return kind, hashlib.sha256(pickle.dumps(value, protocol=4)).hexdigest()
        except Exception:  # somebody's class may raise anything
            return kind, uuid.uuid4().hex

    def _digest_of(self, module: ModuleType) -> str:
        source = read_file(getattr(module, "__file__", None)) if _is_own(module.__name__) else None
        return source.digest if source else ""


def _is_own(module: str | None) -> bool:
    """Return whether a module is the user's: neither installed, nor Python's, nor bnlab's."""
    if module is None or module == "builtins" or module.partition(".")[0] == "bnlab":
        return False
    if module == "__main__":
        return True
    spec = getattr(sys.modules.get(module), "__spec__", None)
    return spec is None or not (is_installed(spec) or is_of_python(module, spec))


def _globals_of(code: CodeType) -> Iterator[str]:
    """Yield the global names that a function reads, and those of the functions inside it."""
    for one in dis.get_instructions(code):
        if one.opname in {"LOAD_GLOBAL", "LOAD_NAME"}:
            yield str(one.argval)
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _globals_of(inner)


def _is_set(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True
