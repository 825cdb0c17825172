"""The contract of a diagnostic, and what it may look at.

A diagnostic of your own is a class with a name, a unit and a method ``measure``; everything else it has by default::

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

Need = Literal["gradients", "eval_mode", "update"]
"""``gradients``: a backward pass over the probe batch. ``eval_mode``: a forward pass over it in eval mode. ``update``:
the weights before the last update, and the mini-batch that made it; where there was none, it is left out."""

Ranges = Mapping[str, tuple[float, float]]
"""Name of an activation, or ``any`` -> (least, most)."""

Result = TypeVar("Result")

FEW_VALUES = 2**18
"""Numbers in images that are looked at where a look costs dozens of passes over them."""


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

    @property
    def few(self) -> Batch:
        """Its first images, for those who make many passes: 256, down to 32 where they are large (85 of CIFAR's).

        Runs that are trained together know what their layers would draw for so many.
        """
        size = max(32, min(256, FEW_VALUES // max(1, self.inputs.shape[1:].numel())))
        return Batch(self.inputs[:size], self.labels[:size])


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

    It returns tensors, not floats: they can be computed for several runs at once, and force no wait for the device.

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
