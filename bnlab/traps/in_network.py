"""Traps in a network of any kind, found by one forward pass."""

from typing import Any

from torch import nn
from torch.nn.parameter import is_lazy

from bnlab.errors import ConfigError
from bnlab.traps.trap import FEW_VALUES, SMALL_MOMENTUM, Trap, some_of
from bnlab.traps.watching import NormUse, Pass, watch


def find_traps_in(model: nn.Module, *example: Any) -> list[Trap]:
    """Look for traps in a network of your own, bnlab's norms or torch's.

    It is run once, in training mode and without gradients, and left as it was: buffers, modes, hooks, random state. Its
    example is copied before. A norm in eval mode that ``model.train()`` does not wake is frozen, and no trap.

    Args:
        model: On any device.
        *example: What it takes: one batch of the shape that it will be trained on.

    Returns:
        Errors first, then warnings. An empty list says that none of the traps below is there, not that all is well.

    Raises:
        ConfigError: The example does not go through, and no trap says why; or a lazy module has no weights yet.

    Cost:
        One forward pass, and the memory of one with gradients.

    Blind spots:
        Functions without a module: ``F.batch_norm``, and dropout inside of attention. A bias is called useless only
        where the norm is all that sees the output of its layer; a norm behind a reshape is not followed.

    Example:
        >>> import torch
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8, momentum=0.9), nn.ReLU())
        >>> [trap.name for trap in find_traps_in(model, torch.randn(16, 4))]
        ['bias_before_norm', 'small_momentum']
    """
    if any(is_lazy(tensor) for tensor in [*model.parameters(), *model.buffers()]):
        raise ConfigError("the network has lazy modules, which looking would make real. Run a batch through it first.")
    seen = watch(model, *example)
    traps = [*one_value(seen), *_no_space(seen)]
    if seen.error is not None and not any(trap.severity == "error" for trap in traps):
        raise ConfigError(
            f"the network cannot take the example, so nothing can be said of it: {seen.error}. "
            "Give it a batch that it can be trained on."
        ) from seen.error
    traps += [
        *_few_values(seen),
        *signs_only(seen),
        *bias_before_norm(seen),
        *_in_place(seen),
        *dropout_before_batch_norm(seen),
    ]
    traps += [*small_momentum(seen), *_no_running_statistics(model)]
    return sorted(traps, key=lambda trap: trap.severity)


def one_value(seen: Pass) -> list[Trap]:
    """Find norms whose every statistic is taken over one value: all that comes out is the bias."""
    uses = [use for use in seen.norms if use.facts.values_per_statistic == 1 and use.facts.kind != "rms"]
    cures = {
        "batch": "Use a larger batch, or a norm of single samples.",
        "group": "Use fewer groups.",
        "instance": "Use LayerNorm or GroupNorm there.",
    }
    return [
        Trap(
            "one_value",
            "error",
            f"{_listed(same)} of one value per statistic, got {use.shape}: each value is its own mean, and all that "
            f"comes out is the bias. {cures.get(kind, 'Take the norm out.')}",
        )
        for kind in dict.fromkeys(use.facts.kind for use in uses)
        if (same := [use for use in uses if use.facts.kind == kind]) and (use := same[0])
    ]


def bias_before_norm(seen: Pass) -> list[Trap]:
    """Find biases whose whole effect the norm behind takes away again."""
    maps = [use.biased_map for use in seen.norms if use.biased_map and use.facts.removes_channel_shift]
    if not maps:
        return []
    message = f"{some_of(maps)}: a bias right before a norm that takes each channel's mean away changes nothing."
    return [Trap("bias_before_norm", "warning", f"{message} Build the layer with bias=False.")]


def dropout_before_batch_norm(seen: Pass) -> list[Trap]:
    """Find running statistics that are taken while dropout thins what they describe, and read when it does not."""
    uses = [use for use in seen.norms if use.dropout and use.facts.keeps_running_statistics]
    if not uses:
        return []
    message = (
        f"dropout ({uses[0].dropout}) before {_listed(uses)}: the running variance is that of thinned values, and eval "
        "mode normalizes whole ones by it (Li et al. 2019, arXiv:1801.05134)."
    )
    cure = "Put dropout behind the last of these norms, or use one without running statistics."
    return [Trap("dropout_before_batch_norm", "warning", f"{message} {cure}")]


