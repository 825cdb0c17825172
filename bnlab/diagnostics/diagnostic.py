"""The contract of a diagnostic, what it may look at, and how several of them are run together.

A diagnostic of your own is a class with a name, a unit and a method ``measure``; everything else it has by default::

    class LargestWeight(Diagnostic):
        name = "largest_weight"
        unit = "weight"

        def measure(self, seen: Observation) -> dict[str, Tensor]:
            return {role: weight.abs().max() for role, weight in seen.weights.items()}

and ``diagnostics.names=[saturation,'my_package.my_module:LargestWeight']`` measures it.
"""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnlab.diagnostics.passes import Named, Observable, Passes, PlainCalculus, SameNoise
from bnlab.diagnostics.taps import leaving_no_trace, shifted, tapped
from bnlab.errors import ConfigError
from bnlab.norms.norm import FreeScale

Cost = Literal["shared", "extra", "heavy"]
"""``shared``: it reads the passes that all diagnostics of a step share. ``extra``: up to ten passes of its own.
``heavy``: more; measured by the heavy schedule."""

Need = Literal["gradients", "eval_mode", "update"]
"""``gradients``: a backward pass over the probe batch. ``eval_mode``: a forward pass over it in eval mode. ``update``:
the weights before the last update, and the mini-batch that made it; where there was none, it is left out."""

Ranges = Mapping[str, tuple[float, float]]
"""Name of an activation, or ``any`` -> (least, most)."""

Result = TypeVar("Result")


class Batch(NamedTuple):
    """Images and their classes.

    Attributes:
        inputs: (B, ...).
        labels: (B,).
    """

    inputs: Tensor
    labels: Tensor


@dataclass(frozen=True)
class ProbeBatch:
    """A fixed held-out batch that every diagnostic looks at, and what else stays the same during a run.

    Attributes:
        inputs: (B, ...).
        labels: (B,).
        activation: Name of the nonlinearity, which says where it is flat.
        training_batches: Of the training set, as large as a mini-batch each: the population that running statistics
            should describe.
        step_size: How far along the gradient the landscape is looked at, in learning rates: the same in all arms.
    """

    inputs: Tensor
    labels: Tensor
    activation: str
    training_batches: tuple[Batch, ...] = ()
    step_size: float = 0.1


@dataclass(frozen=True)
class Moment:
    """What is known of the step that training has just made.

    Attributes:
        previous: Parameters before the last update, by name; None where nobody kept them.
        batch: The mini-batch that made the update, or None.
        lr: Learning rate of the last update (at the start, of the first), a scalar, or None.
    """

    previous: Named | None = None
    batch: Batch | None = None
    lr: Tensor | None = None


@dataclass(frozen=True)
class Observation:
    """What a diagnostic may look at, at one step of one run. Nothing in it may be changed.

    One forward and one backward pass over the probe batch, in training mode, are shared by all diagnostics of a step.
    Training mode, because that is the network being trained: at step 0 the running statistics know nothing yet.

    Attributes:
        preactivations: What each activation sees, by role; without those that a norm's own nonlinearity replaces.
        activations: What each activation gives, by role; likewise.
        weight_gradients: Of the mean loss, for the weights that are trained, by role. Needs ``gradients``.
        activation: Name of the nonlinearity.
        gradients: Of the mean loss, for all parameters by name. Needs ``gradients``.
        preactivation_gradients: Of the mean loss, for what each activation sees. Needs ``gradients``.
        loss: Mean over the probe batch. Needs ``gradients``.
        eval_preactivations: As `preactivations`, in eval mode. Needs ``eval_mode``.
        eval_activations: As `activations`, in eval mode. Needs ``eval_mode``.
        weights: That are trained, by role, the output's last.
        names: Role -> name of that weight among the parameters.
        scale_invariant: What of the weights can be multiplied by a positive number, each row by its own or the whole,
            and what the network gives in training mode stays the same, but for eps; by role, without the others.
        norms: By role, for what they declare; their tensors are ``passes.tensors_of(norm)``.
        passes: For passes of one's own, and all parameters and buffers by name.
        probe: The probe batch.
        moment: The step that has just been made.
        memory: What this diagnostic remembered at the last step that it was measured at; at the first one, nothing.
    """

    preactivations: Named
    activations: Named
    weight_gradients: Named
    activation: str
    gradients: Named = field(default_factory=dict)
    preactivation_gradients: Named = field(default_factory=dict)
    loss: Tensor | None = None
    eval_preactivations: Named = field(default_factory=dict)
    eval_activations: Named = field(default_factory=dict)
    weights: Named = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    scale_invariant: Mapping[str, FreeScale] = field(default_factory=dict)
    norms: Mapping[str, nn.Module] = field(default_factory=dict)
    passes: Passes | None = None
    probe: ProbeBatch | None = None
    moment: Moment = field(default_factory=Moment)
    memory: Named = field(default_factory=dict)
    _derived: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def derived(self, name: str, compute: "Callable[[Observation], Result]") -> Result:
        """Return what several diagnostics of a step compute alike, computed once.

        Args:
            name: Of the quantity.
            compute: Called the first time that it is asked for.
        """
        if name not in self._derived:
            self._derived[name] = compute(self)
        result: Result = self._derived[name]
        return result


