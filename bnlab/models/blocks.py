"""The parts of networks: linear maps with their norms and activations, and the builder that knows the arm."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Literal, cast

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

from bnlab import noise
from bnlab.norms.catalog import NoNorm
from bnlab.norms.norm import Norm

BuildNorm = Callable[[int], nn.Module]
Placement = Literal["before", "after", "input"]
Order = Literal["linear, norm, activation", "linear, activation, norm", "norm, activation, linear"]

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
}


class NoActivation(nn.Module):
    """Pass the input on, in place of an activation that the norm's own nonlinearity replaces, or of none at all."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the input."""
        return x


class Dropout(nn.Dropout):
    """Set each value to 0 with probability p in training mode, and multiply the others by 1/(1 - p).

    Torch's layer, with the same draws for the same random state. The draws come from `bnlab.noise`, so that each of
    several stacked runs gets the draws of its own seed.

    Args:
        p: Probability of a 0, in [0, 1).

    Source:
        Srivastava et al. 2014, "Dropout: A Simple Way to Prevent Neural Networks from Overfitting".
    """

    def forward(self, input: Tensor) -> Tensor:
        """Drop values."""
        if not self.training:
            return input
        return input * (noise.bernoulli(1 - self.p, input.shape, input.dtype, input.device) / (1 - self.p))


class Block(nn.Module):
    """A linear map, and the norm and the activation that belong to it, in the order that is named.

    Args:
        linear: A matrix product or a convolution; both are linear maps.
        norm: Normalizes the output of the linear map, or that of the activation; None: the block has no norm.
        activation: The nonlinearity; never in place, so that a hook can see its input. None: there is none, or the
            norm has its own.
        order: The parts in the order in which they are applied.
        dropout: The dropout layer right behind the activation; None: no dropout.
        halves: Whether the output of the linear map is pooled to half the image's size.

    Attributes:
        activation_replaced: True if the norm has a nonlinearity of its own, and the activation does nothing.
        has_activation: True if there is a nonlinearity, here or in the norm.
        order: As in Args.
    """

    linear: nn.Module
    activation: nn.Module

    def __init__(
        self,
        linear: nn.Module,
        norm: nn.Module | None,
        activation: nn.Module | None,
        order: Order = "linear, norm, activation",
        dropout: nn.Module | None = None,
        halves: bool = False,
    ) -> None:
        super().__init__()
        self.activation_replaced = activation is None and bool(getattr(norm, "replaces_activation", False))
        self.has_activation = activation is not None or self.activation_replaced
        parts = {"linear": linear, "norm": norm, "activation": activation or NoActivation(), "dropout": dropout}
        self.steps = tuple(order.replace("activation", "activation, dropout").split(", "))
        for name in self.steps:
            if name != "norm" or norm is not None:
                self.register_module(name, parts[name])
        self.order = order
        self.halves = halves

    def forward(self, x: Tensor) -> Tensor:
        """Apply the parts in order."""
        for name in self.steps:
            x = self._apply_part(name, x)
        return x

    def before_linear(self, x: Tensor) -> Tensor:
        """Apply only the parts that stand before the linear map."""
        for name in self.steps[: self.steps.index("linear")]:
            x = self._apply_part(name, x)
        return x

    def _apply_part(self, name: str, x: Tensor) -> Tensor:
        part = self._modules.get(name)
        y = x if part is None else cast("Tensor", part(x))
        return pooled(y) if name == "linear" and self.halves else y


def pooled(x_NCHW: Tensor) -> Tensor:
    """Return the image at half its size, by the maximum of 2x2 pixels; one pixel stays one."""
    return F.max_pool2d(x_NCHW, 2) if min(x_NCHW.shape[2:]) > 1 else x_NCHW


