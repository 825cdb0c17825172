"""The code of a user's own class: the modules that it consists of, and a hash of each.

A run's numbers depend on this code as they depend on its settings. It is found by reading source files, not by
importing them: a finished run is found again without waiting for torch.
"""

import hashlib
import importlib.machinery
import importlib.util
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath
from types import ModuleType

from bnlab.own_code.loaded import differs_from_file
from bnlab.own_code.source_file import Source, read_file

_FRAMEWORKS = frozenset({"bnlab", "torch", "torchvision", "numpy", "scipy"})
"""Packages whose versions stand in every manifest: their code is not read."""

_INSTALLED = frozenset({"site-packages", "dist-packages"})
"""Folders of installed packages."""


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


_Specs = dict[str, importlib.machinery.ModuleSpec | None]
"""Names of modules -> where they are; None for what is no module."""

_loaded: dict[str, tuple[object, Source]] = {}
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
        unread += [f"what {name} reads by {phrase}" for phrase in source.reads]
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
    """Return the modules of a class that are in use here with other code than their files have.

    Args:
        place: The class, as ``package.module:Class``.
    """
    changed = []
    for name, digest in code_of(place).modules.items():
        module = sys.modules.get(name)
        file = None if module is None else _file_of(getattr(module, "__spec__", None), module)
        on_disk = read_file(file)
        if module is None or file is None or on_disk is None:
            continue
        if on_disk.digest != digest or differs_from_file(module, file):
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


def _imported(name: str, source: Source, *, is_package: bool) -> Iterator[str]:
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


def _source_of(name: str, spec: importlib.machinery.ModuleSpec | None) -> Source | None:
    """Return what a module's file says, or said when the module was loaded; None if it has no file."""
    module = sys.modules.get(name)
    if module is not None and name in _loaded and _loaded[name][0] is getattr(module, "__spec__", None):
        return _loaded[name][1]
    return read_file(_file_of(spec, module))


def _file_of(spec: importlib.machinery.ModuleSpec | None, module: ModuleType | None) -> str | None:
    if spec is not None:
        return spec.origin if spec.has_location else None
    return getattr(module, "__file__", None)  # a script that runs as __main__ has no spec
