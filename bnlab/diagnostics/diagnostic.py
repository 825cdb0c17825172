"""The contract of a diagnostic, and the observation that it measures.

A diagnostic of your own is a class with a name, a unit and a method ``measure``; all else has defaults::

    class LargestWeight(Diagnostic):
        name = "largest_weight"
        unit = "weight"

        def measure(self, seen: Observation) -> dict[str, Tensor]:
            return {role: weight.abs().max() for role, weight in seen.weights.items()}

and ``diagnostics.names=[saturation,'my_package.my_module:LargestWeight']`` measures it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar

from torch import Tensor, nn

from bnlab.diagnostics.passes import Named, Passes
from bnlab.norms.norm import FreeScale

Cost = Literal["shared", "extra", "heavy"]
"""``shared``: it reads the passes that all diagnostics of a step share. ``extra``: up to ten passes of its own.
``heavy``: more; measured by the heavy schedule."""

Need = Literal["gradients", "eval_mode", "update", "streams"]
"""``gradients``: a backward pass over the probe batch. ``eval_mode``: a forward pass over it in eval mode. ``update``:
the weights before the last update, and its mini-batch; the diagnostic is left out where there was no update.
``streams``: a forward pass in training mode that keeps what residual units give."""

Ranges = Mapping[str, tuple[float, float]]
"""Name of an activation or of a facet, or ``any`` -> (lowest, highest healthy value)."""

Result = TypeVar("Result")

FEW_VALUES = 2**18
"""Values (pixels of all images) in the smaller batch of diagnostics that make dozens of passes."""


class Batch(NamedTuple):
    """Images and their classes.

    Attributes:
        inputs: The images, (B, ...).
        labels: The class of each image, (B,).
    """

    inputs: Tensor
    labels: Tensor


@dataclass(frozen=True)
class ProbeBatch:
    """The fixed held-out batch that every diagnostic measures, and other facts that stay the same during a run.

    Attributes:
        inputs: The held-out images, (B, ...).
        labels: The class of each image, (B,).
        activation: Name of the network's activation, ``none`` if it has none; it decides where an output counts as
            flat.
        training_batches: Batches of training images, each as large as a mini-batch: the population that running
            statistics should describe. Empty: diagnostics that need it are left out.
        step_size: Step along the gradient for diagnostics of the loss landscape, as a learning rate; equal in all arms.
    """

    inputs: Tensor
    labels: Tensor
    activation: str
    training_batches: tuple[Batch, ...] = ()
    step_size: float = 0.1

    @property
    def few(self) -> Batch:
        """The first 256 images, for diagnostics that make many passes; fewer of large ones, at least 32 (CIFAR: 85).

        Runs that are trained together have prepared the random draws of their layers for this number of images.
        """
        size = max(32, min(256, FEW_VALUES // max(1, self.inputs.shape[1:].numel())))
        return Batch(self.inputs[:size], self.labels[:size])


@dataclass(frozen=True)
class Moment:
    """The training step before the measurement.

    Attributes:
        previous: Name of a parameter -> its value before the last update; None if they were not kept.
        batch: The mini-batch of the last update; None before the first one.
        lr: Learning rate of the last update, a scalar; at step 0, of the first update. None if it is not known.
    """

    previous: Named | None = None
    batch: Batch | None = None
    lr: Tensor | None = None


@dataclass(frozen=True)
class Observation:
    """The network and its values at one step of one run, as a diagnostic sees them. A diagnostic must not change them.

    All diagnostics of a step share one forward and one backward pass over the probe batch. The passes are in training
    mode, since training uses that: at step 0, running statistics still have their initial values.

    Attributes:
        preactivations: Role -> input of the activation; without layers whose norm brings its own nonlinearity.
        activations: Role -> output of the activation, for the same layers.
        weight_gradients: Role -> gradient of the mean loss by the trained weight. Needs ``gradients``.
        activation: Name of the network's activation.
        gradients: Name of a parameter -> gradient of the mean loss by it. Needs ``gradients``.
        preactivation_gradients: Role -> gradient of the mean loss by the activation's input. Needs ``gradients``.
        loss: Mean loss over the probe batch, a scalar. Needs ``gradients``; else None.
        eval_preactivations: As `preactivations`, in eval mode. Needs ``eval_mode``.
        eval_activations: As `activations`, in eval mode. Needs ``eval_mode``.
        streams: Role -> output of the residual unit, in the order of the forward pass; ``start`` is the input of the
            first unit. Empty in a network without residual units. Needs ``streams``.
        weights: Role -> trained weight, in the order of the layers; the output layer is the last.
        names: Role -> name of the weight among the parameters.
        scale_invariant: Role -> ``rows`` or ``whole``, for weights that can be multiplied by a positive number (each
            row by its own, or the whole by one) without a change of the outputs in training mode, except by eps.
        norms: Role -> norm, for its declarations; its tensors are ``passes.tensors_of(norm)``.
        passes: Further passes through the network, and all parameters and buffers by name.
        probe: The probe batch and the training batches; None in tests of single layers.
        moment: The training step before this measurement.
        memory: The tensors that this diagnostic returned from `remember` at the last measured step; empty at the first.
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
    streams: Named = field(default_factory=dict)
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
        """Return a quantity that several diagnostics of a step need, computed once.

        Args:
            name: Name of the quantity; equal names must stand for equal computations.
            compute: Function that computes it; called at the first request only.
        """
        if name not in self._derived:
            self._derived[name] = compute(self)
        result: Result = self._derived[name]
        return result


