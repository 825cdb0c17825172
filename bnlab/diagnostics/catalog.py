"""Name -> diagnostic, as text. The one place where a diagnostic is added. Without torch."""

from bnlab.errors import ConfigError, did_you_mean
from bnlab.plugins import CLASS_PLACE, DIAGNOSTIC_PLUGINS
from bnlab.renamed import current_name

DIAGNOSTICS = {  # the last three in no preset: one more name there would give all its runs another id
    "saturation": "bnlab.diagnostics.saturation:Saturation",
    "saturation_strict": "bnlab.diagnostics.saturation:SaturationStrict",
    "saturation_sides": "bnlab.diagnostics.saturation:SaturationSides",
    "saturation_by_slope": "bnlab.diagnostics.saturation:SaturationBySlope",
    "saturated_units": "bnlab.diagnostics.dead_units:SaturatedUnits",
    "saturation_degree": "bnlab.diagnostics.saturation:SaturationDegree",
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
    "accuracy_by_statistics": "bnlab.diagnostics.statistics_comparison:AccuracyByStatistics",
    "loss_by_statistics": "bnlab.diagnostics.statistics_comparison:LossByStatistics",
    "prediction_flips": "bnlab.diagnostics.statistics_comparison:PredictionFlips",
    "running_mean_distance": "bnlab.diagnostics.running_distance:RunningMeanDistance",
    "running_variance_distance": "bnlab.diagnostics.running_distance:RunningVarianceDistance",
    "norm_scale": "bnlab.diagnostics.internals:NormScale",
    "norm_shift": "bnlab.diagnostics.internals:NormShift",
    "near_zero_channels": "bnlab.diagnostics.internals:NearZeroChannels",
    "batch_statistics_noise": "bnlab.diagnostics.internals:BatchStatisticsNoise",
    "gradient_shift": "bnlab.diagnostics.gradient_shift:GradientShift",
    "norm_saturation": "bnlab.diagnostics.squashing:NormSaturation",
    "logit_scale": "bnlab.diagnostics.logits:LogitScale",
    "stream_variance": "bnlab.diagnostics.streams:StreamVariance",
}


def find_place(name: str) -> str:
    """Return the ``package.module:Class`` that a name stands for.

    Args:
        name: A name of the catalog or one that it had in an earlier version, a name of an installed package, or a
            ``package.module:Class``, which comes back as it is.

    Raises:
        ConfigError: The name is none of these.
    """
    name = current_name(name)
    installed = DIAGNOSTIC_PLUGINS.find(name) if name not in DIAGNOSTICS and ":" not in name else None
    place = installed.place if installed else DIAGNOSTICS.get(name, name)
    if not CLASS_PLACE.match(place):
        known = [*DIAGNOSTICS, *DIAGNOSTIC_PLUGINS.usable_names(DIAGNOSTICS)]
        raise ConfigError(f"diagnostics.names: {name} is not known. {did_you_mean(name, known)}")
    return place
