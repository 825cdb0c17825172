"""Name -> diagnostic. The one place where a diagnostic is added."""

from collections.abc import Sequence

from bnlab.diagnostics.activations import DeadFraction, Saturation
from bnlab.diagnostics.diagnostic import Diagnostic
from bnlab.diagnostics.gradients import GradientNorm
from bnlab.errors import ConfigError, did_you_mean

DIAGNOSTICS: dict[str, type[Diagnostic]] = {d.name: d for d in (Saturation, DeadFraction, GradientNorm)}


def build_diagnostics(names: Sequence[str]) -> list[Diagnostic]:
    """Build diagnostics by their names.

    Raises:
        ConfigError: No such diagnostic.
    """
    for name in names:
        if name not in DIAGNOSTICS:
            raise ConfigError(f"diagnostics.names: {name} is not known. {did_you_mean(name, DIAGNOSTICS)}")
    return [DIAGNOSTICS[name]() for name in names]
