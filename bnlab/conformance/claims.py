"""What a layer promises: by its own declarations, or as a member of a family of norms."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from torch import nn

from bnlab.errors import ConfigError, did_you_mean
from bnlab.norms.norm import Formula, Invariance, Norm

_ANY_CHANNEL: frozenset[Invariance] = frozenset({"channel_shift", "channel_scale"})
_ANY_SAMPLE: frozenset[Invariance] = frozenset({"sample_shift", "sample_scale"})


@dataclass(frozen=True)
class Claims:
    """The promises of a layer that the laws test.

    Attributes:
        formula: The family whose formula the layer computes in training mode; None: it has a formula of its own.
        keeps_running_statistics: Whether training updates buffers that eval mode reads.
        mixes_samples: Whether a sample's output in training mode may depend on the other samples.
        subtracts_mean: Whether adding a constant to all inputs leaves the output unchanged; None: not tested.
        invariances: Changes of the input that leave the training output unchanged.
        declared: Whether the layer's class declares these promises itself, as the norms of bnlab do.
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
    """Return a layer's promises: those of the family asked for, else those it declares, else BatchNorm's.

    Args:
        layer: An instance of the layer.
        like: The name of a family in `FAMILIES`; None: what the layer declares, else "batch".
        options: The options that the layer was built with. With ``track_running_stats=False`` it need not keep running
            statistics.

    Raises:
        ConfigError: There is no family of this name.
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
    if tracks is True and claims.formula == "instance":  # torch's keeps them and reads them in eval mode
        return replace(claims, keeps_running_statistics=hasattr(layer, "track_running_stats"))
    return claims if tracks else replace(claims, keeps_running_statistics=False)


def _declared(layer: nn.Module) -> Claims:
    names = [field.name for field in fields(Claims) if field.name != "declared"]
    return Claims(**{name: getattr(layer, name, getattr(Norm, name)) for name in names}, declared=True)