class Diagnostic(ABC):
    """One quantity, measured per layer. It measures; it never logs, draws or decides.

    It returns tensors, not floats: they can be computed for several runs at once, and force no wait for the device.

    Its docstring has these headings, which ``bnlab list diagnostics NAME`` shows: ``Unit``; ``Reading``, how to read
    its values; ``Cost``; ``Blind spots``, what it does not see; ``Source``.

    Attributes:
        name: The name in ``diagnostics.names``, in records and in tags.
        unit: The unit of its values, in words.
        cost: How many passes through the network it makes of its own, as `Cost` says.
        needs: The passes and facts that an observation must have for it, as `Need` says.
        vectorizable: Whether `torch.func.vmap` can measure it in many runs at once: it must not branch on the values of
            a tensor, nor read any off the device. If not, each of these runs is measured by itself.
        healthy: Ranges of values that need no comment, both ends included; empty if none can be defended.
        too_low: The meaning of a value below the range, in words that continue "hidden3: 12%".
        too_high: The meaning of a value above the range, likewise.
        undefined: The reason why it has no value in some networks, in words that continue "undefined: it needs"; empty
            if it has one in every network. ``bnlab show`` and ``bnlab compare`` say it in place of a value.
    """

    name: ClassVar[str]
    unit: ClassVar[str]
    cost: ClassVar[Cost] = "shared"
    needs: ClassVar[frozenset[Need]] = frozenset()
    vectorizable: ClassVar[bool] = False
    healthy: ClassVar[Ranges] = {}
    too_low: ClassVar[str] = ""
    too_high: ClassVar[str] = ""
    undefined: ClassVar[str] = ""

    @abstractmethod
    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return ``role`` -> scalar tensor; ``role/facet`` for several values per layer, ``network`` for the whole.

        Layers for which it is not defined are left out.
        """

    def remember(self, seen: Observation) -> Named:  # noqa: ARG002
        """Return the tensors that ``measure`` needs at the next measured step; called after `measure`."""
        return {}


class OfActivations(Diagnostic):
    """A diagnostic of the inputs or outputs of the activations that a network has beside its norms."""

    undefined = "activations that are modules of the network's own (norm=frn replaces them, model=deep_linear has none)"


class OfRunningStatistics(Diagnostic):
    """A diagnostic of the running statistics that a norm estimates by an average over the batches."""

    undefined = "norms that keep running statistics of their batches, as BatchNorm does"
