"""Norms and diagnostics that installed packages add, by entry points. None of theirs is imported for it.

A package that says in its pyproject.toml::

    [project.entry-points."bnlab.norms"]
    maxnorm = "my_layers.norms:MaxNorm"

    [project.entry-points."bnlab.diagnostics"]
    largest_weight = "my_layers.instruments:LargestWeight"

adds ``norm=maxnorm`` and ``diagnostics.names=[largest_weight]`` to every command. The names of bnlab's own catalogs,
and of YAML files in conf/norm/, win.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

from bnlab.errors import ConfigError

CLASS_PLACE = re.compile(r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
"""package.module:Class"""

_NAME = re.compile(r"^[A-Za-z_][\w.-]*$")
"""What ``norm=`` can be followed by without quotes, and a run's folder can begin with."""


@dataclass(frozen=True)
class Plugin:
    """What an installed package adds.

    Attributes:
        name: What it is asked for by.
        place: ``package.module:Class``.
        distribution: The package that says so, with its version.
    """

    name: str
    place: str
    distribution: str


@dataclass(frozen=True)
class PluginKind:
    """A kind of thing that installed packages add.

    Attributes:
        group: Of the entry points.
        setting: What stands before the name on the command line, for messages.
    """

    group: str
    setting: str

    def installed(self) -> list[Plugin]:
        """Return all that installed packages add, by name, whether they can be built or not.

        Nothing is imported for it. Takes some milliseconds: it reads the metadata of every installed package.
        """
        points = entry_points(group=self.group)
        found = [Plugin(point.name, point.value, _distribution(point)) for point in points]
        return sorted(found, key=lambda plugin: (plugin.name, plugin.place))

    def find(self, name: str) -> Plugin | None:
        """Return what an installed package adds by this name; None if there is nothing.

        Raises:
            ConfigError: Two packages add the name, or what it stands for is no ``package.module:Class``.
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
        """Return the names that installed packages add to those that are taken.

        Example:
            >>> NORM_PLUGINS.usable_names(["batch"])
            []
        """
        return sorted({plugin.name for plugin in self.installed() if self._fault(plugin, set(taken)) is None})

    def complaints(self, taken: Iterable[str]) -> list[str]:
        """Return one sentence for each of an installed package that cannot be reached by its name.

        Args:
            taken: Names that win over theirs.
        """
        found = [(plugin, self._fault(plugin, set(taken))) for plugin in self.installed()]
        return [
            f"{self.setting}{plugin.name} of {plugin.distribution} cannot be used: {fault}"
            for plugin, fault in found
            if fault
        ]

    def _fault(self, plugin: Plugin, taken: set[str]) -> str | None:
        """Return what is wrong with what a package adds, as far as can be said without importing it."""
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


def _distribution(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist is not None else "an unknown package"
