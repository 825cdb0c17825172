"""The parts of a network that is not bnlab's: what they are, and what a forward pass shows of their use."""

import copy
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from bnlab.models.blocks import ACTIVATIONS
from bnlab.models.network import is_norm
from bnlab.models.replaced_norms import LINEAR_MAPS, OnPositions

NAME_OF = {kind: name for name, kind in ACTIVATIONS.items()}
"""Class of an activation -> its name, as in ``model.activation``."""

OTHER_ACTIVATIONS = (
    *(nn.LeakyReLU, nn.ReLU6, nn.ELU, nn.CELU, nn.SELU, nn.Mish, nn.Softplus, nn.Softsign),
    *(nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.LogSigmoid, nn.PReLU),
)
"""Activations of torch that no network of bnlab has: diagnostics look at their inputs and outputs."""

ALL_ACTIVATIONS = (*ACTIVATIONS.values(), *OTHER_ACTIVATIONS)


class InTurn(nn.Module):
    """One module for each use of an activation that is used at several places of a network.

    Args:
        activation: The activation, without parameters.
        num_uses: How often it is called in one forward pass.
    """

    def __init__(self, activation: nn.Module, num_uses: int) -> None:
        super().__init__()
        for use in range(num_uses):
            self.add_module(str(use + 1), activation if use == 0 else copy.deepcopy(activation))
        self.next_use = 0

    def begin(self) -> None:
        """Start with the first use, at the beginning of a forward pass."""
        self.next_use = 0

    def forward(self, x: Tensor) -> Tensor:
        """Apply the activation of this use."""
        use = self.next_use
        self.next_use = (use + 1) % len(self._modules)
        return self.get_submodule(str(use + 1))(x)  # type: ignore[no-any-return]


class SoleUses(TorchFunctionMode):
    """Finds linear maps whose output is used by one norm and by nothing else, in a forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self._source: dict[int, nn.Module] = {}
        self._uses: Counter[nn.Module] = Counter()
        self._behind: dict[nn.Module, nn.Module] = {}
        self._kept: list[Tensor] = []  # so that Python gives no id a second time
        self._inside = 0

    @property
    def found(self) -> dict[nn.Module, nn.Module]:
        """The linear maps, and the norm that uses the output of each."""
        return {linear: norm for linear, norm in self._behind.items() if not self._uses[linear]}

    @staticmethod
    def wants(module: nn.Module) -> bool:
        """Return whether to call `leave` behind a module."""
        return normalizes(module) or isinstance(module, LINEAR_MAPS)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Count a use of an output by a function outside of norms."""
        result = func(*args, **(kwargs or {}))
        if not self._inside and isinstance(result, Tensor | tuple) and not isinstance(result, torch.Size):
            for value in (*args, *(kwargs or {}).values()):
                for one in value if isinstance(value, tuple | list) else (value,):
                    if id(one) in self._source:
                        self._uses[self._source[id(one)]] += 1
        return result

    def enter(self, norm: nn.Module, args: tuple[Any, ...]) -> None:
        """Take note of the input of a norm."""
        self._inside += 1
        if args and id(args[0]) in self._source:
            linear = self._source[id(args[0])]
            self._uses[linear] += linear in self._behind  # a second norm
            self._behind[linear] = norm.norm if isinstance(norm, OnPositions) else norm

    def leave(self, module: nn.Module, _: Any, output: Any) -> None:
        """Take note of the output of a linear map, or of the end of a norm."""
        if normalizes(module):
            self._inside -= 1
        elif isinstance(output, Tensor):
            self._source[id(output)] = module
            self._kept.append(output)


def is_activation(module: nn.Module) -> bool:
    """Return whether a module is one of torch's activations that work on each value by itself."""
    return isinstance(module, ALL_ACTIVATIONS)


def is_layer(module: nn.Module) -> bool:
    """Return whether a module is a linear map, a norm of an arm, or an activation."""
    return isinstance(module, LINEAR_MAPS) or is_activation(module) or is_norm(module)


def work_out_of_place(net: nn.Module) -> None:
    """Let all layers of a network that would overwrite their input return a new tensor."""
    for module in net.modules():
        if getattr(module, "inplace", False) is True:
            module.inplace = False  # type: ignore[assignment]


def normalizes(module: nn.Module) -> bool:
    """Return whether a module is a norm of an arm, or one that applies it to positions."""
    return is_norm(module) or isinstance(module, OnPositions)


def are_probabilities(outputs: Tensor) -> bool:
    """Return whether each row is positive and sums to 1, as behind a softmax; on the meta device nobody can tell.

    Args:
        outputs: What a network returned, (N, classes).
    """
    if outputs.is_meta:
        return False
    return bool((outputs >= 0).all()) and torch.allclose(outputs.sum(1), torch.ones_like(outputs[:, 0]))
