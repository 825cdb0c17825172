"""The code of a user's own class: the modules that it consists of, and a hash of each.

A run's numbers depend on this code as they depend on its settings. It is found by reading source files, not by
importing them: a finished run is found again without waiting for torch.
"""

import ast
import hashlib
import importlib.machinery
import importlib.util
import io
import json
import os
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from types import ModuleType

_FRAMEWORKS = frozenset({"bnlab", "torch", "torchvision", "numpy", "scipy"})
"""Packages whose versions stand in every manifest: their code is not read."""

_INSTALLED = frozenset({"site-packages", "dist-packages"})
"""Folders of installed packages."""

_READERS = frozenset({"open", "read_text", "read_bytes", "load", "loadtxt", "genfromtxt", "read_csv", "getenv"})
"""Functions that read what lies outside of the code. Their names are enough: what follows from them is a warning."""


@dataclass(frozen=True)
class OwnCode:
    """The code of one class.

    Attributes:
        modules: Name of a module -> SHA-256 of its code, without comments and empty lines. They are the class's own
            module and all that it imports, directly or not, that is of the same package or not installed.
        packages: Installed packages that these modules import besides, without those whose versions every manifest has.
        unread: What may change the numbers and is in no hash: one phrase for each.
    """

    modules: dict[str, str]
    packages: tuple[str, ...]
    unread: tuple[str, ...]

    @property
    def digest(self) -> str | None:
        """A hash of all modules; None if there are none, as for a class of torch."""
        if not self.modules:
            return None
        return hashlib.sha256(json.dumps(self.modules, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class _Source:
    """What one file says.

    Attributes:
        digest: SHA-256 of its code.
        imports: Each import: the dots before a name, the name, and the names that are taken from it.
        unread: Phrases, as in `OwnCode`.
        reads: Phrases on what the module reads besides its imports, such as ``open in line 3``.
    """

    digest: str
    imports: tuple[tuple[int, str, tuple[str, ...]], ...] = ()
    unread: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()


_Specs = dict[str, importlib.machinery.ModuleSpec | None]
"""Names of modules -> where they are; None for what is no module."""

_read: dict[str, tuple[tuple[int, ...], _Source]] = {}
"""Files that this process has read -> their size and times, and what they say."""

_loaded: dict[str, tuple[object, _Source]] = {}
"""Modules that are in use -> their spec, which is another one after a reload, and their source when it was loaded."""


def find_current_folder() -> None:
    """Let modules of the current folder be imported, as a script there could import them."""
    here = os.getcwd()  # noqa: PTH109  (sys.path has strings)
    if here not in sys.path:
        sys.path.insert(0, here)


def code_of(place: str) -> OwnCode:
    """Return the code of a class that is not bnlab's; no module is imported.

    Of a module that this process has imported through `bnlab.plugins.load_class` it is the code as it was then.

    Args:
        place: The class, as ``package.module:Class``.
    """
    root = place.partition(":")[0]
    package = root.partition(".")[0]
    if package in _FRAMEWORKS:
        return OwnCode({}, (), ())
    find_current_folder()
    modules: dict[str, str] = {}
    packages: set[str] = set()
    unread: list[str] = []
    waiting, seen = _with_parents(root), set[str]()
    specs: _Specs = {}
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        first = name.partition(".")[0]
        if first != package and first in sys.stdlib_module_names | _FRAMEWORKS:  # an own file may be named code.py
            continue
        spec = _find_spec(name, specs)
        if spec is None and name != root:
            continue
        if first != package and _is_installed(spec):
            packages.add(first)
            continue
        source = _source_of(name, spec)
        if source is None:
            if spec is None or spec.submodule_search_locations is None:  # a folder without __init__.py has no code
                unread.append(f"the code of {name}, which has no file")
            continue
        modules[name] = source.digest
        unread += [f"{phrase} of {name}" for phrase in source.unread]
        unread += [f"what {name} reads by {phrase}" for phrase in source.reads if name == root]
        is_package = spec is not None and spec.submodule_search_locations is not None
        waiting += _imported(name, source, is_package=is_package)
    return OwnCode(dict(sorted(modules.items())), tuple(sorted(packages)), tuple(unread))


def remember_as_loaded(place: str) -> None:
    """Keep the code of a class, which has just been imported: it stays in use when its files are changed.

    Args:
        place: The class, as ``package.module:Class``.
    """
    for name in code_of(place).modules:
        module = sys.modules.get(name)
        spec = getattr(module, "__spec__", None)
        if spec is not None and (name not in _loaded or _loaded[name][0] is not spec):
            source = _source_of(name, spec)
            if source is not None:
                _loaded[name] = (spec, source)


def changed_since_loaded(place: str) -> list[str]:
    """Return the modules of a class that this process has imported and whose files have other code now.

    Args:
        place: The class, as ``package.module:Class``.
    """
    changed = []
    for name, digest in code_of(place).modules.items():
        module = sys.modules.get(name)
        on_disk = _read_file(_file_of(module.__spec__, module)) if module is not None else None
        if on_disk is not None and on_disk.digest != digest:
            changed.append(name)
    return changed


def forget_loaded(place: str) -> None:
    """Remove the modules of a class from this process, so that they are imported anew.

    Args:
        place: The class, as ``package.module:Class``.
    """
    for name in code_of(place).modules:
        sys.modules.pop(name, None)
        _loaded.pop(name, None)


def _with_parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[: number + 1]) for number in range(len(parts))]


