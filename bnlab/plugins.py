"""Classes that are not in bnlab's catalogs: by their place, or by a name that an installed package gives them.

A package with these lines in its pyproject.toml::

    [project.entry-points."bnlab.norms"]
    maxnorm = "my_layers.norms:MaxNorm"

    [project.entry-points."bnlab.diagnostics"]
    largest_weight = "my_layers.instruments:LargestWeight"

    [project.entry-points."bnlab.models"]
    widenet = "my_layers.nets:WideNet"

adds ``norm=maxnorm``, ``diagnostics.names=[largest_weight]`` and ``model=widenet`` to every command. Names of bnlab's
own catalogs and of YAML files in conf/norm/ and conf/model/ come first. The package is not imported until its class is
built.
"""

import contextlib
import difflib
import functools
import importlib
import io
import os
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from pathlib import Path
from typing import Any, TypeVar

from bnlab.errors import ConfigError
from bnlab.own_code.given import find_given, is_given
from bnlab.own_code.module_files import find_current_folder
from bnlab.own_code.modules import remember_as_loaded

CLASS_PLACE = re.compile(r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
"""The form of a class's place: package.module:Class."""

OWN_PLACE = re.compile(r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.-]*$")
"""The form of a network's place: a class's, or the name of a network in a collection, such as timm:resnet18.a1_in1k."""

COLLECTIONS = ("torchvision", "timm")
"""Packages that build a network by its name. Behind their names stands no module's class."""

_NAME = re.compile(r"^[A-Za-z_][\w.-]*$")
"""A name that can follow ``norm=`` without quotes, and can begin the name of a run's folder."""

_Base = TypeVar("_Base")


def load_class(
    place: str, base: type[_Base], what: str, cure: str = "It is read as package.module:Class."
) -> type[_Base]:
    """Import a class. Its module may also lie in the current folder, unless it is one of bnlab's own.

    Args:
        place: The class, as ``package.module:Class``.
        base: The class that it must be derived from.
        what: What the class is for, as the user wrote it, such as ``norm=my_layers:Mine``; begins every message.
        cure: A sentence that says what to do; ends every message.

    Raises:
        ConfigError: The module is missing or cannot be imported, it lacks the class, or the class is of another kind.

    Example:
        >>> load_class("bnlab.errors:ConfigError", Exception, "an example").__name__
        'ConfigError'
    """
    found = load_object(place, what, cure)
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ConfigError(f"{what} must be a subclass of {_public_name(base)}, got {found!r}. {cure}")
    return found


def load_object(place: str, what: str, cure: str) -> Any:
    """Import a class or a function. Its module may also lie in the current folder, unless it is one of bnlab's own.

    Args:
        place: The object, as ``package.module:name``.
        what: What it is for, as the user wrote it; begins every message.
        cure: A sentence that says what to do; ends every message.

    Raises:
        ConfigError: The module is missing or cannot be imported, or it has no such name.
    """
    if is_given(place):
        given = find_given(place)
        if given is None:
            key, name = what.partition("=")[0], place.partition(":")[2]
            raise ConfigError(
                f"{what} was given to bnlab.train as an object, which this process does not have: give it again, "
                f"bnlab.train(..., {key}={name}), or put it into a module, {key}=package.module:{name}."
            )
        return given.value
    module_name, _, class_name = place.partition(":")
    is_own = module_name.partition(".")[0] != "bnlab"
    if is_own:
        find_current_folder()
    elif module_name in sys.modules and hasattr(sys.modules[module_name], class_name):  # most calls: each layer's norm
        return getattr(sys.modules[module_name], class_name)
    before, said = set(sys.modules), io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            module = importlib.import_module(module_name)
        sys.stderr.write(said.getvalue())
        if is_own:
            remember_as_loaded(place, before)
    except SystemExit as error:
        raise ConfigError(
            f"{what} cannot be imported: {module_name} ends the program. Put its script part under "
            "if __name__ == '__main__':"
        ) from error
    except Exception as error:  # a user's module can raise anything while it is imported
        if isinstance(error, ModuleNotFoundError) and f"{module_name}.".startswith(f"{error.name}."):
            near = _near_module(place)
            raise ConfigError(f"{what} cannot be imported: there is no module {error.name}. {near}{cure}") from error
        reason = (str(error).strip().splitlines() or [""])[0]
        raise ConfigError(f"{what} cannot be imported: {type(error).__name__}: {reason}. {cure}") from error
    try:
        return getattr(module, class_name)
    except AttributeError as error:
        near = _meant(class_name, vars(module))
        raise ConfigError(f"{what} cannot be imported: {module_name} has no {class_name}. {near}{cure}") from error


def _near_module(place: str) -> str:
    """Return what was meant by a module that is not there: one in the current folder; empty if none is like it.

    Example:
        >>> _near_module("layers_that_nobody_has.py:Mine")
        'Leave .py out: layers_that_nobody_has:Mine. '
    """
    module, _, name = place.partition(":")
    if module.endswith(".py"):
        return f"Leave .py out: {module.removesuffix('.py')}:{name}. "
    here = [path.stem for path in Path.cwd().glob("*.py")]
    return _meant(module, here)


def _meant(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, [name for name in known if not name.startswith("_")], n=1)
    return f"Did you mean {near[0]}? " if near else ""


def _public_name(base: type) -> str:
    """Return the name by which a class is imported: torch.nn.Module, not torch.nn.modules.module.Module."""
    module = base.__module__
    while "." in module and getattr(sys.modules.get(module.rpartition(".")[0]), base.__name__, None) is base:
        module = module.rpartition(".")[0]
    return f"{module}.{base.__name__}"


@dataclass(frozen=True)
class Plugin:
    """A class that an installed package adds.

    Attributes:
        name: The name that the package gives to the class.
        place: The class, as ``package.module:Class``.
        distribution: The name and the version of the package.
    """

    name: str
    place: str
    distribution: str


@dataclass(frozen=True)
class PluginKind:
    """A kind of class that installed packages add: norms, networks, or diagnostics.

    Attributes:
        group: The group of entry points that lists them in a package.
        setting: The text before the name on the command line, for messages.
    """

    group: str
    setting: str

    def installed(self) -> list[Plugin]:
        """Return all classes that installed packages add, sorted by name; some may be unusable.

        No package is imported. It takes some milliseconds, for the metadata of every installed package, and again
        after one has been installed.
        """
        points = _entry_points(self.group, tuple(map(_stamp, sys.path)))
        found = [Plugin(point.name, point.value, _distribution(point)) for point in points]
        return sorted(found, key=lambda plugin: (plugin.name, plugin.place))

    def find(self, name: str) -> Plugin | None:
        """Return the class that an installed package adds by this name; None if no package does.

        Raises:
            ConfigError: Two packages add the name, or its entry point is not of the form ``package.module:Class``.
        """
        found = [plugin for plugin in self.installed() if plugin.name == name]
        if not found:
            return None
        if len({plugin.place for plugin in found}) > 1:
            claims = " and ".join(f"{plugin.place} of {plugin.distribution}" for plugin in found)
            raise ConfigError(f"{self.setting}{name} is ambiguous: {claims}. Write package.module:Class instead.")
        if not CLASS_PLACE.match(found[0].place):
            fault = self._fault(found[0], taken=set())
            raise ConfigError(
                f"{self.setting}{name} of {found[0].distribution} cannot be used: {fault} Mend or uninstall it."
            )
        return found[0]

    def usable_names(self, taken: Iterable[str]) -> list[str]:
        """Return the names that installed packages add, without the unusable ones.

        Args:
            taken: Names of bnlab's own, which come first.

        Example:
            >>> NORM_PLUGINS.usable_names(["batch"])
            []
        """
        return sorted({plugin.name for plugin in self.installed() if self._fault(plugin, set(taken)) is None})

    def complaints(self, taken: Iterable[str]) -> list[str]:
        """Return one sentence for each class of an installed package whose name is unusable.

        Args:
            taken: Names of bnlab's own, which come first.
        """
        found = [(plugin, self._fault(plugin, set(taken))) for plugin in self.installed()]
        return [
            f"{self.setting}{plugin.name} of {plugin.distribution} cannot be used: {fault}"
            for plugin, fault in found
            if fault
        ]

    def _fault(self, plugin: Plugin, taken: set[str]) -> str | None:
        """Return why the name of a package's class is unusable, judged without an import; None: it is usable."""
        cure = f"Reach it by {self.setting}{plugin.place}."
        if not CLASS_PLACE.match(plugin.place):
            return f"its entry point must be package.module:Class, got '{plugin.place}'."
        if plugin.name in taken:
            return f"the name is taken. {cure}"
        if plugin.name.lower() in {"true", "false", "null", "nan", "inf"}:
            return f"the command line reads {plugin.name} as a value, not as a name. {cure}"
        if not _NAME.match(plugin.name):
            return f"a name has letters, digits, _, . and - only. {cure}"
        return None


NORM_PLUGINS = PluginKind("bnlab.norms", "norm=")
DIAGNOSTIC_PLUGINS = PluginKind("bnlab.diagnostics", "diagnostics.names: ")
MODEL_PLUGINS = PluginKind("bnlab.models", "model=")


@functools.lru_cache(maxsize=8)
def _entry_points(group: str, stamps: tuple[tuple[str, int], ...]) -> EntryPoints:  # noqa: ARG001
    return entry_points(group=group)


def _stamp(folder: str) -> tuple[str, int]:
    """Return when a package was last added to a folder of packages, or taken away."""
    try:
        return folder, os.stat(folder or ".").st_mtime_ns  # noqa: PTH116
    except OSError:
        return folder, 0


def _distribution(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist is not None else "an unknown package"
