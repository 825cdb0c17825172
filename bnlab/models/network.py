"""The interface of all networks for training and diagnostics: their layers by role."""

from collections import OrderedDict
from collections.abc import Iterator
from typing import ClassVar, cast

from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from bnlab.errors import ConfigError
from bnlab.models.blocks import ACTIVATIONS, Block
from bnlab.norms.norm import DECLARATIONS, FreeScale, Norm

_LINEAR = (nn.Linear, nn.modules.conv._ConvNd)
_ACTIVATION = tuple(ACTIVATIONS.values())


class Network(nn.Module):
    """A network whose layers have roles: ``hidden1``, ``stage2.conv1``, ``output``.

    A role is a submodule's name, so that arms with and without a norm name their layers alike. The parts of a `Block`
    have its name; a linear map, norm or activation outside of blocks has its own.

    Args:
        body: Modules by name, run in order; blocks may stand inside other modules.
        output: The last linear map, to one logit per class.
        input_norm: The norm of the network's input; None: the input is not normalized.
    """

    channels_last: ClassVar[bool] = False
    """Whether images should have the channels-last layout, in which convolutions are faster."""

    is_foreign: bool = False
    """Whether somebody else wrote its code, which may leave parameters unused, or may not run as one program."""

    small_roles: frozenset[str] = frozenset({"output"})
    """Roles of linear maps for which ``auto`` and ``he`` draw with lecun's std.

    The factor of 2 in ``he`` makes up for what a relu, or its like, takes away. So these are the output layer, and in
    networks with shortcuts the maps that have no such activation before or after them in their unit (`ViT`, `ResNet`).
    `ResidualMLP` adds the last map of each branch, whose output is summed as it is. In an `LSTM` they are all maps.
    """

    rows_per_sample: int = 1
    """How many rows its matrix products see for each sample: tokens or time steps."""

    def __init__(self, body: "OrderedDict[str, nn.Module]", output: nn.Linear, input_norm: nn.Module | None) -> None:
        super().__init__()
        if input_norm is not None:
            self.input = input_norm
        for name, module in body.items():
            self.add_module(name, module)
        self.output = output
        self.body_names = tuple(body)

    def finish_initialization(self) -> None:
        """Set what is neither drawn nor 0 at the start, after weights are drawn and biases set to 0."""

    def see(self, images: Tensor) -> None:
        """Set what follows from the training images, once, before the first step; most networks have nothing of it.

        Args:
            images: All training images, on any device.
        """

    @property
    def blocks(self) -> dict[str, Block]:
        """Blocks by role, in the order of the forward pass."""
        return {role: module for role, module in parts_by_role(self) if isinstance(module, Block)}

    @property
    def linears(self) -> dict[str, nn.Module]:
        """Linear maps by role, in the order of the forward pass."""
        found = ((role, m.linear if isinstance(m, Block) else m) for role, m in parts_by_role(self))
        return {role: module for role, module in found if isinstance(module, _LINEAR)}

    @property
    def norms(self) -> dict[str, nn.Module]:
        """Norms by role; ``input`` is the norm of the network's input, if it has one.

        In the order of the modules, which in bnlab's networks is that of the forward pass, except inside a recurrent
        cell: there all time steps of one norm stand before those of the next.
        """
        found = ((role, getattr(m, "norm", None) if isinstance(m, Block) else m) for role, m in parts_by_role(self))
        return {role: module for role, module in found if module is not None and is_norm(module)}

    @property
    def activations(self) -> dict[str, nn.Module]:
        """Activations by role; a `NoActivation` where the norm has its own."""
        found = {}
        for role, module in parts_by_role(self):
            if isinstance(module, Block) and module.has_activation:
                found[role] = module.activation
            elif isinstance(module, _ACTIVATION):
                found[role] = module
        return found

    @property
    def activation_name(self) -> str:
        """The name of its activation, as in ``model.activation``; ``none`` if it has none."""
        kinds = {type(module) for module in self.activations.values()}
        return next((name for name, kind in ACTIVATIONS.items() if kind in kinds), "none")

    @property
    def remarks(self) -> tuple[str, ...]:
        """Sentences about what cannot be compared or measured here as in other networks."""
        return ()

    @property
    def replaced_activations(self) -> frozenset[str]:
        """Roles without an activation, because the norm has a nonlinearity of its own."""
        return frozenset(role for role, block in self.blocks.items() if block.activation_replaced)

    @property
    def weights(self) -> dict[str, Tensor]:
        """The trained weights of the linear maps by role; a parametrization may compute other weights from them."""
        return {role: trained_weight(linear) for role, linear in self.linears.items()}

    @property
    def streams(self) -> dict[str, nn.Module]:
        """Residual units by role, in the order of the forward pass: modules that declare ``carries_stream``.

        The output of each is its input, carried on, and what the unit adds to it. Empty in a network without shortcuts.
        """
        return {role: module for role, module in self.named_modules() if getattr(module, "carries_stream", False)}

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
        free = {role: _free_scale_of(part) for role, part in parts_by_role(self)}
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


def parts_by_role(network: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield the blocks of a network, and the linear maps, norms and activations outside of them, with their names.

    Args:
        network: The network, or a part of it.
        prefix: The text before each name.
    """
    for name, child in network.named_children():
        if isinstance(child, (Block, *_LINEAR, *_ACTIVATION)) or is_norm(child):
            yield prefix + name, child
        else:
            yield from parts_by_role(child, f"{prefix}{name}.")


def is_norm(module: nn.Module) -> bool:
    """Return whether a module is a norm that `build_norm` built: it has all declarations of one.

    Args:
        module: Any module.
    """
    return all(hasattr(module, declaration) for declaration in DECLARATIONS)


def _free_scale_of(part: nn.Module) -> FreeScale | None:
    if isinstance(part, Block):
        is_behind = part.order.startswith("linear, norm") and hasattr(part, "norm")
        return free_scale(part.linear, cast("nn.Module", part.norm) if is_behind else None)
    return free_scale(part, None) if isinstance(part, _LINEAR) else None


def free_scale(linear: nn.Module, norm: nn.Module | None) -> FreeScale | None:
    """Return which part of a linear map's weights can be multiplied by a positive number without effect.

    Args:
        linear: The linear map.
        norm: The norm that gets its output, and nothing else does; None: there is none.
    """
    if is_parametrized(linear, "weight"):
        first = linear.get_submodule("parametrizations.weight.0")
        return "rows" if getattr(first, "ignores_row_scale", False) else None
    if norm is None:
        return None
    invariances = cast("Norm", norm).invariances
    if linear.bias is not None and "channel_shift" not in invariances:
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


def check_images(name: str, input_shape: tuple[int, ...]) -> None:
    """Refuse data that are no images, for a network with convolutions.

    Args:
        name: The network's name.
        input_shape: The shape of one sample: (C, H, W) is an image.

    Raises:
        ConfigError: The samples have another number of axes.
    """
    if len(input_shape) != 3:
        raise ConfigError(f"model={name} needs images, got rows of {input_shape[0]} numbers. Use model=mlp.")