def _imported(name: str, source: _Source, *, is_package: bool) -> Iterator[str]:
    """Yield the modules that a module may import; ``from a import b`` may mean a.b."""
    parts = name.split(".")
    for level, target, taken in source.imports:
        base = parts[: len(parts) - level + is_package] if level else []
        full = ".".join([*base, *([target] if target else [])])
        if full:
            yield from _with_parents(full)
            yield from (f"{full}.{one}" for one in taken)


def _find_spec(name: str, known: _Specs) -> importlib.machinery.ModuleSpec | None:
    """Return where a module is, without importing it or the packages that it lies in; add it to those known."""
    if name not in known:
        module = sys.modules.get(name)
        known[name] = _search_spec(name, known) if module is None else getattr(module, "__spec__", None)
    return known[name]


def _search_spec(name: str, known: _Specs) -> importlib.machinery.ModuleSpec | None:
    parent, _, last = name.rpartition(".")
    try:
        if not parent:
            return importlib.util.find_spec(name)
        above = _find_spec(parent, known)
        if above is None or above.submodule_search_locations is None:
            return None
        # by its last name: a folder without __init__.py would look for its parent among the imported modules
        return importlib.machinery.PathFinder.find_spec(last, list(above.submodule_search_locations))
    except (ImportError, ValueError, AttributeError):  # a finder of somebody's may raise what it likes of these
        return None


def _is_installed(spec: importlib.machinery.ModuleSpec | None) -> bool:
    places = [] if spec is None else [spec.origin, *(spec.submodule_search_locations or [])]
    return any(place and not _INSTALLED.isdisjoint(PurePath(place).parts) for place in places)


def _source_of(name: str, spec: importlib.machinery.ModuleSpec | None) -> _Source | None:
    """Return what a module's file says, or said when the module was loaded; None if it has no file."""
    module = sys.modules.get(name)
    if module is not None and name in _loaded and _loaded[name][0] is getattr(module, "__spec__", None):
        return _loaded[name][1]
    return _read_file(_file_of(spec, module))


def _file_of(spec: importlib.machinery.ModuleSpec | None, module: ModuleType | None) -> str | None:
    if spec is not None:
        return spec.origin if spec.has_location else None
    return getattr(module, "__file__", None)  # a script that runs as __main__ has no spec


def _read_file(file: str | None) -> _Source | None:
    if file is None:
        return None
    try:
        facts = Path(file).stat()
        stamp = (facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino)
        if file not in _read or _read[file][0] != stamp:
            _read[file] = (stamp, _understood(Path(file).read_bytes()))
        return _read[file][1]
    except OSError:
        return None


def _understood(content: bytes) -> _Source:
    """Return what a file says; of one that is no Python source, such as a compiled module, its hash alone."""
    try:
        text = io.TextIOWrapper(io.BytesIO(content), tokenize.detect_encoding(io.BytesIO(content).readline)[0]).read()
        tree = ast.parse(text)
        code = _without_comments(text)
    except (SyntaxError, ValueError, RecursionError, tokenize.TokenError):
        return _Source(hashlib.sha256(content).hexdigest())
    imports: list[tuple[int, str, tuple[str, ...]]] = []
    unread: list[str] = []
    reads: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports += [(0, alias.name, ()) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            imports.append((node.level, node.module or "", tuple(alias.name for alias in node.names)))
        elif isinstance(node, ast.Call):
            called = _last_name(node.func)
            if called in {"import_module", "__import__"}:
                found = _import_of_call(node)
                if found is None:
                    unread.append(f"what line {node.lineno} imports")
                else:
                    imports.append((*found, ()))
            elif called in _READERS:
                reads.append(f"{called} in line {node.lineno}")
        elif isinstance(node, ast.Attribute) and node.attr == "environ":
            reads.append(f"environ in line {node.lineno}")
    return _Source(hashlib.sha256(code.encode()).hexdigest(), tuple(imports), tuple(unread), tuple(reads))


def _import_of_call(call: ast.Call) -> tuple[int, str] | None:
    """Return the dots and the name of the module that a call imports, if it says them; dots mean the own package."""
    given = [*call.args, *(word.value for word in call.keywords if word.arg in {"name", "package"})]
    if not given or not isinstance(given[0], ast.Constant) or not isinstance(given[0].value, str):
        return None
    name = given[0].value.lstrip(".")
    dots = len(given[0].value) - len(name)
    is_own = len(given) == 2 and isinstance(given[1], ast.Name) and given[1].id == "__package__"
    return None if dots and not is_own else (dots, name)


def _last_name(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _without_comments(text: str) -> str:
    """Return source code without comments, empty lines and blanks at the ends of lines: they change no number."""
    lines = text.split("\n")  # splitlines ends a line at a form feed too, in the middle of a string
    for token in tokenize.generate_tokens(io.StringIO("\n".join(lines) + "\n").readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    return "\n".join(line for line in map(str.rstrip, lines) if line)
