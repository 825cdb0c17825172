"""Initial weights, each from a stream of its own, keyed by seed and role: arms share them wherever shapes allow."""

import math
from collections.abc import Collection

import torch
from torch import nn

from bnlab.models.network import trained_weight
from bnlab.schema_types import InitScheme
from bnlab.seeding import generator_for

_SCHEME_OF = {"none": "lecun", "sigmoid": "lecun", "tanh": "lecun", "relu": "he", "gelu": "he", "silu": "he"}


def initialize_weights(
    linears: dict[str, nn.Module],
    scheme: InitScheme,
    std: float | None,
    activation: str,
    seed: int,
    small_roles: Collection[str] = ("output",),
) -> None:
    """Draw every linear map's weights from N(0, std^2), and set every bias to 0.

    A weight with a parametrization gets the same draws, as its trained values.
    The output layer has no activation behind it, so that ``auto`` and ``he`` use lecun's std there, as for all other
    small roles.

    Args:
        linears: The linear maps of the network by role.
        scheme: ``he`` sqrt(2/fan_in), ``lecun`` sqrt(1/fan_in), ``glorot`` sqrt(2/(fan_in + fan_out)), or ``auto``:
            he for relu, gelu and silu, lecun for sigmoid, tanh and none.
        std: The standard deviation of all weights, above 0; None: the scheme decides.
        activation: The activation after each linear map except the last.
        seed: The seed of the run; each role has its own random stream.
        small_roles: Roles for which ``auto`` and ``he`` draw with lecun's std.

    Source:
        LeCun et al. 1998, "Efficient BackProp". Glorot & Bengio 2010. He et al. 2015 (arXiv 1502.01852).
    """
    for role, linear in linears.items():
        chosen = _SCHEME_OF[activation] if scheme == "auto" else scheme
        if role in small_roles and chosen == "he":
            chosen = "lecun"
        weight, bias = trained_weight(linear), linear.bias
        with torch.no_grad():
            drawn = torch.empty(weight.shape, dtype=weight.dtype)
            drawn.normal_(0.0, std or _std(drawn, chosen), generator=generator_for(seed, "init", role))
            weight.copy_(drawn)
            if isinstance(bias, torch.Tensor):
                bias.zero_()


def _std(weight: torch.Tensor, scheme: str) -> float:
    fan_in, fan_out = nn.init._calculate_fan_in_and_fan_out(weight)
    return math.sqrt({"he": 2 / fan_in, "lecun": 1 / fan_in, "glorot": 2 / (fan_in + fan_out)}[scheme])
