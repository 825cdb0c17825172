"""Passes through one network as it stands: forward, back, and twice back. None of them changes it.

A run alone and a run among stacked ones differ in how a gradient is asked for: autograd takes any layer that somebody
may have written, `torch.func` alone can be vectorized. What a diagnostic computes is the same in both.
"""

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from bnlab.norms.norm import FreeScale

Named = dict[str, Tensor]
"""Name -> tensor."""

LossAt = Callable[[Named], tuple[Tensor, Any]]
"""Parameters -> (scalar, whatever else is to be kept)."""

Linear = Callable[[Named], Named]
"""Vector by parameter -> matrix times it, likewise."""


SameNoise = Callable[[int], AbstractContextManager[object]]
"""Number of samples -> a context in which layers draw the same each time."""


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

    @property
    def scale_invariant_weights(self) -> Mapping[str, FreeScale]:
        """What of the weights can be multiplied by a positive number, to no effect in training mode but for eps."""

    @property
    def norms(self) -> Mapping[str, nn.Module]:
        """Norms by role, with the declarations of `bnlab.norms.norm.Norm`."""


class Calculus(Protocol):
    """How derivatives are asked for."""

    def gradient(self, function: LossAt, at: Named) -> tuple[Named, Tensor, Any]:
        """Return the gradient, the value, and what else was to be kept."""

    def hessian(self, function: LossAt, at: Named) -> Linear:
        """Return what multiplies a vector with the second derivative; the way there and back is gone once for all."""


