"""What a diagnostic of the user's own must keep to: it returns scalar tensors, and changes nothing that it sees."""

import contextlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from bnlab.diagnostics.diagnostic import Diagnostic, Observation
from bnlab.diagnostics.passes import Named, PlainCalculus
from bnlab.errors import ConfigError


def is_own(diagnostic: Diagnostic) -> bool:
    """Return whether a diagnostic is of the user's or of an installed package, and not bnlab's."""
    return type(diagnostic).__module__.partition(".")[0] != "bnlab"


def scalars(diagnostic: Diagnostic, values: object) -> Named:
    """Return the values of a diagnostic if they keep the contract.

    Args:
        diagnostic: The diagnostic that returned them.
        values: What its ``measure`` returned.

    Raises:
        ConfigError: They are no scalar tensors by layer.
    """
    if isinstance(values, dict) and all(isinstance(role, str) and _is_scalar(one) for role, one in values.items()):
        return values
    odd: object = values
    if isinstance(values, dict):
        odd = next((one for one in values.values() if not _is_scalar(one)), None)
        if odd is None:
            odd = next(role for role in values if not isinstance(role, str))
            raise ConfigError(
                f"{type(diagnostic).__name__}.measure must return layer -> scalar tensor, got {odd!r} for a layer's "
                "name. Take the keys of seen.weights or seen.activations, or 'network'."
            )
    raise ConfigError(
        f"{type(diagnostic).__name__}.measure must return layer -> scalar tensor, got {_kind(odd)}. {_cure(odd)}"
    )


def _is_scalar(value: object) -> bool:
    return isinstance(value, Tensor) and value.dim() == 0 and not value.is_complex()


def _kind(odd: object) -> str:
    if isinstance(odd, Tensor):
        return f"a complex tensor ({odd.dtype})" if odd.is_complex() else f"a tensor of shape {tuple(odd.shape)}"
    return f"numpy.{type(odd).__name__}" if isinstance(odd, np.generic | np.ndarray) else type(odd).__name__


def _cure(odd: object) -> str:
    """Return what to write in place of a value that is no scalar tensor."""
    if isinstance(odd, np.generic | np.ndarray):
        return "Do not call .numpy(), or write torch.as_tensor(value.mean())."
    if isinstance(odd, Tensor):
        return "Write x.abs().mean()." if odd.is_complex() else "Write x.mean()."
    if isinstance(odd, bool | int | float):
        return "Write x.mean(), not x.mean().item(), or torch.tensor(value)."
    if isinstance(odd, str | bytes):
        return "Only numbers can be recorded: leave it out."
    return "Return a dictionary such as {role: w.abs().max() for role, w in seen.weights.items()}."


@contextlib.contextmanager
def refusing_changes(
    diagnostics: Sequence[Diagnostic], reach: Callable[[], Named], shared: Callable[[], Named] = dict
) -> Iterator[None]:
    """Raise if a diagnostic of the user's own changes what training or another diagnostic uses.

    Args:
        diagnostics: The diagnostics that are measured inside; if none is the user's own, nothing is looked at.
        reach: Returns the tensors that training uses, by what to call them. Their values are compared: torch's count of
            changes stays as it is at ``w.data.mul_(0.5)``.
        shared: Returns the tensors that other diagnostics of the step use, by what to call them. They are as large as
            all activations, so that torch's count of changes must do.

    Raises:
        ConfigError: One of them has changed.
    """
    own = [diagnostic for diagnostic in diagnostics if is_own(diagnostic)]
    if not own:
        yield
        return
    before = {name: (tensor.detach().clone(), tensor.requires_grad) for name, tensor in reach().items()}
    counts = {name: (tensor, tensor._version) for name, tensor in shared().items()}
    yield
    after = reach()
    changed = [name for name, (value, _) in before.items() if not _same(after.get(name), value)]
    changed += [name for name, (tensor, count) in counts.items() if tensor._version != count]
    if changed:
        cure = "Work on a copy: x.abs(), not x.abs_(); x * 0.5, not x.data.mul_(0.5)."
        if changed[0].startswith("the buffer"):
            cure = "Run the network by seen.passes.logits(images), which works on copies of its buffers."
        raise ConfigError(
            f"diagnostics.names: {_listed(own)} changes {changed[0]}, and a diagnostic must not change what it sees. "
            f"{cure}"
        )
    switched = [name for name, (_, is_trained) in before.items() if after[name].requires_grad != is_trained]
    if switched:
        raise ConfigError(
            f"diagnostics.names: {_listed(own)} changes requires_grad of {switched[0]}, and a diagnostic must not "
            "change what it sees. Work on x.detach()."
        )


def used_by_training(seen: Observation) -> Named:
    """Return the tensors in reach of a diagnostic that training uses, and the probe batch.

    None where several runs are measured at once: vmap's tensors cannot be compared.
    """
    passes = seen.passes
    if passes is None or not isinstance(passes.calculus, PlainCalculus):
        return {}
    network = passes.network  # and not its values in passes: another tensor may have come in the place of one
    found: Named = {f"the weight {name}": value for name, value in network.named_parameters()}
    found |= {f"the buffer {name}": value for name, value in network.named_buffers()}
    return found if seen.probe is None else found | {"seen.probe.inputs": seen.probe.inputs}


def used_by_others(seen: Observation) -> Named:
    """Return the tensors in reach of a diagnostic that other diagnostics of the same step use."""
    if seen.passes is None or not isinstance(seen.passes.calculus, PlainCalculus):
        return {}
    names = ("preactivations", "activations", "gradients", "preactivation_gradients")
    found = {
        f"seen.{name}['{role}']": tensor
        for name in (*names, "eval_preactivations", "eval_activations")
        for role, tensor in getattr(seen, name).items()
    }
    found |= {f"seen.moment.previous['{name}']": value for name, value in (seen.moment.previous or {}).items()}
    batches = [
        *(seen.probe.training_batches if seen.probe else ()),
        *([seen.moment.batch] if seen.moment.batch else []),
    ]
    return found | {f"the images of training batch {i}": batch.inputs for i, batch in enumerate(batches) if batch}


def _same(one: Tensor | None, other: Tensor) -> bool:
    if one is None or one.shape != other.shape or one.dtype != other.dtype:
        return False
    return torch.equal(one, other) or bool(((one == other) | (one.isnan() & other.isnan())).all())


def _listed(own: Sequence[Diagnostic]) -> str:
    return " or ".join(f"{diagnostic.name} ({type(diagnostic).__name__})" for diagnostic in own)
