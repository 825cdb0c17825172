"""Muon for the matrices of hidden layers, and AdamW for all other parameters: two optimizers as one."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bnlab.errors import ConfigError
from bnlab.schema import AdamConfig, MuonConfig
from bnlab.training.optim import decayed_and_undecayed, optimizer_over, parameter_group, without_compiler


class Muon(torch.optim.Optimizer):
    """Muon for weights of two or more axes: momentum, made nearly orthogonal.

    The rule of torch.optim.Muon, which rounds to bfloat16 inside: there a CPU without instructions for that takes many
    times as long, the result depends on the kind of CPU, and runs trained together cannot be compared with runs alone
    in float64. Here all is computed in the precision of the weights. A kernel (O, I, 3, 3) is a matrix (O, 9 I), as
    Jordan et al. have it; torch's class refuses it.

    Args:
        weights: The weights that are trained.
        config: Muon's rate, decay, momentum and steps.

    Source:
        Jordan et al. 2024, https://kellerjordan.github.io/posts/muon.
    """

    def __init__(self, weights: Sequence[Tensor], config: MuonConfig) -> None:
        self._nesterov, self._ns_steps, self._adjust_lr = config.nesterov, config.ns_steps, config.adjust_lr
        numbers = {"lr": config.lr, "weight_decay": config.weight_decay, "momentum": config.momentum}
        super().__init__(weights, numbers)

    @torch.no_grad()
    def step(self, _closure: None = None) -> None:  # type: ignore[override]
        """Update the weights in place."""
        for group in self.param_groups:
            for weight in group["params"]:
                if "momentum_buffer" not in self.state[weight]:
                    self.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
                mixed = mixed_momentum(
                    self.state[weight]["momentum_buffer"], weight.grad, group["momentum"], self._nesterov
                )
                update = orthogonal(mixed.flatten(1), self._ns_steps).view(weight.shape)
                rate = group["lr"] * rate_factor(weight.shape, self._adjust_lr)
                weight.mul_(1 - group["lr"] * group["weight_decay"]).sub_(rate * update)


def mixed_momentum(buffer: Tensor, gradient: Tensor, momentum: float | Tensor, nesterov: bool) -> Tensor:
    """Update an averaged gradient in place, and return the direction of the step before it is made orthogonal.

        m <- momentum m + (1 - momentum) g,    momentum m + (1 - momentum) g with nesterov, else m

    Args:
        buffer: m, the average of gradients so far; it is changed.
        gradient: g, in the same shape.
        momentum: The share of the old average that is kept.
        nesterov: Whether the new gradient counts once more.
    """
    fresh = gradient * (1 - momentum)
    buffer.mul_(momentum).add_(fresh)
    return buffer * momentum + fresh if nesterov else buffer


_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Jordan et al.: the steepest odd polynomial at 0 that brings singular values in (0, 1] into [0.7, 1.2] in 5 steps."""

_NS_EPS = 1e-7
"""The smallest norm that a matrix is divided by, as in torch.optim.Muon: a gradient of 0 gives no step."""