class BlockBuilder:
    """Builds blocks and their parts by the arm: norm, placement, activation and dropout.

    A linear map has a bias, unless the norm right after it subtracts the mean, or a network says otherwise. Its weights
    go through the norm's ``weight_parametrization``, if it declares one. A norm that ``replaces_activation`` does so
    only where it stands right before one.

    Args:
        build_norm: A function from the number of channels to a norm; it is the arm.
        placement: ``before`` or ``after`` each activation, or ``input`` for one norm of the input.
        activation: The name of the nonlinearity, as in ``model.activation``; ``none`` in a network without any.
        dropout: The share of units set to 0 after each activation, in [0, 1); 0: no layer is added.
    """

    def __init__(
        self, build_norm: BuildNorm, placement: Placement, activation: str = "relu", dropout: float = 0.0
    ) -> None:
        self.build_norm = build_norm
        self.placement = placement
        self.activation = activation
        self.dropout = dropout

    def dense(
        self, num_inputs: int, num_outputs: int, order: Order | None = None, *, has_activation: bool = True
    ) -> Block:
        """Return a block around a matrix product.

        Args:
            num_inputs: The number of features of its input.
            num_outputs: The number of features of its output.
            order: The order of its parts; None: as the placement says.
            has_activation: Whether the block has an activation.
        """

        def build(bias: bool) -> nn.Module:
            return nn.Linear(num_inputs, num_outputs, bias=bias)

        return self._block(build, num_inputs, num_outputs, order, has_activation)

    def conv(
        self,
        num_inputs: int,
        num_outputs: int,
        order: Order | None = None,
        *,
        size: int = 3,
        stride: int = 1,
        has_activation: bool = True,
        has_bias: bool | None = None,
        halves: bool = False,
    ) -> Block:
        """Return a block around a convolution with zeros at the border: with stride 1, the image keeps its size.

        Args:
            num_inputs: The number of channels of its input.
            num_outputs: The number of channels of its output.
            order: The order of its parts; None: as the placement says.
            size: The height and width of the kernel, odd.
            stride: The step of the kernel, in pixels.
            has_activation: Whether the block has an activation.
            has_bias: Whether the convolution has a bias; None: unless the norm right after it subtracts the mean.
            halves: Whether the convolution's output is pooled to half its size, before the norm.
        """

        def build(bias: bool) -> nn.Module:
            return nn.Conv2d(num_inputs, num_outputs, size, stride, size // 2, bias=bias)

        return self._block(build, num_inputs, num_outputs, order, has_activation, has_bias, halves)

    def norm(self, num_channels: int) -> nn.Module:
        """Return a norm of the arm; with placement ``input`` one that does nothing, the same in every arm.

        Args:
            num_channels: The number of channels of its input.
        """
        return NoNorm(num_channels) if self.placement == "input" else self.build_norm(num_channels)

    def keeps_mean(self, num_channels: int) -> bool:
        """Return whether the arm's norm keeps the mean of its input, so that a bias before it has an effect.

        Args:
            num_channels: The number of channels of the norm's input.
        """
        return not cast("Norm", self.norm(num_channels)).subtracts_mean

    def norm_and_activation(self, num_channels: int) -> nn.Sequential:
        """Return a norm of the arm and the activation behind it, without a linear map.

        Args:
            num_channels: The number of channels of its input.
        """
        norm = self.norm(num_channels)
        parts = OrderedDict[str, nn.Module](norm=norm)
        if not cast("Norm", norm).replaces_activation:
            parts["activation"] = self.nonlinearity()
        return nn.Sequential(parts)

    def nonlinearity(self) -> nn.Module:
        """Return the activation of the network, alone."""
        return ACTIVATIONS[self.activation]()

    def transformed(self, linear: nn.Module, num_outputs: int) -> nn.Module:
        """Return a linear map whose weights go through the arm's ``weight_parametrization``, if it declares one.

        Args:
            linear: A linear map that stands alone, without a norm right behind it.
            num_outputs: The number of its output features or channels.
        """
        return _parametrized(linear, self.norm(num_outputs))

    def input_norm(self, num_channels: int) -> nn.Module | None:
        """Return the norm of the network's input; None unless the placement is ``input``.

        Args:
            num_channels: The number of channels of the input.
        """
        return self.build_norm(num_channels) if self.placement == "input" else None

    def _block(
        self,
        build: Callable[[bool], nn.Module],
        num_inputs: int,
        num_outputs: int,
        order: Order | None,
        has_activation: bool,
        has_bias: bool | None = None,
        halves: bool = False,
    ) -> Block:
        if order is None:
            order = "linear, activation, norm" if self.placement == "after" else "linear, norm, activation"
        norm = cast(
            "Norm", self.norm(num_inputs if order.startswith("norm") else num_outputs)
        )  # of any class: build_norm adds missing declarations
        if has_bias is None:
            has_bias = not (order.startswith("linear, norm") and norm.subtracts_mean)
        linear = build(has_bias)
        # a norm before the linear map has the width of its inputs
        linear = self.transformed(linear, num_outputs) if order.startswith("norm") else _parametrized(linear, norm)
        replaced = "norm, activation" in order and norm.replaces_activation
        activation = self.nonlinearity() if has_activation and not replaced else None
        dropout = Dropout(self.dropout) if self.dropout and has_activation else None
        return Block(linear, norm, activation, order, dropout, halves)


def _parametrized(linear: nn.Module, norm: nn.Module) -> nn.Module:
    declared = cast("Norm", norm)
    if declared.weight_parametrization is not None:
        register_parametrization(linear, "weight", declared.weight_parametrization())
    return linear
