"""Swept settings that another setting overrules: their runs come out alike, which a table would show as a result."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Settings = Mapping[str, Any]
"""A config as dotted key -> value; the name of a norm, a schedule and so on stands under ``norm``, ``schedule``."""

_OVERRULED: tuple[tuple[tuple[str, ...], Callable[[Settings], bool], str], ...] = (
    # these settings, where this holds, for this reason
    (("train.epochs",), lambda c: c["train.steps"] is not None, "train.steps wins over it. Write train.steps=null"),
    (
        ("schedule.milestones", "schedule.step_factor"),
        lambda c: c["schedule"] != "step",
        "only schedule.name=step reads it",
    ),
    (
        ("schedule.peak_at", "schedule.start_factor"),
        lambda c: c["schedule"] != "one_cycle",
        "only schedule.name=one_cycle reads it",
    ),
    (("model.init",), lambda c: c.get("model.init_std") is not None, "model.init_std wins over it"),
    (("placement",), lambda c: c["norm"] == "none", "norm=none has nothing to place"),
    (("norm.bias",), lambda c: c.get("norm.affine") is False, "norm.affine=false leaves scale and shift out"),
    (
        ("norm.momentum", "norm.unbiased_running_var"),
        lambda c: c.get("norm.track_running_stats") is False,
        "norm.track_running_stats=false keeps no running statistics",
    ),
    (
        ("train.parameters",),
        lambda c: (
            (c["norm"] == "none" or c.get("norm.affine") is False)
            and c["train.parameters"] in {"output", "norms_and_output"}
        ),
        "the norm has no parameters, so that norms_and_output trains what output trains",
    ),
    (
        ("optim.decay_norm_and_bias",),
        lambda c: not c["optim.weight_decay"],
        "without optim.weight_decay nothing is decayed",
    ),
)


def find_without_effect(configs: Sequence[Settings], swept: Sequence[str]) -> list[str]:
    """Return a sentence for each swept setting that has no effect in some runs.

    Args:
        configs: The settings of each run.
        swept: The settings in which the runs differ.
    """
    warnings = []
    for keys, is_overruled, why in _OVERRULED:
        overruled = [config for config in configs if is_overruled(config)]
        for key in keys:
            if key in swept and len({str(config.get(key)) for config in overruled}) > 1:
                where = "" if len(overruled) == len(configs) else f" in {len(overruled)} of {len(configs)} runs"
                warnings.append(f"{key} is swept and has no effect{where}: {why}.")
    return warnings