def orthogonal(matrix: Tensor, num_steps: int) -> Tensor:
    """Return matrices whose singular vectors are those given, and whose singular values are near 1.

        X <- G / |G|,    then num_steps times    X <- a X + (b A + c A A) X,    A = X X^T

    Each step applies a x + b x^3 + c x^5 to every singular value.

    Args:
        matrix: G, (..., rows, columns).
        num_steps: Newton-Schulz steps; with 5, singular values end between 0.7 and 1.2.

    Source:
        "NewtonSchulz5" of Jordan et al. 2024, https://kellerjordan.github.io/posts/muon
    """
    a, b, c = _COEFFICIENTS
    is_tall = matrix.shape[-2] > matrix.shape[-1]
    x: Tensor = matrix.mT if is_tall else matrix
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=_NS_EPS)
    for _ in range(num_steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x.mT if is_tall else x


def rate_factor(shape: Sequence[int], adjust_lr: str) -> float:
    """Return the factor on the learning rate that makes it fit matrices of any shape.

    Args:
        shape: The shape of the weight; its axes after the first count as columns.
        adjust_lr: The rule, as in ``optim.adjust_lr``.
    """
    rows, columns = shape[0], math.prod(shape[1:])
    if adjust_lr == "match_rms_adamw":
        return 0.2 * math.sqrt(max(rows, columns))
    return math.sqrt(max(1.0, rows / columns))


class MuonAndAdamW:
    """Muon for some weights and AdamW for all other parameters, with the methods of one torch optimizer.

    Args:
        model: The network whose parameters are trained.
        norms: The norms of the network by role.
        weights: The weights of its linear maps by role, in the order of the forward pass.
        config: The numbers of both.
    """

    def __init__(
        self, model: nn.Module, norms: dict[str, nn.Module], weights: Mapping[str, Tensor], config: MuonConfig
    ) -> None:
        names = matrices_decayed_and_undecayed(model, norms, weights, config)
        matrices, decayed, undecayed = ([model.get_parameter(name) for name in part] for part in names)
        self._muon = without_compiler(Muon)(matrices, config)
        rest = config_of_rest(config)
        groups = [parameter_group(decayed, rest), {**parameter_group(undecayed, rest), "weight_decay": 0.0}]
        self._adamw = optimizer_over([group for group in groups if group["params"]], rest)
        for group in self._adamw.param_groups:
            group["lr_share"] = config.adamw_lr_share

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of both; AdamW's have ``lr_share``, their rate as a share of the run's."""
        return [*self._muon.param_groups, *self._adamw.param_groups]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        self._muon.zero_grad()
        self._adamw.zero_grad()

    def step(self) -> None:
        """Update all parameters."""
        self._muon.step()
        self._adamw.step()

    def state_dict(self) -> dict[str, Any]:
        """Return what both optimizers need to resume."""
        return {"muon": self._muon.state_dict(), "adamw": self._adamw.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Replace the state of both optimizers by one that `state_dict` returned."""
        self._muon.load_state_dict(state["muon"])
        self._adamw.load_state_dict(state["adamw"])


def weights_for_muon(weights: Mapping[str, Tensor], config: MuonConfig) -> list[Tensor]:
    """Return the weights that are Muon's: all between the first and the last, or before the last with ``first_layer``.

    It is made for layers whose inputs and outputs are both features of the network; Jordan et al. leave the others to
    AdamW, biases and scales too.

    Args:
        weights: The weights of a network's linear maps by role, in the order of the forward pass.
        config: Muon's settings; ``first_layer`` says whether the first layer is Muon's.

    Raises:
        ConfigError: There are none.
    """
    chosen = list(weights.values())[0 if config.first_layer else 1 : -1]
    if not chosen:
        cure = "Try optim=adamw." if config.first_layer else "Try optim.first_layer=true, or optim=adamw."
        raise ConfigError(
            "optim=muon trains the layers between the first and the output, and the network has only "
            f"{', '.join(weights)}. {cure}"
        )
    return chosen


def matrices_decayed_and_undecayed(
    model: nn.Module, norms: dict[str, nn.Module], weights: Mapping[str, Tensor], config: MuonConfig
) -> tuple[list[str], list[str], list[str]]:
    """Return the names of the parameters that are Muon's, and of AdamW's those with weight decay and those without.

    Args:
        model: The network whose parameters are sorted.
        norms: The norms of the network by role.
        weights: The weights of its linear maps by role, in the order of the forward pass.
        config: Muon's settings; ``first_layer`` says whether the first layer is Muon's.
    """
    known = {id(weight) for weight in weights_for_muon(weights, config)}
    decayed, undecayed = decayed_and_undecayed(model, norms, config)
    matrices = [name for name in decayed if id(model.get_parameter(name)) in known]
    return matrices, [name for name in decayed if name not in set(matrices)], undecayed


def config_of_rest(config: MuonConfig) -> AdamConfig:
    """Return AdamW's part of a config; it clips nothing, for the norm is that of the whole gradient."""
    return AdamConfig(
        name="adamw",
        lr=config.lr * config.adamw_lr_share,
        beta1=config.beta1,
        beta2=config.beta2,
        eps=config.eps,
        weight_decay=config.weight_decay,
        decay_norm_and_bias=config.decay_norm_and_bias,
        clip_norm=None,
    )
