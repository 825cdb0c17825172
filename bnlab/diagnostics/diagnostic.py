"""The contract of a diagnostic, the probe that all of them look at, and how they are run together."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnlab.diagnostics.taps import leaving_no_trace, tapped


class Observable(Protocol):
    """What a network must offer to be looked at: its layers by role."""

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """The weights of the linear maps that are trained, by role."""

    @property
    def activations(self) -> Mapping[str, nn.Module]:
        """Activations by role."""

    @property
    def replaced_activations(self) -> Collection[str]:
        """Roles whose activation does nothing, because the norm brings a nonlinearity of its own."""


@dataclass(frozen=True)
class ProbeBatch:
    """A fixed held-out batch that every diagnostic looks at.

    Attributes:
        inputs: (B, ...).
        labels: (B,).
        activation: Name of the nonlinearity, which says where it is flat.
    """

    inputs: Tensor
    labels: Tensor
    activation: str


@dataclass(frozen=True)
class Observation:
    """One forward and backward pass over the probe batch, in training mode, shared by all diagnostics of a step.

    Training mode, because that is the network being trained: at step 0 the running statistics know nothing yet.

    Attributes:
        preactivations: What each activation sees, by role; without those that a norm's own nonlinearity replaces.
        activations: What each activation gives, by role; likewise.
        weight_gradients: Of the mean loss, for the weights that are trained, by role.
        activation: Name of the nonlinearity.
    """

    preactivations: Mapping[str, Tensor]
    activations: Mapping[str, Tensor]
    weight_gradients: Mapping[str, Tensor]
    activation: str


class Diagnostic(ABC):
    """One quantity, measured per layer.

    It returns tensors, not floats: they can be vectorized over replicas, and force no wait for the device.
    """

    name: ClassVar[str]
    unit: ClassVar[str]

    @abstractmethod
    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return a scalar tensor per layer role."""


def measure_all(
    diagnostics: Sequence[Diagnostic], model: nn.Module, layers: Observable, probe: ProbeBatch
) -> dict[str, dict[str, Tensor]]:
    """Look at a network with all diagnostics at once, leaving no trace in it.

    Args:
        diagnostics: What to measure.
        model: The network.
        layers: Its layers by role; usually the model itself.
        probe: What to look at it with.

    Returns:
        Diagnostic name -> layer role -> scalar tensor.
    """
    if not diagnostics:
        return {}
    seen = observe(model, layers, probe)
    return {diagnostic.name: diagnostic.measure(seen) for diagnostic in diagnostics}


def observe(model: nn.Module, layers: Observable, probe: ProbeBatch) -> Observation:
    """Run the probe batch through a network and back, in training mode, leaving no trace."""
    weights = layers.weights
    watched = {role: module for role, module in layers.activations.items() if role not in layers.replaced_activations}
    with leaving_no_trace(model), tapped(watched) as (inputs, outputs), torch.enable_grad():
        model.train()
        loss = F.cross_entropy(model(probe.inputs), probe.labels)
        gradients = torch.autograd.grad(loss, list(weights.values()))
    return Observation(inputs, outputs, dict(zip(weights, gradients, strict=True)), probe.activation)