class Diagnostic(ABC):
    """One quantity, measured per layer. It measures; it never logs, draws or decides.

    It returns tensors, not floats: they can be vectorized over replicas, and force no wait for the device.

    Its docstring says, under these headings, the ``Unit``, how to read it (``Reading``), its ``Cost``, what can fool
    the reader (``Blind spots``) and its ``Source``; ``bnlab list diagnostics`` shows them.

    Attributes:
        name: What it is called in ``diagnostics.names``, in records and in tags.
        unit: Of its values, in words.
        cost: See `Cost`.
        needs: See `Need`.
        vectorizable: It can be measured in many runs at once by `torch.func.vmap`: it decides nothing by the values of
            a tensor, and reads none off the device. Else each of these runs is measured by itself.
        healthy: The range that needs no comment, both ends included.
        too_low: What it means if a value is below, in words that go on from "hidden3: 12%".
        too_high: What it means if a value is above.
    """

    name: ClassVar[str]
    unit: ClassVar[str]
    cost: ClassVar[Cost] = "shared"
    needs: ClassVar[frozenset[Need]] = frozenset()
    vectorizable: ClassVar[bool] = False
    healthy: ClassVar[Ranges] = {}
    too_low: ClassVar[str] = ""
    too_high: ClassVar[str] = ""

    @abstractmethod
    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return a scalar tensor per layer role; ``role/facet`` where there are several, ``network`` for the whole.

        What is not defined for a layer is left out.
        """

    def remember(self, seen: Observation) -> Named:  # noqa: ARG002
        """Return what is to be known at the next step that is measured, as tensors; called after `measure`."""
        return {}


def diagnostics_due(diagnostics: Sequence[Diagnostic], heavy: bool) -> list[Diagnostic]:
    """Return those to be measured at a step.

    Args:
        diagnostics: All of a run's.
        heavy: Whether the heavy ones are due.
    """
    return [diagnostic for diagnostic in diagnostics if heavy or diagnostic.cost != "heavy"]


def needs_of(diagnostics: Sequence[Diagnostic]) -> frozenset[Need]:
    """Return what any of some diagnostics needs."""
    return frozenset(need for diagnostic in diagnostics for need in diagnostic.needs)


def measure_all(
    diagnostics: Sequence[Diagnostic],
    model: nn.Module,
    layers: Observable,
    probe: ProbeBatch,
    moment: Moment | None = None,
    memories: dict[str, Named] | None = None,
) -> dict[str, dict[str, Tensor]]:
    """Look at a network with all diagnostics at once, leaving no trace in it.

    Args:
        diagnostics: What to measure.
        model: The network.
        layers: Its layers by role; usually the model itself.
        probe: What to look at it with.
        moment: The step that has just been made, where there was one.
        memories: By diagnostic, what it remembers; brought up to date.

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
    """Return diagnostic -> layer -> value, and what each diagnostic will remember; nothing is changed.

    Args:
        passes: Through the network.
        diagnostics: What to measure.
        layers: The network's, by role.
        probe: What to look at it with.
        moment: The step that has just been made.
        memories: By diagnostic, what it remembers.
    """
    seen = observe(passes, layers, probe, needs_of(diagnostics), moment)
    values: dict[str, Named] = {}
    remembered: dict[str, Named] = {}
    for diagnostic in diagnostics:
        if "update" in diagnostic.needs and moment.previous is None:
            continue
        own = replace(seen, memory=dict(memories.get(diagnostic.name, {})))
        values[diagnostic.name] = _checked(diagnostic, diagnostic.measure(own))
        if kept := diagnostic.remember(own):
            remembered[diagnostic.name] = kept
    return values, remembered


def _checked(diagnostic: Diagnostic, values: object) -> Named:
    """Return what a diagnostic measured, if it keeps the contract; somebody's own may not.

    Raises:
        ConfigError: It does not.
    """
    if isinstance(values, dict) and all(isinstance(one, Tensor) and one.dim() == 0 for one in values.values()):
        return values
    odd: object = values
    if isinstance(values, dict):
        odd = next(one for one in values.values() if not isinstance(one, Tensor) or one.dim())
    shape = f"a tensor of shape {tuple(odd.shape)}" if isinstance(odd, Tensor) else type(odd).__name__
    raise ConfigError(
        f"{type(diagnostic).__name__}.measure must return layer -> scalar tensor, got {shape}. Write x.mean(), not "
        "x.mean().item()."
    )


@contextlib.contextmanager
def looking_at(model: nn.Module, noise: SameNoise | None = None) -> Iterator[Passes]:
    """Offer passes through a network as it is, and leave no trace of them in it.

    Args:
        model: The network.
        noise: What layers draw in each pass; None: what they would draw next, by torch's random state.
    """
    parameters = {name: value.detach() for name, value in model.named_parameters()}
    buffers = dict(model.named_buffers())
    with leaving_no_trace(model):
        yield Passes(model, parameters, buffers, PlainCalculus(), noise or _what_would_be_drawn(model))


def _what_would_be_drawn(model: nn.Module) -> SameNoise:
    """Return a context that sets torch's random state to what it is now."""
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
    """Take the probe batch through a network, as often and in such ways as is needed.

    Args:
        passes: Through the network.
        layers: The network's, by role.
        probe: What to look at it with.
        needs: Of those who will look.
        moment: The step that has just been made.
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
"""By network and shape of the probe batch: it costs a forward pass to find out, which is made once."""


def _preactivation_shapes(passes: Passes, probe: ProbeBatch, watched: Mapping[str, nn.Module]) -> dict[str, torch.Size]:
    of_network = _shapes.setdefault(passes.network, {})
    if probe.inputs.shape not in of_network:
        with tapped(watched) as (inputs, _):
            passes.logits(probe.inputs)
        of_network[probe.inputs.shape] = {role: x.shape for role, x in inputs.items()}
    return of_network[probe.inputs.shape]