def few(seen: Pass) -> list[NormUse]:
    """Return the norms whose statistics are taken over few values, where that is the batch's doing."""
    return [
        use
        for use in seen.norms
        if use.facts.mixes_samples and 1 < (use.facts.values_per_statistic or FEW_VALUES) < FEW_VALUES
    ]


def _few_values(seen: Pass) -> list[Trap]:
    uses = few(seen)
    if not uses:
        return []
    message = (
        f"{_listed(uses)} of {uses[0].facts.values_per_statistic} values per channel, got {uses[0].shape}: below "
        f"{FEW_VALUES} their noise costs accuracy. Use a larger batch, or a norm of single samples."
    )
    return [Trap("few_values", "warning", message)]


def signs_only(seen: Pass) -> list[Trap]:
    """Find norms inside single samples that leave of their two values no more than which is larger."""
    of_samples = {"group", "instance", "layer"}
    uses = [use for use in seen.norms if use.facts.values_per_statistic == 2 and use.facts.kind in of_samples]
    if not uses:
        return []
    message = (
        f"{_listed(uses)} of 2 values per statistic, got {uses[0].shape}: whatever they were, they come out as +1 and "
        "-1, but for scale and bias. Use fewer groups, or another norm there."
    )
    return [Trap("few_values", "warning", message)]


def _no_space(seen: Pass) -> list[Trap]:
    """Find InstanceNorm1d that is given (N, C) and takes it for one sample (C, L)."""
    uses = [
        use
        for use in seen.norms
        if isinstance(use.module, nn.InstanceNorm1d) and len(use.shape) == 2 and use.shape[0] != use.module.num_features
    ]
    if not uses:
        return []
    message = (
        f"{_listed(uses)} on (N, C), got {uses[0].shape}: it is taken for one sample of {uses[0].shape[0]} channels, "
        "and each row is normalized over its features, as LayerNorm does. Write LayerNorm, or give it (N, C, L)."
    )
    return [Trap("no_space", "warning", message)]


def _in_place(seen: Pass) -> list[Trap]:
    traps = []
    if seen.input_overwritten:
        traps.append(Trap("in_place", "error", f"the network overwrites its own input ({who_overwrites(seen)})."))
    if seen.overwritten:
        message = f"{some_of(seen.overwritten)}: the output is overwritten ({who_overwrites(seen)}), so that a hook"
        cure = "that keeps it sees other values. Use inplace=False where you look inside, or copy what the hook keeps."
        traps.append(Trap("in_place", "warning", f"{message} {cure}"))
    return traps


def who_overwrites(seen: Pass) -> str:
    """Return who works in place."""
    return f"by {some_of(seen.overwriters)}" if seen.overwriters else "by code between layers, such as x += y"


def small_momentum(seen: Pass) -> list[Trap]:
    """Find running statistics that forget all but the last batches."""
    uses = [use for use in seen.norms if use.facts.keeps_running_statistics]
    uses = [use for use in uses if use.facts.kept is not None and use.facts.kept < SMALL_MOMENTUM]
    if not uses:
        return []
    message = (
        f"{_listed(uses)} keep {uses[0].facts.kept:.0%} of the old running statistics per step: eval mode sees little "
        "more than the last batch. PyTorch's momentum is the share of the NEW value (usually 0.1), bnlab's that of the "
        "OLD one (usually 0.9)."
    )
    return [Trap("small_momentum", "warning", message)]


def _no_running_statistics(model: nn.Module) -> list[Trap]:
    names = [
        name or type(module).__name__
        for name, module in model.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None
    ]
    if not names:
        return []
    message = (
        f"{some_of(names)}: track_running_stats=False, so that in eval mode too a sample's output depends on its "
        "neighbors in the batch. Evaluate with track_running_stats=True, or say how large a batch was."
    )
    return [Trap("no_running_statistics", "warning", message)]


def _listed(uses: list[NormUse]) -> str:
    return f"{some_of(use.role for use in uses)} ({type(uses[0].module).__name__})"
