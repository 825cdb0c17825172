"""Several diagnostics of one network, measured together: they share passes, and leave the network unchanged."""

import contextlib
import functools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnlab.diagnostics.diagnostic import Diagnostic, Moment, Need, Observation, ProbeBatch
from bnlab.diagnostics.own_instruments import refusing_changes, scalars, used_by_others, used_by_training
from bnlab.diagnostics.passes import Named, Observable, Passes, PlainCalculus, SameNoise
from bnlab.diagnostics.taps import leaving_no_trace, shifted, tapped


def diagnostics_due(diagnostics: Sequence[Diagnostic], heavy: bool) -> list[Diagnostic]:
    """Return the diagnostics to measure at a step.

    Args:
        diagnostics: All diagnostics of a run.
        heavy: Whether the heavy ones are due at this step.
    """
    return [diagnostic for diagnostic in diagnostics if heavy or diagnostic.cost != "heavy"]


def needs_of(diagnostics: Sequence[Diagnostic]) -> frozenset[Need]:
    """Return the needs of all of some diagnostics together."""
    return frozenset(need for diagnostic in diagnostics for need in diagnostic.needs)


def measure_all(
    diagnostics: Sequence[Diagnostic],
    model: nn.Module,
    layers: Observable,
    probe: ProbeBatch,
    moment: Moment | None = None,
    memories: dict[str, Named] | None = None,
) -> dict[str, dict[str, Tensor]]:
    """Measure all diagnostics of a network together, and leave it unchanged.

    Args:
        diagnostics: The diagnostics to measure.
        model: The network to measure them in.
        layers: The network's layers by role; usually the model itself.
        probe: The probe batch and the training batches.
        moment: The training step before this measurement; None if there was none.
        memories: Name of a diagnostic -> the tensors that it remembers; updated in place. None: they are dropped.

    Returns:
        Diagnostic name -> layer role -> scalar tensor.
    """
    if not diagnostics:
        return {}
    known = {} if memories is None else memories
    with looking_at(model) as passes, torch.no_grad():
        values, remembered = measure_with(passes, diagnostics, layers, probe, moment or Moment(), known)
    known.update(remembered)
    return values


def measure_with(
    passes: Passes,
    diagnostics: Sequence[Diagnostic],
    layers: Observable,
    probe: ProbeBatch,
    moment: Moment,
    memories: Mapping[str, Named],
) -> tuple[dict[str, Named], dict[str, Named]]:
    """Return diagnostic -> layer -> value, and the tensors that each diagnostic will remember; nothing is changed.

    Args:
        passes: Passes through the network.
        diagnostics: The diagnostics to measure.
        layers: The network's layers by role.
        probe: The probe batch and the training batches.
        moment: The training step before this measurement.
        memories: Name of a diagnostic -> the tensors that it remembers.

    Raises:
        ConfigError: A diagnostic of the user's own returns no scalar tensors, or changes what it sees.
    """
    seen = observe(passes, layers, probe, needs_of(diagnostics), moment)
    values: dict[str, Named] = {}
    remembered: dict[str, Named] = {}
    for diagnostic in diagnostics:
        if "update" in diagnostic.needs and moment.previous is None:
            continue
        own = replace(seen, memory=dict(memories.get(diagnostic.name, {})))
        shared = functools.partial(used_by_others, own)
        with refusing_changes([diagnostic], functools.partial(used_by_training, own), shared):
            values[diagnostic.name] = scalars(diagnostic, diagnostic.measure(own))
            kept = diagnostic.remember(own)
        if kept:
            remembered[diagnostic.name] = kept
    return values, remembered


@contextlib.contextmanager
def looking_at(model: nn.Module, noise: SameNoise | None = None) -> Iterator[Passes]:
    """Give passes through a network with its present weights, and leave it unchanged.

    Args:
        model: The network that the passes go through.
        noise: Context that fixes the random draws of layers in each pass; None: the draws that torch's random state
            would give next.
    """
    parameters = {name: value.detach() for name, value in model.named_parameters()}
    buffers = dict(model.named_buffers())
    with leaving_no_trace(model):
        yield Passes(model, parameters, buffers, PlainCalculus(), noise or _what_would_be_drawn(model))