class PlainCalculus:
    """Autograd on tensors of one run: for any layer that can be trained."""

    def gradient(self, function: LossAt, at: Named) -> tuple[Named, Tensor, Any]:
        """Return the gradient, the value, and what else was to be kept."""
        leaves = {name: value.detach().requires_grad_() for name, value in at.items()}
        with torch.enable_grad():
            value, kept = function(leaves)
            gradients = torch.autograd.grad(value, list(leaves.values()), materialize_grads=True)
        return dict(zip(at, gradients, strict=True)), value.detach(), kept

    def hessian(self, function: LossAt, at: Named) -> Linear:
        """Return what multiplies a vector with the second derivative."""
        leaves = {name: value.detach().requires_grad_() for name, value in at.items()}
        with torch.enable_grad():
            value, _ = function(leaves)
            gradients = torch.autograd.grad(value, list(leaves.values()), create_graph=True, materialize_grads=True)
        curved = {name: g for name, g in zip(at, gradients, strict=True) if g.requires_grad}

        def times(vector: Named) -> Named:
            if not curved:  # the function is linear
                return {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
            seconds = torch.autograd.grad(
                list(curved.values()),
                list(leaves.values()),
                [vector[name] for name in curved],
                retain_graph=True,
                materialize_grads=True,
            )
            return dict(zip(at, seconds, strict=True))

        return times


class FunctionalCalculus:
    """`torch.func`, which `torch.func.vmap` can take many runs through at once."""

    def gradient(self, function: LossAt, at: Named) -> tuple[Named, Tensor, Any]:
        """Return the gradient, the value, and what else was to be kept."""
        gradient, (value, kept) = torch.func.grad_and_value(function, has_aux=True)(at)
        return gradient, value, kept

    def hessian(self, function: LossAt, at: Named) -> Linear:
        """Return what multiplies a vector with the second derivative."""

        def value_at(moved: Named) -> Tensor:
            return function(moved)[0]

        back = torch.func.vjp(torch.func.grad(value_at), at)[1]

        def times(vector: Named) -> Named:
            seconds: Named = back(vector)[0]  # from the left, and it is symmetric
            return seconds

        return times


@dataclass(frozen=True)
class Passes:
    """Passes through a network with given parameters and buffers.

    In training mode the statistics are the batch's own, as in training; whatever the layers draw (dropout, noise) is
    what they would draw next in training, the same in every pass; and buffers move in copies that are thrown away.

    Attributes:
        network: For its layers; its own parameters and buffers are not used.
        parameters: By name.
        buffers: By name.
        calculus: How derivatives are asked for.
        same_noise: A context in which layers draw as they would next, for inputs of so many samples.
    """

    network: nn.Module
    parameters: Named
    buffers: Named
    calculus: Calculus
    same_noise: SameNoise

    def logits(
        self,
        inputs: Tensor,
        parameters: Mapping[str, Tensor] | None = None,
        *,
        training: bool = True,
        buffers: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """Return logits (N, classes).

        Args:
            inputs: (N, ...).
            parameters: In place of the network's, by name; None or left out: its own.
            training: In training mode; else in eval mode.
            buffers: In place of the network's, by name; None or left out: its own.
        """
        moving = {name: value.clone() for name, value in {**self.buffers, **(buffers or {})}.items()}
        own = {**self.parameters, **(parameters or {})}
        noise = self.same_noise(len(inputs)) if training else contextlib.nullcontext()
        with in_mode(self.network, training=training), noise:
            logits: Tensor = functional_call(self.network, (own, moving), (inputs,))
        return logits

    def loss(self, inputs: Tensor, labels: Tensor, parameters: Mapping[str, Tensor] | None = None) -> Tensor:
        """Return the mean cross-entropy in training mode.

        Args:
            inputs: (N, ...).
            labels: (N,).
            parameters: As for `logits`.
        """
        return F.cross_entropy(self.logits(inputs, parameters), labels)

    def gradient(
        self,
        inputs: Tensor,
        labels: Tensor,
        parameters: Mapping[str, Tensor] | None = None,
        names: Collection[str] | None = None,
    ) -> tuple[Named, Tensor]:
        """Return the loss's gradient by parameter, and the loss, in training mode.

        Args:
            inputs: (N, ...).
            labels: (N,).
            parameters: As for `logits`.
            names: Of the parameters whose gradient is wanted; None: all.
        """
        own = {**self.parameters, **(parameters or {})}
        at = {name: own[name] for name in (own if names is None else names)}
        gradient, loss, _ = self.calculus.gradient(lambda moved: (self.loss(inputs, labels, {**own, **moved}), {}), at)
        return gradient, loss

    def hessian(
        self, names: Collection[str], inputs: Tensor, labels: Tensor, parameters: Mapping[str, Tensor] | None = None
    ) -> Linear:
        """Return what multiplies a vector with the loss's second derivative, in training mode.

        Batch statistics are in the graph. It is kept as long as what is returned: of many products each is made by
        one way back.

        Args:
            names: Of the parameters that the derivative is by.
            inputs: (N, ...).
            labels: (N,).
            parameters: As for `logits`.
        """
        own = {**self.parameters, **(parameters or {})}
        at = {name: own[name] for name in names}
        others = {name: value for name, value in own.items() if name not in at}
        return self.calculus.hessian(lambda moved: (self.loss(inputs, labels, {**others, **moved}), None), at)

    def tensors_of(self, module: nn.Module) -> Named:
        """Return the parameters and buffers of one of the network's modules, by their names in it, as they are now."""
        prefix = next(name for name, one in self.network.named_modules() if one is module)
        start = f"{prefix}." if prefix else ""
        every = {**self.parameters, **self.buffers}
        return {name.removeprefix(start): value for name, value in every.items() if name.startswith(start)}

    def names_of(self, weights: Mapping[str, Tensor]) -> dict[str, str]:
        """Return role -> parameter name, for weights of the network by role."""
        names = {id(parameter): name for name, parameter in self.network.named_parameters()}
        return {role: names[id(weight)] for role, weight in weights.items() if id(weight) in names}


@contextlib.contextmanager
def in_mode(network: nn.Module, *, training: bool) -> Iterator[None]:
    """Put a network into training or eval mode, and each of its modules back into its own.

    Args:
        network: Whose layers may be in modes of their own.
        training: Which.
    """
    modes = {module: module.training for module in network.modules()}
    network.train(training)
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
