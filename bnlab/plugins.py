"""Norms that installed packages add, by entry points: no part of bnlab is touched, and none of theirs is imported.

A package that says in its pyproject.toml::

    [project.entry-points."bnlab.norms"]
    maxnorm = "my_layers.norms:MaxNorm"

adds ``norm=maxnorm`` to every command. The names of bnlab's own catalog, and of YAML files in conf/norm/, win.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

from bnlab.errors import ConfigError

GROUP = "bnlab.norms"
"""Of the entry points."""

CLASS_PLACE = re.compile(r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
"""package.module:Class"""

_NAME = re.compile(r"^[A-Za-z_][\w.-]*$")
"""What ``norm=`` can be followed by without quotes, and a run's folder can begin with."""


@dataclass(frozen=True)
class InstalledNorm:
    """A norm of an installed package.

    Attributes:
        name: What follows ``norm=``.
        place: ``package.module:Class``.
        distribution: The package that says so, with its version.
    """

    name: str
    place: str
    distribution: str


def installed_norms() -> list[InstalledNorm]:
    """Return all norms that installed packages add, by name, whether they can be built or not.

    Nothing is imported for it. Takes some milliseconds: it reads the metadata of every installed package.
    """
    found = [InstalledNorm(point.name, point.value, _distribution(point)) for point in entry_points(group=GROUP)]
    return sorted(found, key=lambda norm: (norm.name, norm.place))


def find_installed_norm(name: str) -> InstalledNorm | None:
    """Return the norm that an installed package adds by this name; None if there is none.

    Raises:
        ConfigError: Two packages add the name, or what it stands for is no ``package.module:Class``.
    """
    found = [norm for norm in installed_norms() if norm.name == name]
    if not found:
        return None
    if len({norm.place for norm in found}) > 1:
        claims = " and ".join(f"{norm.place} of {norm.distribution}" for norm in found)
        raise ConfigError(f"norm={name} is ambiguous: {claims}. Write norm=package.module:Class instead.")
    if not CLASS_PLACE.match(found[0].place):
        fault = _fault(found[0], taken=set())
        raise ConfigError(f"norm={name} of {found[0].distribution} cannot be used: {fault} Mend or uninstall it.")
    return found[0]


def usable_names(taken: Iterable[str]) -> list[str]:
    """Return the names that installed packages add to those that are taken.

    Example:
        >>> usable_names(["batch"])
        []
    """
    return sorted({norm.name for norm in installed_norms() if _fault(norm, set(taken)) is None})


def complaints(taken: Iterable[str]) -> list[str]:
    """Return one sentence per norm of an installed package that cannot be reached by its name.

    Args:
        taken: Names that win over theirs.
    """
    found = [(norm, _fault(norm, set(taken))) for norm in installed_norms()]
    return [f"norm={norm.name} of {norm.distribution} cannot be used: {fault}" for norm, fault in found if fault]


def _fault(norm: InstalledNorm, taken: set[str]) -> str | None:
    """Return what is wrong with a norm of an installed package, as far as can be said without importing it."""
    if not CLASS_PLACE.match(norm.place):
        return f"its entry point must be package.module:Class, got '{norm.place}'."
    if norm.name in taken:
        return f"the name is taken. Reach it by norm={norm.place}."
    if norm.name.lower() in {"true", "false", "null", "nan", "inf"}:
        return f"the command line reads {norm.name} as a value, not as a name. Reach it by norm={norm.place}."
    if not _NAME.match(norm.name):
        return f"a name has letters, digits, _, . and - only. Reach it by norm={norm.place}."
    return None


def _distribution(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist is not None else "an unknown package"
