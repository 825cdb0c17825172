"""Traps in any network, found by one forward pass."""

import copy
import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.parameter import is_lazy

from bnlab.diagnostics.taps import leaving_no_trace
from bnlab.errors import ConfigError
from bnlab.seeding import seeded_alike
from bnlab.traps.state_traps import running_overflow, state_outside_buffers_of, updated_twice
from bnlab.traps.trap import FEW_VALUES, LARGE_OFFSET, SMALL_MOMENTUM, Trap, some_of
from bnlab.traps.unsaved_state import find_unsaved_state, keeping_attributes, keeps_tensors
from bnlab.traps.updating import count_updates
from bnlab.traps.watching import NormUse, Pass, tensors_in, watch


def find_traps_in(model: nn.Module, *example: Any) -> list[Trap]:
    """Look for traps in your own network, with bnlab's norms or torch's.

    The network runs once without gradients and, if it keeps running statistics, once with its backward pass, both in
    training mode. Buffers, attributes, gradients, modes, hooks and random state are restored, and the example is copied
    before. A norm that stays in eval mode after ``model.train()`` is frozen, and no trap.

    Args:
        model: The network, on any device.
        *example: The arguments of the network: one batch of the shape that it will be trained on.

    Returns:
        Errors first, then warnings. An empty list means that no trap of these kinds was found, not that all is well.

    Raises:
        ConfigError: The network cannot process the example, and no trap says why; or a lazy module has no weights yet.

    Cost:
        One forward pass, for networks with running statistics one training step too, and the memory of such a step.

    Blind spots:
        Functions without a module, such as ``F.batch_norm`` and dropout inside of attention. A bias is called useless
        only if nothing but the norm uses the output of its layer; a norm after a reshape is not recognized.

    Example:
        >>> import torch
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8, momentum=0.9), nn.ReLU())
        >>> [trap.name for trap in find_traps_in(model, torch.randn(16, 4))]
        ['bias_before_norm', 'small_momentum']
    """
    if any(is_lazy(tensor) for tensor in [*model.parameters(), *model.buffers()]):
        raise ConfigError(
            "the network has lazy modules, which this check would initialize. Run a batch through it first."
        )
    with keeping_attributes(model) as changed:
        seen = watch(model, *example)
    traps = [*one_value(seen), *_no_space(seen), *_wrong_axis(seen)]
    if seen.error is not None and not any(trap.severity == "error" for trap in traps):
        raise ConfigError(
            f"the network cannot process the example, so it cannot be checked: {seen.error}. "
            "Give a batch that it can be trained on."
        ) from seen.error
    traps += [
        *_few_values(seen),
        *signs_only(seen),
        *bias_before_norm(seen),
        *_in_place(seen),
        *dropout_before_batch_norm(seen),
    ]
    traps += [*small_momentum(seen), *_no_running_statistics(model), *large_offset(seen), *running_overflow(seen)]
    if seen.error is None:
        with keeping_attributes(model):
            traps += updated_twice(count_updates(model, *example), seen)
    if changed or _changes_with_gradients(model, example):  # else there is no reason to train copies of the network
        traps += _state_outside_buffers(model, example)
    return sorted(traps, key=lambda trap: trap.severity)


def _state_outside_buffers(model: nn.Module, example: tuple[Any, ...]) -> list[Trap]:
    """Find state that is neither a parameter nor a saved buffer, and that outputs depend on."""

    def run(copied: nn.Module, bend: Tensor, training: bool) -> Tensor:
        with seeded_alike(), torch.set_grad_enabled(training), warnings.catch_warnings(action="ignore"):
            inputs = [_bent(x, float(bend)) for x in example]
            outputs = [y.detach().flatten() for y in tensors_in(copied.train(training)(*inputs))]
            return torch.cat([y.double() for y in outputs])

    try:
        copies = copy.deepcopy(model), copy.deepcopy(model)
        found = find_unsaved_state(*copies, (torch.tensor(0.0), torch.tensor(0.25)), run)
    except Exception:  # a network that cannot be copied, or rejects other numbers
        return []
    return [] if found is None else [state_outside_buffers_of(found)]


def _changes_with_gradients(model: nn.Module, example: tuple[Any, ...]) -> bool:
    """Return whether attributes change in a pass with gradients: some layers ask for those, not for the mode."""
    if not keeps_tensors(model):
        return False
    with keeping_attributes(model) as changed, leaving_no_trace(model), warnings.catch_warnings(action="ignore"):
        try:
            with torch.inference_mode(False), torch.enable_grad():
                model.train()(*[x.clone() if isinstance(x, Tensor) else x for x in example])
        except Exception:  # without gradients it could process the example
            return False
    return bool(changed)


def _bent(x: Any, bend: float) -> Any:
    """Return other values of the same kind; a norm would undo a scale or a shift."""
    return x + bend * x.abs() if isinstance(x, Tensor) and x.is_floating_point() else x


def one_value(seen: Pass) -> list[Trap]:
    """Find norms with one value per statistic: their output is the bias."""
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
            f"{_listed(same)} of one value per statistic, got {same[0].shape}: each value is its own mean, so "
            f"the output is only the bias. {cures.get(kind, 'Remove the norm.')}",
        )
        for kind in dict.fromkeys(use.facts.kind for use in uses)
        for same in [[use for use in uses if use.facts.kind == kind]]
    ]


