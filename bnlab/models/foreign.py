"""Networks that are not bnlab's: any module, with its layers by role."""

import contextlib
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from bnlab.errors import ConfigError
from bnlab.models.blocks import Block
from bnlab.models.foreign_parts import (
    NAME_OF,
    InTurn,
    SoleUses,
    are_probabilities,
    is_activation,
    is_layer,
    normalizes,
    work_out_of_place,
)
from bnlab.models.network import Network, free_scale, is_norm
from bnlab.models.replaced_norms import LINEAR_MAPS, OnPositions
from bnlab.norms.norm import FreeScale
from bnlab.plugins import COLLECTIONS
from bnlab.seeding import seeded_alike, stream_seed


class ForeignNetwork(Network):
    """A network of somebody else's, whose layers have the names that it gives them.

    A forward pass over two empty images finds the layers that are used, and their order. The last nn.Linear is
    ``output``. Activations that work in place are switched to work out of place, so that diagnostics see their inputs.
    An activation without parameters that is used several times becomes a module for each use, ``relu.1``, ``relu.2``.

    Args:
        build: Builds the network, with the norms of the arm, on torch's current default device. It is called again
            for the initial weights of each seed.
        place: The value of ``model=``, for messages.
        input_shape: The shape of one image: (C, H, W) or (D,).
        num_classes: The number of logits per image.
        input_norm: The norm of the network's input; None: the input is not normalized.
        num_colors: The number of color channels to which a single one is repeated; None: the input stays as it is.

    Raises:
        ConfigError: It cannot process such images, returns no logits, or has no linear map.
    """

    is_foreign = True

    def __init__(
        self,
        build: Callable[[], nn.Module],
        place: str,
        input_shape: tuple[int, ...],
        num_classes: int,
        input_norm: nn.Module | None = None,
        num_colors: int | None = None,
    ) -> None:
        nn.Module.__init__(self)
        self.place = place
        self.num_colors = num_colors
        self._build = build
        self._in_turn: tuple[str, ...] = ()
        if input_norm is not None:
            self.input = input_norm
        self.net = build()
        work_out_of_place(self.net)
        calls = self._calls(input_shape, num_classes)
        in_turn: dict[nn.Module, InTurn] = {}  # one for all places at which an activation stands
        for name, module in list(self.net.named_modules(remove_duplicate=False)):
            if is_activation(module) and calls[module] > 1 and not any(True for _ in module.parameters()):
                parent, _, last = name.rpartition(".")
                shared = in_turn.setdefault(module, InTurn(module, calls[module]))
                self.net.get_submodule(parent)._modules[last] = shared
        self._in_turn = tuple(name for name, module in self.named_modules() if isinstance(module, InTurn))
        pairs = SoleUses()
        calls = self._calls(input_shape, num_classes, pairs)
        self.channels_last = any(isinstance(module, nn.Conv2d) for module in calls)  # type: ignore[misc]
        self._layers = self._named(calls)
        self._often = tuple(
            name for name, module in self._parts().items() if calls[module] > 1 and not _holds_parts(module)
        )
        roles = {module: role for role, module in self._parts().items()}
        self._norm_behind = {
            roles[linear]: roles[norm]
            for linear, norm in pairs.found.items()
            if calls[linear] == calls[norm] == 1 and {linear, norm} <= roles.keys()
        }

    def _calls(
        self, input_shape: tuple[int, ...], num_classes: int, pairs: "SoleUses | None" = None
    ) -> "Counter[nn.Module]":
        """Return how often each module is called in a forward pass, in the order of the first calls.

        Args:
            input_shape: The shape of one image.
            num_classes: The number of logits per image.
            pairs: Finds which norm uses the output of which linear map; None: that is not asked for.

        Raises:
            ConfigError: The pass fails, or its result is no logits.
        """
        calls: Counter[nn.Module] = Counter()

        def count(module: nn.Module, _: Any) -> None:
            calls[module] += 1
            if isinstance(module, nn.MultiheadAttention):  # it uses the weights of its part, and does not call it
                calls[module.out_proj] += 1

        hooks = [module.register_forward_pre_hook(count) for module in self.modules()]
        if pairs is not None:
            hooks += [module.register_forward_pre_hook(pairs.enter) for module in self.modules() if normalizes(module)]
            hooks += [module.register_forward_hook(pairs.leave) for module in self.modules() if pairs.wants(module)]
        like = next(self.net.parameters(), torch.empty(0))
        modes = {module: module.training for module in self.modules()}
        images = torch.zeros(2, *input_shape, device=like.device, dtype=like.dtype)
        try:
            with torch.no_grad(), pairs or contextlib.nullcontext():
                logits = self.eval()(images)
        except ConfigError:
            raise
        except Exception as error:
            said = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ConfigError(
                f"model={self.place} cannot take a batch of shape {tuple(images.shape)}: {said}"
            ) from error
        finally:
            for hook in hooks:
                hook.remove()
            for module, mode in modes.items():
                module.training = mode
        if tuple(logits.shape) != (2, num_classes):
            raise ConfigError(
                f"model={self.place} must return a tensor of logits, (N, {num_classes}) for this data, got "
                f"{tuple(logits.shape)} for {tuple(images.shape)}. Let its constructor take num_classes."
            )
        self._gives_probabilities = are_probabilities(logits)
        return calls

    def _named(self, calls: Mapping[nn.Module, int]) -> dict[str, str]:
        """Return role -> name of each layer that is used, in the order of the forward pass.

        Raises:
            ConfigError: There is no linear map.
        """
        names = {module: name for name, module in self.named_modules()}
        inside = {part for module in calls if is_norm(module) for part in module.modules() if part is not module}
        used = [module for module in calls if is_layer(module) and module not in inside]
        maps = [module for module in used if isinstance(module, LINEAR_MAPS)]
        if not maps:
            raise ConfigError(f"model={self.place} has no nn.Linear and no convolution, so that nothing is its output.")
        output = next((module for module in reversed(maps) if isinstance(module, nn.Linear)), maps[-1])
        layers: dict[str, str] = {}
        for module in used:
            role = (
                names[module].removeprefix("net.").removesuffix(".norm" if self._is_on_positions(names[module]) else "")
            )
            if module is output:
                role = "output"
            elif role == "output" or role in layers:
                role = names[module]
            layers[role] = names[module]
        return layers

    def _is_on_positions(self, name: str) -> bool:
        return isinstance(self.get_submodule(name.rpartition(".")[0]), OnPositions)

    def _parts(self) -> dict[str, nn.Module]:
        return {role: self.get_submodule(name) for role, name in self._layers.items()}

    def draw(self, seed: int) -> None:
        """Give the network the initial weights of a seed: what its constructor draws.

        Norms are replaced after that, and draw from another stream: all arms of a seed share the other weights.

        Args:
            seed: The seed of the run.
        """
        like = next(self.net.parameters(), torch.empty(0))
        with seeded_alike(stream_seed(seed, "init")), torch.device(like.device):
            fresh = self._build()
        ours = dict(self.net.named_parameters(remove_duplicate=False)) | dict(self.net.named_buffers())
        drawn = dict(fresh.named_parameters(remove_duplicate=False)) | dict(fresh.named_buffers())
        with torch.no_grad():
            for name, value in drawn.items():
                ours[name].copy_(value)

    @property
    def output(self) -> nn.Module:  # type: ignore[override]
        """The last linear map, which gives the logits."""
        return self.get_submodule(self._layers["output"])

    @property
    def blocks(self) -> dict[str, Block]:
        """Nothing: which layers belong together is not known."""
        return {}

    @property
    def linears(self) -> dict[str, nn.Module]:
        """Linear maps by role, in the order of the forward pass."""
        found = {role: module for role, module in self._parts().items() if isinstance(module, LINEAR_MAPS)}
        return {**{role: module for role, module in found.items() if role != "output"}, "output": self.output}

    @property
    def norms(self) -> dict[str, nn.Module]:
        """Norms by role; ``input`` is the norm of the network's input, if it has one."""
        return {role: module for role, module in self._parts().items() if is_norm(module)}

    @property
    def activations(self) -> dict[str, nn.Module]:
        """Activations by role, without those that a norm has of its own."""
        return {role: module for role, module in self._parts().items() if is_activation(module)}

    @property
    def activation_name(self) -> str:
        """The name of its activation, if all are of one kind that bnlab knows; else ``several`` or ``other``."""
        kinds = {type(module) for module in self.activations.values()}
        if len(kinds) > 1:
            return "several"
        return next((NAME_OF.get(kind, "other") for kind in kinds), "none")

    @property
    def scale_invariant_weights(self) -> dict[str, FreeScale]:
        """By role, which part of the weights can be multiplied by a positive number without effect, as in `Network`.

        Counted are linear maps that are called once, and whose output goes to one norm and nowhere else.
        """
        parts = self._parts()
        free: dict[str, FreeScale | None] = {}
        for role, linear in self.linears.items():
            norm = parts.get(self._norm_behind.get(role, ""))
            free[role] = free_scale(linear, norm)
        return {role: scale for role, scale in free.items() if scale is not None}

    @property
    def remarks(self) -> tuple[str, ...]:
        """Sentences about what cannot be compared or measured here as in bnlab's own networks."""
        said = []
        if self._gives_probabilities:
            said.append(
                f"model={self.place} returns probabilities, and the loss takes logits: its gradients become small. "
                "Leave out the softmax at its end."
            )
        if not self.norms:
            cure = " Let its constructor take build_norm, and call build_norm(num_channels) where a norm should stand."
            is_fixed = self.place.partition(":")[0] in COLLECTIONS
            said.append(
                f"model={self.place} has no norm that could be replaced: all arms are the same network."
                f"{'' if is_fixed else cure}"
            )
        if not self.activations:
            said.append(
                f"model={self.place} calls its activations as functions, or has none: diagnostics of activations "
                "measure nothing. Modules such as nn.ReLU() would be measured."
            )
        if self._often:
            some = ", ".join(self._often[:3]) + (f" and {len(self._often) - 3} more" if self._often[3:] else "")
            said.append(
                f"model={self.place} calls {some} several times in one pass: diagnostics take all calls together "
                "there, as further samples, or the first call alone where their shapes differ."
            )
        return tuple(said)

    def features(self, x: Tensor) -> Tensor:
        """Return the input of the output layer."""
        seen: list[Tensor] = []
        hook = self.output.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
        try:
            self(x)
        finally:
            hook.remove()
        return seen[-1]

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, (N, classes).

        Raises:
            ConfigError: The network returns something else than a tensor.
        """
        if hasattr(self, "input"):
            x = self.input(x)
        if self.num_colors is not None:
            x = x.expand(-1, self.num_colors, *x.shape[2:])
        for name in self._in_turn:
            self.get_submodule(name).begin()  # type: ignore[operator]
        logits = self.net(x)
        if not isinstance(logits, Tensor):
            mode = "training" if self.training else "eval"
            raise ConfigError(
                f"model={self.place} must return a tensor of logits, got {type(logits).__name__} in {mode} mode. "
                "Switch off what it returns besides (model.aux_logits=false), or wrap it in a class of yours."
            )
        return logits


def _holds_parts(module: nn.Module) -> bool:
    return any(True for _ in module.children())
