"""Passes through one network with its present weights: outputs, gradients, second derivatives. None changes it.

A run trained alone and runs stacked together compute gradients differently: autograd works with any layer, only
`torch.func` can be vectorized. A diagnostic computes the same values with both.
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
from torch.nn.attention import SDPBackend, sdpa_kernel

from bnlab.norms.norm import FreeScale

Named = dict[str, Tensor]
"""Name -> tensor."""

LossAt = Callable[[Named], tuple[Tensor, Any]]
"""Function from parameters to (scalar, any further values to keep)."""

Linear = Callable[[Named], Named]
"""Function from a vector, split by parameter, to a matrix times that vector."""


SameNoise = Callable[[int], AbstractContextManager[object]]
"""Function from a number of samples to a context in which layers make the same random draws in every pass."""


class Observable(Protocol):
    """The layers by role that a network must give to diagnostics."""

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """Role -> trained weight of a linear map."""

    @property
    def activations(self) -> Mapping[str, nn.Module]:
        """Role -> activation module."""

    @property
    def replaced_activations(self) -> Collection[str]:
        """Roles whose activation does nothing, because the norm brings a nonlinearity of its own."""

    @property
    def scale_invariant_weights(self) -> Mapping[str, FreeScale]:
        """Role -> ``rows`` or ``whole``, for weights whose scale has no effect in training mode, except by eps."""

    @property
    def streams(self) -> Mapping[str, nn.Module]:
        """Role -> residual unit."""

    @property
    def norms(self) -> Mapping[str, nn.Module]:
        """Norms by role, with the declarations of `bnlab.norms.norm.Norm`."""


class Calculus(Protocol):
    """A way to compute derivatives."""

    def gradient(self, function: LossAt, at: Named) -> tuple[Named, Tensor, Any]:
        """Return the gradient, the value, and the further values that the function keeps."""

    def hessian(self, function: LossAt, at: Named) -> Linear:
        """Return a function that multiplies vectors by the Hessian; its graph is built once."""


def attention_with_second_derivatives() -> AbstractContextManager[None]:
    """Let torch compute attention by its plain formula: its fast kernels have no second derivatives (torch 2.14)."""
    return sdpa_kernel(SDPBackend.MATH)


class PlainCalculus:
    """Autograd on tensors of one run: for any layer that can be trained."""

    def gradient(self, function: LossAt, at: Named) -> tuple[Named, Tensor, Any]:
        """Return the gradient, the value, and the further values that the function keeps."""
        leaves = {name: value.detach().requires_grad_() for name, value in at.items()}
        with torch.enable_grad():
            value, kept = function(leaves)
            gradients = torch.autograd.grad(value, list(leaves.values()), materialize_grads=True)
        return dict(zip(at, gradients, strict=True)), value.detach(), kept

    def hessian(self, function: LossAt, at: Named) -> Linear:
        """Return a function that multiplies vectors by the Hessian."""
        leaves = {name: value.detach().requires_grad_() for name, value in at.items()}
        with torch.enable_grad(), attention_with_second_derivatives():
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
    """Derivatives by `torch.func`, which `torch.func.vmap` can compute for many runs at once."""

    def gradient(self, function: LossAt, at: Named) -> tuple[Named, Tensor, Any]:
        """Return the gradient, the value, and the further values that the function keeps."""
        gradient, (value, kept) = torch.func.grad_and_value(function, has_aux=True)(at)
        return gradient, value, kept

    def hessian(self, function: LossAt, at: Named) -> Linear:
        """Return a function that multiplies vectors by the Hessian."""

        def value_at(moved: Named) -> Tensor:
            return function(moved)[0]

        with attention_with_second_derivatives():
            back = torch.func.vjp(torch.func.grad(value_at), at)[1]

        def times(vector: Named) -> Named:
            seconds: Named = back(vector)[0]  # from the left, and it is symmetric
            return seconds

        return times


@dataclass(frozen=True)
class Passes:
    """Passes through a network with given parameters and buffers.

    In training mode, norms use the batch's own statistics. Random draws (dropout, noise) are those that training would
    make next, the same in every pass. Updates of buffers go to copies that are dropped.

    Attributes:
        network: The network, for its layers; its own parameters and buffers are not used.
        parameters: Name -> value of a parameter.
        buffers: Name -> value of a buffer.
        calculus: The way to compute derivatives.
        same_noise: Function from a number of samples to a context in which layers make the next random draws.
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
            inputs: The images, (N, ...).
            parameters: Name -> value to use in place of the pass's own; None or a name left out: its own.
            training: Whether the pass is in training mode; else in eval mode.
            buffers: Name -> value to use in place of the pass's own; None or a name left out: its own.
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
            inputs: The images, (N, ...).
            labels: The class of each image, (N,).
            parameters: Values in place of the pass's own, as in `logits`.
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
            inputs: The images, (N, ...).
            labels: The class of each image, (N,).
            parameters: Values in place of the pass's own, as in `logits`.
            names: Names of the parameters to differentiate by; None for all.
        """
        own = {**self.parameters, **(parameters or {})}
        at = {name: own[name] for name in (own if names is None else names)}
        gradient, loss, _ = self.calculus.gradient(lambda moved: (self.loss(inputs, labels, {**own, **moved}), {}), at)
        return gradient, loss

    def hessian(
        self, names: Collection[str], inputs: Tensor, labels: Tensor, parameters: Mapping[str, Tensor] | None = None
    ) -> Linear:
        """Return a function that multiplies vectors by the loss's Hessian, in training mode.

        The Hessian differentiates through batch statistics. The graph is kept as long as the function: each product
        takes one backward pass.

        Args:
            names: Names of the parameters to differentiate by.
            inputs: The images, (N, ...).
            labels: The class of each image, (N,).
            parameters: Values in place of the pass's own, as in `logits`.
        """
        own = {**self.parameters, **(parameters or {})}
        at = {name: own[name] for name in names}
        others = {name: value for name, value in own.items() if name not in at}
        return self.calculus.hessian(lambda moved: (self.loss(inputs, labels, {**others, **moved}), None), at)

    def tensors_of(self, module: nn.Module) -> Named:
        """Return name -> present value of the parameters and buffers of one module of the network."""
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
    """Put a network into training or eval mode, and restore the mode of each module at the end.

    Args:
        network: The network; its layers may be in different modes before.
        training: Whether to put it into training mode; else into eval mode.
    """
    modes = {module: module.training for module in network.modules()}
    network.train(training)
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
