"""Where a module is: its file is found without an import of it, or of the packages that it lies in."""

import functools
import importlib.machinery
import importlib.util
import os
import sys
import sysconfig
from importlib.machinery import ModuleSpec
from pathlib import PurePath
from types import ModuleType

_INSTALLED = frozenset({"site-packages", "dist-packages"})
"""Folders of installed packages."""

Specs = dict[str, ModuleSpec | None]
"""Names of modules -> where they are; None for what is no module."""


def find_current_folder() -> None:
    """Let modules of the current folder be imported before all others, as a script there imports them."""
    try:
        here = os.getcwd()  # noqa: PTH109  (sys.path has strings)
    except OSError:  # it was deleted
        return
    if sys.path[:1] not in ([here], [""]):  # Python's own word for the current folder is ""
        sys.path[:] = [here, *(folder for folder in sys.path if folder != here)]


def find_spec(name: str, known: Specs, *, anew: bool = False) -> ModuleSpec | None:
    """Return where a module is, and add it and the packages that it lies in to those known.

    Args:
        name: The full name of the module.
        known: What has been found before.
        anew: Also of a module that is in use tell where an import would find it now.
    """
    if name not in known:
        module = None if anew else sys.modules.get(name)
        known[name] = _search(name, known, anew=anew) if module is None else getattr(module, "__spec__", None)
    return known[name]


def _search(name: str, known: Specs, *, anew: bool) -> ModuleSpec | None:
    parent, _, last = name.rpartition(".")
    try:
        if not parent:
            return importlib.machinery.PathFinder.find_spec(name) if anew else importlib.util.find_spec(name)
        above = find_spec(parent, known, anew=anew)
        if above is None or above.submodule_search_locations is None:
            return None
        # by its last name: a folder without __init__.py would look for its parent among the imported modules
        return importlib.machinery.PathFinder.find_spec(last, list(above.submodule_search_locations))
    except (ImportError, ValueError, AttributeError):  # a finder of somebody's may raise what it likes of these
        return None


def is_installed(spec: ModuleSpec | None) -> bool:
    """Return whether a module lies where pip puts packages; one that is installed as editable does not."""
    places = [] if spec is None else [spec.origin, *(spec.submodule_search_locations or [])]
    return any(place and not _INSTALLED.isdisjoint(PurePath(place).parts) for place in places)


def is_of_python(name: str, spec: ModuleSpec | None) -> bool:
    """Return whether a module is one of Python's own, and not a file of somebody's that has such a name.

    Args:
        name: The name of a module that lies in no package.
        spec: Where it is.
    """
    if name not in sys.stdlib_module_names:
        return False
    file = file_of(spec, None)
    if file is None or not os.path.isfile(file):  # noqa: PTH113  (built into Python, or in its zip file)
        return True
    return not is_installed(spec) and PurePath(file).is_relative_to(_folder_of_python())


@functools.cache
def _folder_of_python() -> str:
    return sysconfig.get_path("stdlib")


def file_of(spec: ModuleSpec | None, module: ModuleType | None) -> str | None:
    """Return the file of a module's code; None if it has none.

    Args:
        spec: Where the module is.
        module: The module, if it is in use.
    """
    if spec is not None:
        return spec.origin if spec.has_location else None
    return getattr(module, "__file__", None)  # a script that runs as __main__ has no spec
