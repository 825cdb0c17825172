"""Name -> diagnostic. The one place where a diagnostic is added. No torch: the classes are imported when asked for."""

import importlib
import os
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bnlab.errors import ConfigError, did_you_mean
from bnlab.plugins import CLASS_PLACE, DIAGNOSTIC_PLUGINS

if TYPE_CHECKING:
    from bnlab.diagnostics.diagnostic import Diagnostic

DIAGNOSTICS = {
    "saturation": "bnlab.diagnostics.saturation:Saturation",
    "saturation_strict": "bnlab.diagnostics.saturation:SaturationStrict",
    "saturation_sides": "bnlab.diagnostics.saturation:SaturationSides",
    "saturation_by_slope": "bnlab.diagnostics.saturation:SaturationBySlope",
    "saturated_units": "bnlab.diagnostics.saturation:SaturatedUnits",
    "saturation_rho": "bnlab.diagnostics.saturation:SaturationRho",
    "zero_fraction": "bnlab.diagnostics.saturation:ZeroFraction",
    "dead_fraction": "bnlab.diagnostics.dead_units:DeadFraction",
    "dead_fraction_eval": "bnlab.diagnostics.dead_units:DeadFractionEval",
    "activation_mean": "bnlab.diagnostics.distributions:ActivationMean",
    "activation_variance": "bnlab.diagnostics.distributions:ActivationVariance",
    "activation_quantiles": "bnlab.diagnostics.distributions:ActivationQuantiles",
    "preactivation_quantiles": "bnlab.diagnostics.distributions:PreactivationQuantiles",
    "effective_rank": "bnlab.diagnostics.features:EffectiveRank",
    "stable_rank": "bnlab.diagnostics.features:StableRank",
    "intrinsic_dim_ratio": "bnlab.diagnostics.features:IntrinsicDimRatio",
    "mean_cosine": "bnlab.diagnostics.features:MeanCosine",
    "gradient_norm": "bnlab.diagnostics.gradients:GradientNorm",
    "gradient_ratio": "bnlab.diagnostics.gradients:GradientRatio",
    "gradient_growth": "bnlab.diagnostics.gradients:GradientGrowth",
    "preactivation_gradient_norm": "bnlab.diagnostics.gradients:PreactivationGradientNorm",
    "relative_gradient_norm": "bnlab.diagnostics.gradients:RelativeGradientNorm",
    "gradient_noise_scale": "bnlab.diagnostics.gradient_noise:GradientNoiseScale",
    "gradient_snr": "bnlab.diagnostics.gradient_noise:GradientSNR",
    "update_ratio": "bnlab.diagnostics.updates:UpdateRatio",
    "angular_update": "bnlab.diagnostics.updates:AngularUpdate",
    "effective_lr": "bnlab.diagnostics.updates:EffectiveLearningRate",
    "preactivation_drift": "bnlab.diagnostics.drift:PreactivationDrift",
    "drift_from_start": "bnlab.diagnostics.drift:DriftFromStart",
    "wasserstein_drift": "bnlab.diagnostics.drift:WassersteinDrift",
    "loss_range": "bnlab.diagnostics.landscape:LossRange",
    "gradient_predictiveness": "bnlab.diagnostics.landscape:GradientPredictiveness",
    "effective_beta": "bnlab.diagnostics.landscape:EffectiveBeta",
    "sharpness": "bnlab.diagnostics.curvature:Sharpness",
    "sharpness_invariant": "bnlab.diagnostics.curvature:InvariantSharpness",
    "accuracy_by_statistics": "bnlab.diagnostics.two_faces:AccuracyByStatistics",
    "loss_by_statistics": "bnlab.diagnostics.two_faces:LossByStatistics",
    "prediction_flips": "bnlab.diagnostics.two_faces:PredictionFlips",
    "running_mean_distance": "bnlab.diagnostics.two_faces:RunningMeanDistance",
    "running_variance_distance": "bnlab.diagnostics.two_faces:RunningVarianceDistance",
    "norm_scale": "bnlab.diagnostics.internals:NormScale",
    "norm_shift": "bnlab.diagnostics.internals:NormShift",
    "near_zero_channels": "bnlab.diagnostics.internals:NearZeroChannels",
    "statistic_noise": "bnlab.diagnostics.internals:StatisticNoise",
    "gradient_shift": "bnlab.diagnostics.gradient_shift:GradientShift",
}


NAME = re.compile(r"^[A-Za-z_]\w*$")
"""What a diagnostic may be called: its name begins a tag, which a slash would cut."""


def build_diagnostics(names: Sequence[str]) -> "list[Diagnostic]":
    """Build diagnostics by their names, or by the places of their classes.

    Args:
        names: Of the catalog or of an installed package (``bnlab list diagnostics``), or ``package.module:Class``.

    Raises:
        ConfigError: No such diagnostic, the class is none, or two have one name.
    """
    built: dict[str, tuple[str, Diagnostic]] = {}
    for name in names:
        diagnostic = _build(name)
        if diagnostic.name in built:
            twins = " and ".join(dict.fromkeys((built[diagnostic.name][0], name)))
            raise ConfigError(f"diagnostics.names: {diagnostic.name} stands there twice, by {twins}. Leave one out.")
        built[diagnostic.name] = (name, diagnostic)
    return [diagnostic for _, diagnostic in built.values()]


def _build(name: str) -> "Diagnostic":
    found = find_diagnostic_class(name)
    if not all(isinstance(getattr(found, fact, None), str) for fact in ("name", "unit")):
        raise ConfigError(f"diagnostics.names: {name} must have a name and a unit, both text, as class attributes.")
    if not NAME.match(found.name):
        raise ConfigError(f"diagnostics.names: {name} must have a name of letters, digits and _, got '{found.name}'.")
    try:
        return found()
    except Exception as error:  # somebody's own class may raise anything
        raise ConfigError(f"diagnostics.names: {name} cannot be built without arguments: {error}.") from error


def find_place(name: str) -> str:
    """Return ``package.module:Class`` of a name of the catalog, a name of an installed package, or of itself.

    Raises:
        ConfigError: No such name.
    """
    installed = DIAGNOSTIC_PLUGINS.find(name) if name not in DIAGNOSTICS and ":" not in name else None
    place = installed.place if installed else DIAGNOSTICS.get(name, name)
    if not CLASS_PLACE.match(place):
        known = [*DIAGNOSTICS, *DIAGNOSTIC_PLUGINS.usable_names(DIAGNOSTICS)]
        raise ConfigError(f"diagnostics.names: {name} is not known. {did_you_mean(name, known)}")
    return place


def find_diagnostic_class(name: str) -> "type[Diagnostic]":
    """Return the class behind a name of the catalog, a name of an installed package or a ``package.module:Class``.

    Raises:
        ConfigError: No such name, module or class, or it is no diagnostic.
    """
    from bnlab.diagnostics.diagnostic import Diagnostic  # noqa: PLC0415  (torch, for those who measure alone)

    place = find_place(name)
    module_name, _, class_name = place.partition(":")
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
