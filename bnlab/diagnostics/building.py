"""Diagnostics built from their names."""

import re
from collections.abc import Sequence

from bnlab.diagnostics.catalog import DIAGNOSTICS, find_place
from bnlab.diagnostics.diagnostic import Diagnostic
from bnlab.errors import ConfigError
from bnlab.plugins import load_class
from bnlab.renamed import current_name

NAME = re.compile(r"^[A-Za-z_]\w*$")
"""The form of a diagnostic's name: it begins a TensorBoard tag, which a slash would split."""


def build_diagnostics(names: Sequence[str]) -> list[Diagnostic]:
    """Build diagnostics by their names, or by the places of their classes.

    Args:
        names: Names of the catalog or of an installed package (``bnlab list diagnostics``), or
            ``package.module:Class``.

    Raises:
        ConfigError: There is no such diagnostic, the class is no diagnostic, or it has a name that another one has.
    """
    built: dict[str, tuple[str, Diagnostic]] = {}
    for name in names:
        diagnostic = _build(name)
        if diagnostic.name in built:
            twins = " and ".join(dict.fromkeys((built[diagnostic.name][0], name)))
            raise ConfigError(f"diagnostics.names: {diagnostic.name} stands there twice, by {twins}. Leave one out.")
        built[diagnostic.name] = (name, diagnostic)
    return [diagnostic for _, diagnostic in built.values()]


def _build(name: str) -> Diagnostic:
    found = find_diagnostic_class(name)
    if not all(isinstance(getattr(found, fact, None), str) for fact in ("name", "unit")):
        raise ConfigError(f"diagnostics.names: {name} must have a name and a unit, both text, as class attributes.")
    if not NAME.match(found.name):
        raise ConfigError(f"diagnostics.names: {name} must have a name of letters, digits and _, got '{found.name}'.")
    current = current_name(found.name)
    if current in DIAGNOSTICS and find_place(name) != DIAGNOSTICS[current]:
        raise ConfigError(
            f"diagnostics.names: {name} must have a name of its own: {found.name} is one of bnlab's diagnostics, as "
            "which its values would be shown and judged. Give the class another name: name = 'my_"
            f"{found.name}'."
        )
    try:
        return found()
    except (Exception, SystemExit) as error:  # a user's own class may raise anything
        raise ConfigError(f"diagnostics.names: {name} cannot be built without arguments: {error}.") from error


def find_diagnostic_class(name: str) -> type[Diagnostic]:
    """Return the class behind a name of the catalog, a name of an installed package or a ``package.module:Class``.

    Raises:
        ConfigError: No such name, module or class, or it is no diagnostic.
    """
    what = f"diagnostics.names: {name}"
    return load_class(find_place(name), Diagnostic, what)  # type: ignore[type-abstract]  # only the base is abstract
