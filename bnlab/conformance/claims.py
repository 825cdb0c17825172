"""What a layer promises: by its own declarations, or by the family that it is held against."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from bnlab.errors import ConfigError, did_you_mean
from bnlab.norms.norm import DECLARATIONS, Formula, Invariance, Norm

_ANY_CHANNEL: frozenset[Invariance] = frozenset({"channel_shift", "channel_scale"})
_ANY_SAMPLE: frozenset[Invariance] = frozenset({"sample_shift", "sample_scale"})


@dataclass(frozen=True)
class Claims:
    """What a layer is held to.

    Attributes:
        formula: The family whose formula it computes in training mode, or None: one of its own.
        keeps_running_statistics: Training moves buffers, which eval mode reads.
        mixes_samples: In training mode a sample's output may depend on its neighbors.
        subtracts_mean: Adding a constant to all inputs changes nothing; None where that is not to be judged.
        invariances: What leaves its training-mode output unchanged.
        declared: The layer says all this itself, as those of bnlab do.
    """

    formula: Formula | None
    keeps_running_statistics: bool
    mixes_samples: bool
    subtracts_mean: bool | None
    invariances: frozenset[Invariance]
    declared: bool = False


FAMILIES: Mapping[Formula, Claims] = {
    "batch": Claims("batch", True, True, None, _ANY_CHANNEL),
    "layer": Claims("layer", False, False, None, _ANY_SAMPLE),
    "group": Claims("group", False, False, None, _ANY_SAMPLE),
    "instance": Claims("instance", False, False, None, _ANY_CHANNEL | _ANY_SAMPLE),
    "rms": Claims("rms", False, False, None, frozenset({"sample_scale"})),
}


def claims_of(layer: nn.Module, like: str | None, options: Mapping[str, Any]) -> Claims:
    """Return what a layer is held to: the family asked for, else what it declares, else BatchNorm.

    Args:
        layer: One of its instances.
        like: The family asked for.
        options: What it was built with; ``track_running_stats=False`` takes a promise back.

    Raises:
        ConfigError: There is no such family.
    """
    if like is not None:
        if like not in FAMILIES:
            raise ConfigError(f"--like must be a family of norms, got '{like}'. {did_you_mean(like, FAMILIES)}")
        claims = FAMILIES[like]  # type: ignore[index]  # just looked up
    elif hasattr(type(layer), "formula"):
        claims = _declared(layer)
        if claims.formula is not None and claims.formula not in FAMILIES:
            known = ", ".join(FAMILIES)
            raise ConfigError(f"{type(layer).__name__}.formula must be None or one of {known}, got {claims.formula!r}")
    else:
        claims = FAMILIES["batch"]
    tracks = options.get("track_running_stats", getattr(layer, "track_running_stats", True))
    if tracks is True and claims.formula == "instance":  # torch's can, and then reads them in eval mode
        return replace(claims, keeps_running_statistics=hasattr(layer, "track_running_stats"))
    return claims if tracks else replace(claims, keeps_running_statistics=False)


def _declared(layer: nn.Module) -> Claims:
    says = {name: getattr(layer, name, getattr(Norm, name)) for name in DECLARATIONS}
    return Claims(
        says["formula"],
        says["keeps_running_statistics"],
        says["mixes_samples"],
        says["subtracts_mean"],
        says["invariances"],
        declared=True,
    )
