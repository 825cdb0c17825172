"""Traps in what a norm keeps from one training step to the next."""

from collections.abc import Sequence
from typing import Literal

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from bnlab.traps.trap import Trap, some_of
from bnlab.traps.unsaved_state import UnsavedState
from bnlab.traps.updating import Updates
from bnlab.traps.watching import Pass


def updated_twice(found: Sequence[Updates], seen: Pass) -> list[Trap]:
    """Find running statistics that one training step updates more than once."""
    shared = [updates for updates in found if updates.forward > 1]
    repeated = [updates for updates in found if updates.backward and not _is_plain_average(updates.module)]
    messages = []
    if shared:
        messages.append(
            f"{_listed(shared)} runs {shared[0].forward} times in one forward pass: its running statistics average "
            "over all these inputs, and eval mode uses that average for each of them. Build a norm of its own for each "
            "place; they may share weight and bias."
        )
    if repeated:
        times = repeated[0].forward + repeated[0].backward
        effect, cure = _of_repeating(repeated[0].module, times, seen)
        messages.append(
            f"{_listed(repeated)}: one training step updates the running statistics {times} times, since activation "
            f"checkpointing runs the forward pass again{effect}. Leave the norm out of the checkpointed part{cure}."
        )
    return [Trap("updated_twice", "warning", message) for message in messages]


def _of_repeating(module: nn.Module, times: int, seen: Pass) -> tuple[str, str]:
    """Return what repeated updates change, and the momentum that undoes it: k updates by one batch keep kept^k."""
    kept = next((use.facts.kept for use in seen.norms if use.module is module), None)
    if kept is None or not 0 < kept < 1:
        return "", ""
    root = kept ** (1 / times)
    share = 1 - root if isinstance(module, _NormBase) else root  # torch's layers: the share of the new value
    return f": they keep {kept**times:.0%} of the old value, not {kept:.0%}", f", or set its momentum to {share:.4g}"


def _is_plain_average(module: nn.Module) -> bool:
    """Return whether the module averages all batches alike: then it is the same if each counts twice."""
    return getattr(module, "momentum", 0) is None


def _listed(found: Sequence[Updates]) -> str:
    return f"{some_of(updates.role for updates in found)} ({type(found[0].module).__name__})"


def running_overflow(seen: Pass) -> list[Trap]:
    """Find running variances in a type whose largest number is below the variance of the input."""
    uses = [use for use in seen.norms if use.overflows_at]
    if not uses:
        return []
    largest = max(use.overflows_at for use in uses)
    names = f"{some_of(use.role for use in uses)} ({type(uses[0].module).__name__})"
    message = (
        f"{names}: the running variance is kept in float16, whose largest number is 65504, and a channel's variance is "
        f"{largest:.3g} here. It becomes infinite, and eval mode gives the bias alone, while training goes well. Call "
        ".float() on these norms after .half()."
    )
    return [Trap("running_overflow", "warning", message)]


def state_outside_buffers(layer: str, found: UnsavedState, severity: Literal["warning", "error"]) -> Trap:
    """Return the trap of a layer with state outside its state dict; as a warning it says what does not hold.

    Args:
        layer: The layer, as the user wrote it, such as ``norm=my_layers:Mine``.
        found: How the layer differs from one that was loaded.
        severity: ``error`` unless the user accepts it.
    """
    what, cure = _of_unsaved(found)
    broken = [
        *(["load_model"] if not found.loads else []),
        "a resumed run",
        *(["a run with diagnostics"] if found.moves and not found.refusal else []),
    ]
    others = f"{', '.join(broken[:-1])} and {broken[-1]}" if len(broken) > 1 else broken[0]
    harm = "fail" if found.refusal else "give other numbers"
    if severity == "warning":
        return Trap("state_outside_buffers", severity, f"{layer} {what}: {others} may {harm}.")
    message = (
        f"{layer} {what}: {others} would {harm}. {cure}. To train it all the same: accept=[state_outside_buffers]."
    )
    return Trap("state_outside_buffers", severity, message)


def state_outside_buffers_of(found: UnsavedState) -> Trap:
    """Return the trap of a network with state outside its state dict."""
    what, cure = _of_unsaved(found)
    harm = "" if found.refusal else ": what is loaded from its state dict gives other outputs"
    return Trap("state_outside_buffers", "warning", f"the network {what}{harm}. {cure}.")


def _of_unsaved(found: UnsavedState) -> tuple[str, str]:
    """Return what a module with unsaved state does, and the cure."""
    if found.refusal:
        return (
            f"cannot be loaded from its state dict ({found.refusal.rstrip('.')})",
            "Let its constructor build all parameters and buffers, in their final shapes",
        )
    where = f"of buffers ({some_of(found.names)})" if found.names else "of the layer"
    drawn = f"Draw from torch's global generator, as torch.randn(shape) does, not from {some_of(found.generators)}"
    tensors = [name for name in found.names if name not in found.generators]
    if found.generators and not tensors:
        return f"keeps state outside {where}", drawn
    name = f'"{tensors[0]}"' if tensors else "name"
    cure = f"Keep it in a tensor that is a buffer: self.register_buffer({name}, tensor)"
    return f"keeps state outside {where}", f"{cure}. {drawn}" if found.generators else cure
