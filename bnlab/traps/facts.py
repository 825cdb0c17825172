"""Facts about a norm, from its declarations or, for torch's own layers, from their class.

torch's layers declare nothing, so this module, and no other, checks for classes.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from bnlab.norms.norm import DECLARATIONS, Norm

Kind = Literal["batch", "group", "layer", "instance", "rms", "own"]


@dataclass(frozen=True)
class NormFacts:
    """A norm at its place in a network, in training mode.

    Attributes:
        kind: The family of its formula; ``own``: another formula.
        values_per_statistic: The number of values in a mean or a mean square; None: unknown.
        removes_channel_shift: Whether a constant added to a channel has no effect.
        mixes_samples: Whether a sample's output depends on the other samples of its batch.
        keeps_running_statistics: Whether eval mode uses averages from training mode.
        kept: The share of the old running value that a step keeps, in [0, 1]; None: a plain average, or no average.
    """

    kind: Kind
    values_per_statistic: int | None
    removes_channel_shift: bool
    mixes_samples: bool
    keeps_running_statistics: bool
    kept: float | None


def facts_of(module: nn.Module, shape: tuple[int, ...]) -> NormFacts | None:
    """Return facts about a norm; None if a module is no known norm.

    A frozen norm, in eval mode while its network trains, computes no statistics, so it has no traps: None too.

    Args:
        module: Any module of a network.
        shape: The shape of the module's input.
    """
    if not module.training or len(shape) < 2 or 0 in shape:
        return None
    num_values = math.prod(shape)
    if isinstance(module, _BatchNorm):
        kept = None if module.momentum is None else round(1 - module.momentum, 12)
        return NormFacts("batch", num_values // shape[1], True, True, module.running_mean is not None, kept)
    if isinstance(module, _InstanceNorm):
        without_batch = len(shape) == module._get_no_batch_dim()  # type: ignore[no-untyped-call]
        channels = shape[:1] if without_batch else shape[:2]
        kept = None if module.momentum is None else round(1 - module.momentum, 12)
        keeps = module.running_mean is not None
        return NormFacts("instance", num_values // math.prod(channels), True, False, keeps, kept)
    if isinstance(module, nn.GroupNorm):
        per_group = num_values // shape[0] // module.num_groups
        return NormFacts("group", per_group, module.num_groups == module.num_channels, False, False, None)
    if isinstance(module, nn.LayerNorm):
        return NormFacts("layer", math.prod(module.normalized_shape), False, False, False, None)
    if isinstance(module, nn.RMSNorm):
        return NormFacts("rms", math.prod(module.normalized_shape), False, False, False, None)
    return _declared(module, shape) if any(hasattr(module, name) for name in DECLARATIONS) else None


def _declared(norm: Any, shape: tuple[int, ...]) -> NormFacts:
    per_sample = math.prod(shape[1:])
    values = {
        "batch": math.prod(shape) // shape[1],
        "group": per_sample // getattr(norm, "num_groups", 1),
        "layer": per_sample,
        "instance": per_sample // shape[1],
        "rms": per_sample,
    }
    said = {name: getattr(norm, name, getattr(Norm, name)) for name in DECLARATIONS}
    num_samples, kept = shape[0], None
    if isinstance(norm, Norm):  # in another class, momentum may be the share of the new value
        positions = per_sample // shape[1]
        num_samples, kept = norm.samples_per_statistic(num_samples, positions), norm.kept_per_step()
    own = num_samples * per_sample // shape[1] if said["mixes_samples"] else None
    return NormFacts(
        kind=said["formula"] or "own",
        values_per_statistic=values[said["formula"]] if said["formula"] else own,
        removes_channel_shift="channel_shift" in said["invariances"],
        mixes_samples=said["mixes_samples"],
        keeps_running_statistics=said["keeps_running_statistics"] and any(True for _ in norm.buffers()),
        kept=kept,
    )
