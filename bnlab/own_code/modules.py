"""The code of a user's own class: the modules that it consists of, and a hash of each.

A run's numbers depend on this code as they depend on its settings. It is found by reading source files, not by
importing them: a finished run is found again without waiting for torch.
"""

import functools
import hashlib
import importlib.metadata
import json
import os
import sys
from collections.abc import Container, Iterator
from dataclasses import dataclass
from importlib.machinery import ModuleSpec

from bnlab.own_code.given import find_given, is_given
from bnlab.own_code.loaded import Content, content_of, differs_from_file, is_other
from bnlab.own_code.module_files import Specs, file_of, find_current_folder, find_spec, is_installed, is_of_python
from bnlab.own_code.source_file import Source, read_file

_FRAMEWORKS = frozenset({"bnlab", "torch", "torchvision", "numpy", "scipy"})
"""Packages whose versions stand in every manifest: their code is not read."""


@dataclass(frozen=True)
class OwnCode:
    """The code of one class.

    Attributes:
        modules: Name of a module -> SHA-256 of its code, without comments and empty lines. They are the class's own
            module and all that it imports, directly or not, that is of the same package or not installed. Of the
            package of an installed class only the class's own module is read; for the others stands the package's
            version, as ``the package NAME``: an edit of them in place is not noticed.
        packages: Installed packages that these modules import besides, without those whose versions every manifest has.
        unread: What else may change the numbers and is in no hash: one phrase for each, such as ``layers reads a file
            (open, line 3)``.
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
class _Loaded:
    """A module that is in use.

    Attributes:
        spec: Where it was found; a reload makes another one.
        source: What its file said when it was loaded.
        content: What it had in it then; None if it was in use before, and not what its file said.
    """

    spec: ModuleSpec
    source: Source
    content: Content | None


_loaded: dict[str, _Loaded] = {}
"""The modules of classes that were loaded by `bnlab.plugins.load_class`."""


def code_of(place: str) -> OwnCode:
    """Return the code of a class that is not bnlab's; no module is imported.

    Of a module that this process has imported through `bnlab.plugins.load_class` it is the code as it was then.

    Args:
        place: The class, as ``package.module:Class``.
    """
    return _read_code(place)[0]


def _read_code(place: str) -> tuple[OwnCode, dict[str, Source]]:
    """Return the code of a class, and what each of its modules says."""
    root = place.partition(":")[0]
    if is_given(place):
        given = find_given(place)
        return OwnCode({place: given.digest} if given and given.digest else {}, (), ()), {}
    package = root.partition(".")[0]
    if package in _FRAMEWORKS:
        return OwnCode({}, (), ()), {}
    find_current_folder()
    sources: dict[str, Source] = {}
    packages: set[str] = set()
    unread: list[str] = []
    specs: Specs = {}
    version = _version(package) if is_installed(find_spec(package, specs)) else ""
    waiting, seen = [root] if version else _with_parents(root), set[str]()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        first = name.partition(".")[0]
        is_pythons = first in sys.stdlib_module_names and is_of_python(first, find_spec(first, specs))
        if first != package and (first in _FRAMEWORKS or is_pythons):  # an own file may be named code.py
            continue
        if first == package and version and name != root:
            continue
        spec = find_spec(name, specs)
        if spec is None and name != root:
            continue
        if first != package and is_installed(spec):
            packages.add(first)
            continue
        source = _source_of(name, spec)
        if source is None:
            if spec is None or spec.submodule_search_locations is None:  # a folder without __init__.py has no code
                unread.append(f"{name} has no file of source code")
            continue
        sources[name] = source
        unread += [f"{name} {phrase}" for phrase in source.unread]
        is_package = spec is not None and spec.submodule_search_locations is not None
        waiting += _imported(name, source, is_package=is_package)
    modules = {name: source.digest for name, source in sources.items()}
    if version:
        modules[f"the package {package}"] = version
    return OwnCode(dict(sorted(modules.items())), tuple(sorted(packages)), tuple(unread)), sources


def remember_as_loaded(place: str, before: Container[str] = ()) -> None:
    """Keep the code of a class, which has just been imported: it stays in use when its files are changed.

    Args:
        place: The class, as ``package.module:Class``.
        before: Names of the modules that were in use before: values in them may have been set by hand since.
    """
    sources = _read_code(place)[1]
    set_later = _set_later(sources)
    for name in sources:
        module = sys.modules.get(name)
        spec = getattr(module, "__spec__", None)
        if module is None or spec is None or (name in _loaded and _loaded[name].spec is spec):
            continue
        file = file_of(spec, module)
        source = read_file(file)
        if file is not None and source is not None:
            is_as_loaded = name not in before or not differs_from_file(module, file, set_later)
            _loaded[name] = _Loaded(spec, source, content_of(module) if is_as_loaded else None)


def changed_since_loaded(place: str) -> dict[str, str]:
    """Return the modules of a class that are in use here with other code than their files have, and why.

    Args:
        place: The class, as ``package.module:Class``.
    """
    sources, specs = _read_code(place)[1], Specs()
    set_later = _set_later(sources)
    changed = {}
    for name, source in sources.items():
        module = sys.modules.get(name)
        spec = getattr(module, "__spec__", None)
        file = None if module is None else file_of(spec, module)
        if module is None or file is None:
            continue
        on_disk = read_file(file)
        found = None if spec is None else file_of(find_spec(name, specs, anew=True), None)
        said = read_file(found)
        if (
            found is not None
            and said is not None
            and said.digest not in {source.digest, getattr(on_disk, "digest", None)}
        ):
            folders = [os.path.dirname(path) for path in (file, found)]  # noqa: PTH120
            changed[name] = f"it was imported from {folders[0]}, and {folders[1]} comes first now"
            continue
        if on_disk is None:
            continue
        loaded = _loaded.get(name)
        if loaded is None or loaded.spec is not spec or loaded.content is None:
            is_changed = differs_from_file(module, file, set_later)
        else:
            is_changed = is_other(content_of(module), loaded.content, set_later)
        if is_changed or on_disk.digest != source.digest:
            changed[name] = "it was edited after the import, or a value was set"
    return changed


def forget_loaded(place: str) -> None:
    """Remove the modules of a class from this process, so that they are imported anew.

    Args:
        place: The class, as ``package.module:Class``.
    """
    for name in code_of(place).modules:
        sys.modules.pop(name, None)
        _loaded.pop(name, None)


def _set_later(sources: dict[str, Source]) -> frozenset[str]:
    return frozenset().union(*(source.sets for source in sources.values()))


@functools.cache  # what this process has imported stays, whatever is installed meanwhile
def _version(package: str) -> str:
    """Return the version of an installed package; '' if it has none."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # the distribution has another name than the package
        names = importlib.metadata.packages_distributions().get(package, ())
        return ", ".join(importlib.metadata.version(name) for name in sorted(set(names)))


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


def _source_of(name: str, spec: ModuleSpec | None) -> Source | None:
    """Return what a module's file says, or said when the module was loaded; None if it has no file."""
    module = sys.modules.get(name)
    if module is not None and name in _loaded and _loaded[name].spec is getattr(module, "__spec__", None):
        return _loaded[name].source
    return read_file(file_of(spec, module))
