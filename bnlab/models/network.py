"""The interface of all networks for training and diagnostics: their layers by role."""

from collections import OrderedDict
from collections.abc import Callable
from typing import ClassVar, Literal, cast

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized, register_parametrization

from bnlab import noise
from bnlab.norms.catalog import NoNorm
from bnlab.norms.norm import FreeScale, Norm

BuildNorm = Callable[[int], nn.Module]
Placement = Literal["before", "after", "input"]

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
}


class NoActivation(nn.Module):
    """Pass the input on, in place of an activation that the norm's own nonlinearity replaces."""

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
    """A linear map, its norm and its activation, in the order that the placement names.

    Args:
        linear: A matrix product or a convolution; both are linear maps.
        norm: Normalizes the output of the linear map, or that of the activation.
        activation: The nonlinearity; never in place, so that a hook can see its input. None: the norm has its own.
        norm_first: True puts the norm before the activation, False after it.
        dropout: The dropout layer after the activation; None: no dropout.

    Attributes:
        activation_replaced: True if the norm has a nonlinearity of its own, and the activation does nothing.
    """

    def __init__(
        self,
        linear: nn.Module,
        norm: nn.Module,
        activation: nn.Module | None,
        norm_first: bool,
        dropout: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.linear = linear
        if norm_first:
            self.norm = norm
        self.activation = NoActivation() if activation is None else activation
        self.activation_replaced = activation is None
        self.dropout = dropout
        if not norm_first:
            self.norm = norm
        self.norm_first = norm_first

    def forward(self, x: Tensor) -> Tensor:
        """Apply them in order."""
        x = self.linear(x)
        x = self.activation(self.norm(x) if self.norm_first else x)
        if self.dropout is not None:
            x = self.dropout(x)
        return x if self.norm_first else self.norm(x)


class Network(nn.Module):
    """A network whose layers have roles: ``hidden1``, ``stage2.conv1``, ``output``.

    A role is a submodule's name, so that arms with and without a norm name their layers alike.

    Args:
        body: Modules by name, run in order; blocks may stand inside nn.Sequential.
        output: The last linear map, to one logit per class.
        input_norm: The norm of the network's input; None: the input is not normalized.
    """

    channels_last: ClassVar[bool] = False
    """Whether images should have the channels-last layout, in which convolutions are faster."""

    def __init__(self, body: "OrderedDict[str, nn.Module]", output: nn.Linear, input_norm: nn.Module | None) -> None:
        super().__init__()
        if input_norm is not None:
            self.input = input_norm
        for name, module in body.items():
            self.add_module(name, module)
        self.output = output
        self.body_names = tuple(body)

    @property
    def blocks(self) -> dict[str, Block]:
        """Blocks by role, in the order of the forward pass."""
        return {role: module for role, module in self.named_modules() if isinstance(module, Block)}

    @property
    def linears(self) -> dict[str, nn.Module]:
        """Linear maps by role, the output included."""
        return {**{role: block.linear for role, block in self.blocks.items()}, "output": self.output}

    @property
    def norms(self) -> dict[str, nn.Module]:
        """Norms by role; ``input`` is the norm of the network's input, if it has one."""
        first = {"input": self.input} if hasattr(self, "input") else {}
        return {**first, **{role: block.norm for role, block in self.blocks.items()}}

    @property
    def activations(self) -> dict[str, nn.Module]:
        """Activations by role; a `NoActivation` where the norm has its own."""
        return {role: block.activation for role, block in self.blocks.items()}

    @property
    def replaced_activations(self) -> frozenset[str]:
        """Roles without an activation, because the norm has a nonlinearity of its own."""
        return frozenset(role for role, block in self.blocks.items() if block.activation_replaced)

    @property
    def weights(self) -> dict[str, Tensor]:
        """The trained weights of the linear maps by role; a parametrization may compute other weights from them."""
        return {role: trained_weight(linear) for role, linear in self.linears.items()}

    @property
    def scale_invariant_weights(self) -> dict[str, FreeScale]:
        """By role, which part of the weights can be multiplied by a positive number without effect, except through eps.

        ``rows``, each by a number of its own, where the norm right behind the linear map takes the scale of each
        channel away, or where the weights go through a parametrization that does; ``whole`` where the norm takes the
        scale of each sample away. A bias between them forbids it, unless the norm takes that away too: before `rms`,
        say, weights and bias are free together, and the weights alone are not. Behind a relu it would hold as well, for
        it passes a scale on; but a norm that stands there leaves the linear map its bias. Only declarations
        of norms count: a scale may be free without a declaration (`batch_renorm` while it clips nothing).
        """
        free = {role: _free_scale(block) for role, block in self.blocks.items()}
        return {role: scale for role, scale in free.items() if scale is not None}

    def features(self, x: Tensor) -> Tensor:
        """Return the input of the output layer, (N, features)."""
        if hasattr(self, "input"):
            x = self.input(x)
        for name in self.body_names:
            x = getattr(self, name)(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, (N, classes)."""
        return self.output(self.features(x))  # type: ignore[no-any-return]


class BlockBuilder:
    """Builds blocks that differ only in their linear map.

    The linear map has a bias, unless the norm right after it subtracts the mean. Its weights go through the norm's
    ``weight_parametrization``, if it declares one. A norm that ``replaces_activation`` does so only before the
    activation.

    Args:
        build_norm: A function from the number of channels to a norm; it is the arm.
        placement: ``before`` or ``after`` each activation, or ``input`` for one norm of the input.
        activation: The name of the nonlinearity, as in ``model.activation``.
        dropout: The share of units set to 0 after each activation, in [0, 1); 0: no layer is added.
    """

    def __init__(self, build_norm: BuildNorm, placement: Placement, activation: str, dropout: float = 0.0) -> None:
        self.build_norm = build_norm
        self.placement = placement
        self.activation = activation
        self.dropout = dropout

    def dense(self, num_inputs: int, num_outputs: int) -> Block:
        """Return a block around a matrix product."""
        norm, bias = self._norm_and_bias(num_outputs)
        return self._block(nn.Linear(num_inputs, num_outputs, bias=bias), norm)

    def conv(self, num_inputs: int, num_outputs: int) -> Block:
        """Return a block around a 3x3 convolution that keeps the size of the image."""
        norm, bias = self._norm_and_bias(num_outputs)
        return self._block(nn.Conv2d(num_inputs, num_outputs, 3, padding=1, bias=bias), norm)

    def input_norm(self, num_channels: int) -> nn.Module | None:
        """Return the norm of the network's input; None unless the placement is ``input``."""
        return self.build_norm(num_channels) if self.placement == "input" else None

    def _norm_and_bias(self, num_channels: int) -> tuple[nn.Module, bool]:
        if self.placement == "input":
            return NoNorm(num_channels), True  # the same in every arm; NoNorm has all declarations of a norm
        norm = self.build_norm(num_channels)
        return norm, self.placement == "after" or not norm.subtracts_mean

    def _block(self, linear: nn.Module, norm: nn.Module) -> Block:
        declared = cast("Norm", norm)  # of any class: build_norm adds missing declarations
        if declared.weight_parametrization is not None:
            register_parametrization(linear, "weight", declared.weight_parametrization())
        norm_first = self.placement != "after"
        replaced = norm_first and declared.replaces_activation
        activation = None if replaced else ACTIVATIONS[self.activation]()
        return Block(linear, norm, activation, norm_first, Dropout(self.dropout) if self.dropout else None)


def _free_scale(block: Block) -> FreeScale | None:
    if is_parametrized(block.linear, "weight"):
        first = block.linear.get_submodule("parametrizations.weight.0")
        return "rows" if getattr(first, "ignores_row_scale", False) else None
    invariances = cast("Norm", block.norm).invariances
    if not block.norm_first or (block.linear.bias is not None and "channel_shift" not in invariances):
        return None
    if "channel_scale" in invariances:
        return "rows"
    return "whole" if "sample_scale" in invariances else None


def trained_weight(linear: nn.Module) -> Tensor:
    """Return the weight that is trained. With a parametrization, ``linear.weight`` is computed from it.

    Args:
        linear: A linear map of the network, with a parametrization or without.
    """
    if is_parametrized(linear, "weight"):
        linear = linear.get_submodule("parametrizations.weight")
        return cast("Tensor", linear.original)
    return cast("Tensor", linear.weight)


def pooled(x_NCHW: Tensor) -> Tensor:
    """Return the image at half its size, by the maximum of 2x2 pixels; one pixel stays one."""
    return F.max_pool2d(x_NCHW, 2) if min(x_NCHW.shape[2:]) > 1 else x_NCHW
