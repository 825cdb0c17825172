"""Name -> diagnostic. The one place where a diagnostic is added. No torch: the classes are imported when asked for."""

import importlib
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bnlab.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from bnlab.diagnostics.diagnostic import Diagnostic

DIAGNOSTICS = {
    "saturation": "bnlab.diagnostics.activations:Saturation",
    "dead_fraction": "bnlab.diagnostics.activations:DeadFraction",
    "gradient_norm": "bnlab.diagnostics.gradients:GradientNorm",
}


def build_diagnostics(names: Sequence[str]) -> "list[Diagnostic]":
    """Build diagnostics by their names, or by the places of their classes.

    Args:
        names: Of the catalog, or ``package.module:Class``.

    Raises:
        ConfigError: No such diagnostic, or the class is none.
    """
    diagnostics = [find_diagnostic_class(name)() for name in names]
    for diagnostic, name in zip(diagnostics, names, strict=True):
        twins = [other for other, one in zip(names, diagnostics, strict=True) if one.name == diagnostic.name]
        if len(twins) > 1:
            raise ConfigError(
                f"diagnostics.names: {' and '.join(twins)} both call themselves {diagnostic.name}. Leave one out."
            )
        assert diagnostic.name, name
    return diagnostics


def find_diagnostic_class(name: str) -> "type[Diagnostic]":
    """Return the class behind a name of the catalog or a ``package.module:Class``.

    Raises:
        ConfigError: No such name, module or class, or it is no diagnostic.
    """
    from bnlab.diagnostics.diagnostic import Diagnostic  # noqa: PLC0415  (torch, for those who measure alone)

    module_name, colon, class_name = DIAGNOSTICS.get(name, name).partition(":")
    if not (module_name and colon):
        raise ConfigError(f"diagnostics.names: {name} is not known. {did_you_mean(name, DIAGNOSTICS)}")
    if name not in DIAGNOSTICS and os.getcwd() not in sys.path:  # noqa: PTH109  (a string is what sys.path holds)
        sys.path.insert(0, os.getcwd())  # noqa: PTH109  (one's own usually lies where the command is typed)
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except Exception as error:  # somebody's module can raise anything while it is imported
        raise ConfigError(
            f"diagnostics.names: {name} cannot be imported: {error}. It is read as package.module:Class."
        ) from error
    if not (isinstance(found, type) and issubclass(found, Diagnostic)):
        raise ConfigError(
            f"diagnostics.names: {name} must be a subclass of bnlab.diagnostics.diagnostic.Diagnostic, got {found!r}."
        )
    return found