def _what_would_be_drawn(model: nn.Module) -> SameNoise:
    """Return a context that sets torch's random state back to its present value."""
    device = next((tensor.device for tensor in model.parameters()), torch.device("cpu"))
    on_gpu = device.type == "cuda"
    cpu_state, gpu_state = torch.get_rng_state(), torch.cuda.get_rng_state(device) if on_gpu else None

    @contextlib.contextmanager
    def same_noise(_num_samples: int) -> Iterator[None]:
        torch.set_rng_state(cpu_state)
        if gpu_state is not None:
            torch.cuda.set_rng_state(gpu_state, device)
        yield

    return same_noise


def observe(
    passes: Passes,
    layers: Observable,
    probe: ProbeBatch,
    needs: Collection[Need],
    moment: Moment | None = None,
) -> Observation:
    """Return what diagnostics may see of a network, after the passes that they need.

    Args:
        passes: Passes through the network.
        layers: The network's layers by role.
        probe: The probe batch and the training batches.
        needs: The needs of all diagnostics that are measured at this step.
        moment: The training step before this measurement; None if there was none.
    """
    watched = {role: module for role, module in layers.activations.items() if role not in layers.replaced_activations}
    weights = layers.weights
    names = passes.names_of(weights)
    facts: dict[str, Any] = {
        "activation": probe.activation,
        "weights": {role: passes.parameters[name] for role, name in names.items()},
        "names": names,
        "scale_invariant": layers.scale_invariant_weights,
        "norms": layers.norms,
        "passes": passes,
        "probe": probe,
        "moment": moment or Moment(),
        "weight_gradients": {},
    }
    if "gradients" in needs:
        gradients, loss, (inputs, outputs) = _there_and_back(passes, probe, watched)
        facts["gradients"] = {name: gradients[name] for name in passes.parameters}
        facts["weight_gradients"] = {role: gradients[name] for role, name in names.items()}
        facts["preactivation_gradients"] = {role: gradients[_shift_of(role)] for role in inputs}
        facts["loss"] = loss
    else:
        with tapped(watched) as (inputs, outputs):
            passes.logits(probe.inputs)
    if "eval_mode" in needs:
        with tapped(watched) as (eval_inputs, eval_outputs):
            passes.logits(probe.inputs, training=False)
        facts |= {"eval_preactivations": eval_inputs, "eval_activations": eval_outputs}
    if "streams" in needs:
        with tapped(layers.streams) as (stream_inputs, stream_outputs):
            passes.logits(probe.inputs)
        facts["streams"] = dict(zip(["start"], stream_inputs.values(), strict=False)) | stream_outputs
    return Observation(preactivations=inputs, activations=outputs, **facts)


def _shift_of(role: str) -> str:
    return f"shift of {role}"


def _there_and_back(
    passes: Passes, probe: ProbeBatch, watched: Mapping[str, nn.Module]
) -> tuple[Named, Tensor, tuple[Named, Named]]:
    """Return gradients for all parameters and for zeros added to each pre-activation, the loss, and what taps saw."""
    shapes = _preactivation_shapes(passes, probe, watched)
    shifts = {_shift_of(role): probe.inputs.new_zeros(shape) for role, shape in shapes.items()}

    def loss_at(moved: Named) -> tuple[Tensor, tuple[Named, Named]]:
        own = {name: moved[name] for name in passes.parameters}
        with shifted({role: (watched[role], moved[_shift_of(role)]) for role in shapes}), tapped(watched) as sights:
            logits = passes.logits(probe.inputs, own)
        return F.cross_entropy(logits, probe.labels), sights

    gradients, loss, sights = passes.calculus.gradient(loss_at, {**passes.parameters, **shifts})
    return gradients, loss, sights


_shapes: WeakKeyDictionary[nn.Module, dict[torch.Size, dict[str, torch.Size]]] = WeakKeyDictionary()
"""Network -> shape of the probe batch -> shapes of pre-activations, kept since finding them costs a forward pass."""


def _preactivation_shapes(passes: Passes, probe: ProbeBatch, watched: Mapping[str, nn.Module]) -> dict[str, torch.Size]:
    of_network = _shapes.setdefault(passes.network, {})
    if probe.inputs.shape not in of_network:
        with tapped(watched) as (inputs, _):
            passes.logits(probe.inputs)
        # after the context, which joins the values of modules that run several times
        of_network[probe.inputs.shape] = {role: x.shape for role, x in inputs.items()}
    return of_network[probe.inputs.shape]