def bias_before_norm(seen: Pass) -> list[Trap]:
    """Find biases whose whole effect the next norm removes."""
    maps = [use.biased_map for use in seen.norms if use.biased_map and use.facts.removes_channel_shift]
    if not maps:
        return []
    message = f"{some_of(maps)}: a bias right before a norm that subtracts each channel's mean has no effect."
    return [Trap("bias_before_norm", "warning", f"{message} Build the layer with bias=False.")]


def dropout_before_batch_norm(seen: Pass) -> list[Trap]:
    """Find running statistics that are computed with dropout, but used in eval mode without it."""
    uses = [use for use in seen.norms if use.dropout and use.facts.keeps_running_statistics]
    if not uses:
        return []
    message = (
        f"dropout ({uses[0].dropout}) before {_listed(uses)}: the running variance is that of values after dropout, "
        "but eval mode uses it for values without dropout (Li et al. 2019, arXiv:1801.05134)."
    )
    cure = "Put dropout after the last of these norms, or use norms without running statistics."
    return [Trap("dropout_before_batch_norm", "warning", f"{message} {cure}")]


def few(seen: Pass) -> list[NormUse]:
    """Return the norms that have few values per statistic because the batch is small."""
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
    """Find norms of single samples with two values per statistic, which keep only which value is larger."""
    of_samples = {"group", "instance", "layer"}
    uses = [use for use in seen.norms if use.facts.values_per_statistic == 2 and use.facts.kind in of_samples]
    if not uses:
        return []
    message = (
        f"{_listed(uses)} of 2 values per statistic, got {uses[0].shape}: they always become +1 and -1, "
        "apart from scale and bias. Use fewer groups, or another norm there."
    )
    return [Trap("few_values", "warning", message)]


def _no_space(seen: Pass) -> list[Trap]:
    """Find InstanceNorm1d that gets (N, C) and interprets it as one sample (C, L)."""
    uses = [
        use
        for use in seen.norms
        if isinstance(use.module, nn.InstanceNorm1d) and len(use.shape) == 2 and use.shape[0] != use.module.num_features
    ]
    if not uses:
        return []
    message = (
        f"{_listed(uses)} on (N, C), got {uses[0].shape}: it is read as one sample of {uses[0].shape[0]} channels, "
        "and each row is normalized over its features, as LayerNorm does. Write LayerNorm, or give it (N, C, L)."
    )
    return [Trap("no_space", "warning", message)]


def _wrong_axis(seen: Pass) -> list[Trap]:
    """Find InstanceNorm for another number of channels than it gets: without weights torch does not compare them."""
    uses = []
    for use in seen.norms:
        if isinstance(use.module, _InstanceNorm) and not (
            isinstance(use.module, nn.InstanceNorm1d) and len(use.shape) == 2
        ):
            axis = 0 if len(use.shape) == use.module._get_no_batch_dim() else 1  # type: ignore[no-untyped-call]
            uses += [(use, axis)] if use.shape[axis] != use.module.num_features else []
    if not uses:
        return []
    use, axis = uses[0]
    came = use.shape[axis]
    message = (
        f"{_listed([use for use, _ in uses])} for {use.module.num_features} channels got {use.shape}, where axis "
        f"{axis} has {came}: without weight and bias torch does not compare them, and takes axis {axis} for the "
        f"channels. Move the channels there, or build it for {came}."
    )
    return [Trap("wrong_axis", "warning", message)]


def _in_place(seen: Pass) -> list[Trap]:
    traps = []
    if seen.input_overwritten:
        traps.append(Trap("in_place", "error", f"the network overwrites its own input ({who_overwrites(seen)})."))
    if seen.overwritten:
        message = f"{some_of(seen.overwritten)}: the output is overwritten ({who_overwrites(seen)}), so that a hook"
        cure = (
            "that keeps it gets other values. Use inplace=False in layers with hooks, or let the hook copy the output."
        )
        traps.append(Trap("in_place", "warning", f"{message} {cure}"))
    return traps


def who_overwrites(seen: Pass) -> str:
    """Return which layers, or which code, work in place."""
    return f"by {some_of(seen.overwriters)}" if seen.overwriters else "by code between layers, such as x += y"


def small_momentum(seen: Pass) -> list[Trap]:
    """Find running statistics that depend only on the last batches."""
    uses = [use for use in seen.norms if use.facts.keeps_running_statistics]
    uses = [use for use in uses if use.facts.kept is not None and use.facts.kept < SMALL_MOMENTUM]
    if not uses:
        return []
    message = (
        f"{_listed(uses)} keep {uses[0].facts.kept:.0%} of the old running statistics per step: eval mode uses little "
        "more than the last batch. PyTorch's momentum is the share of the NEW value (usually 0.1), bnlab's that of the "
        "OLD one (usually 0.9)."
    )
    return [Trap("small_momentum", "warning", message)]


def large_offset(seen: Pass) -> list[Trap]:
    """Find layers of torch's that lose the digits of a large mean."""
    uses = [use for use in seen.norms if use.cancels_at > LARGE_OFFSET]
    if not uses:
        return []
    largest = max(use.cancels_at for use in uses)
    message = (
        f"{_listed(uses)} on images with their channels last in memory, with means up to {largest:.0f} standard "
        "deviations from 0: on a CPU, torch takes the variance as E[x^2] - E[x]^2 there, which loses digits. Give it "
        "x.contiguous(), or train without channels_last."
    )
    return [Trap("large_offset", "warning", message)]


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
