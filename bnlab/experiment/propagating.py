"""How the size of activations and gradients changes from layer to layer at the initial weights."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from bnlab.data.opening import open_data
from bnlab.diagnostics.taps import leaving_no_trace
from bnlab.models.catalog import build_network, seed_weights
from bnlab.models.network import Network
from bnlab.schema import RunConfig
from bnlab.schema_models import MLPConfig
from bnlab.training.probing import build_probe

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": F.relu,
    "gelu": F.gelu,
    "silu": F.silu,
}


@dataclass(frozen=True)
class Propagated:
    """A linear map at the initial weights.

    Attributes:
        role: Its role in the network.
        output: The mean square of its outputs, over images, units and positions.
        gradient: The mean square of the gradient of one image's loss by its outputs.
        expected_output: `output` as the recursion has it; None: no recursion is known here.
        expected_gradient: `gradient` as the recursion has it; None as before.
    """

    role: str
    output: float
    gradient: float
    expected_output: float | None = None
    expected_gradient: float | None = None


@dataclass(frozen=True)
class Propagation:
    """All linear maps of a network at the initial weights.

    Attributes:
        layers: In the order of the forward pass.
        source: Where the recursion is from; None: there is none for this network.
    """

    layers: tuple[Propagated, ...]
    source: str | None

    def growth(self, what: str) -> float | None:
        """Return the factor per layer: in the forward direction for outputs, in the backward one for gradients.

        It is the geometric mean between the second hidden layer (the first one sees images, which are another matter)
        and the last one; None with fewer than two.

        Args:
            what: A field of `Propagated`.
        """
        hidden = self.layers[1:-1] if len(self.layers) > 4 else self.layers[:-1]
        values = [getattr(layer, what) for layer in hidden]
        if len(values) < 2 or any(value is None or value <= 0 for value in (values[0], values[-1])):
            return None
        factor = float((values[-1] / values[0]) ** (1 / (len(values) - 1)))
        return 1 / factor if "gradient" in what else factor


def propagate(config: RunConfig) -> Propagation:
    """Send the probe batch through a new network, forward and backward, in training mode and in float64.

    For perceptrons without a norm, and with one right before each activation, outputs and gradients are compared with
    the recursions for wide layers. With z ~ N(0, q), phi the activation, and p the share of units set to 0 by dropout:

        without a norm   q_l = s_l E[phi(z)^2] / (1-p)      g_l = t_(l+1) E[phi'(z)^2] / (1-p) g_(l+1)
                         q = q_(l-1)
        with a norm      q_l = s_l E[phi(z)^2] / (1-p)      g_l = t_(l+1) E[phi'(z)^2] / (1-p) / (v_l + eps) g_(l+1)
                         q = v_(l-1) / (v_(l-1) + eps)

    s_l is the sum of squares of the weights of a unit, t_l that of the weights from a unit, and v_l + eps what the norm
    divides by: v_l is q_l for norms of single samples, and s_l (E[phi(z)^2] / (1-p) - E[phi(z)]^2) for norms over the
    batch, whose images are nearly independent at depth. With relu and a small eps, gradients grow by 1 per layer with
    `layer` and, without dropout, by pi/(pi - 1) = 1.47 with `batch`.

    Args:
        config: The settings of a run; data, model, norm, placement, seed and probe size are used.

    Raises:
        ConfigError: The network cannot be built, or cannot take the data.
        DataError: The data are missing or damaged.

    Source:
        Without a norm: Poole et al. 2016, arXiv:1606.05340, and Schoenholz et al. 2017, arXiv:1611.01232. With
        BatchNorm: Yang et al. 2019, arXiv:1902.08129.
    """
    data = open_data(config.data)
    network = build_network(config, data.input_shape, data.num_classes)
    seed_weights(network, config.model, config.seed)
    network.see(data.train.images)
    network.double()
    probe = build_probe(config, data, network.activation_name)
    outputs = _there_and_back(network, probe.inputs.double(), probe.labels)
    measured = {role: (_mean_square(z), _mean_square(gradient)) for role, (z, gradient) in outputs.items()}
    first = next(iter(outputs.values()))[0]
    expected = _expected(config, network, measured, float(first.var(0, correction=0).mean()))
    layers = tuple(Propagated(role, *values, *expected.get(role, (None, None))) for role, values in measured.items())
    source = "arXiv:1902.08129" if _divides_by(config, network) else "arXiv:1606.05340, arXiv:1611.01232"
    return Propagation(layers, source if expected else None)


def _there_and_back(network: Network, images: Tensor, labels: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the outputs of each linear map, and the gradient of each image's own loss by them."""
    seen: dict[str, Tensor] = {}

    def listen(role: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def keep(_module: nn.Module, _given: Any, output: Tensor) -> None:
            output.retain_grad()
            seen[role] = output

        return keep

    hooks = [module.register_forward_hook(listen(role)) for role, module in network.linears.items()]
    try:
        with leaving_no_trace(network), torch.enable_grad():
            torch.manual_seed(0)
            F.cross_entropy(network.train()(images), labels, reduction="sum").backward()  # type: ignore[no-untyped-call]
    finally:
        for hook in hooks:
            hook.remove()
    network.zero_grad()
    return {role: (z.detach(), torch.zeros_like(z) if z.grad is None else z.grad) for role, z in seen.items()}


def _mean_square(values: Tensor) -> float:
    return float(values.square().mean())


def _divides_by(config: RunConfig, network: Network) -> tuple[str, float] | None:
    """Return what the norm before each activation divides by, ``batch`` or ``sample``, and its eps; None: neither."""
    if config.placement != "before" or config.norm.name == "none":
        return None
    norm = next(iter(network.norms.values()), None)
    kind = {"batch": "batch", "layer": "sample", "rms": "sample"}.get(str(getattr(norm, "formula", None)))
    eps = getattr(norm, "eps", None)
    return (kind, eps) if kind and isinstance(eps, float | int) else None


def _expected(
    config: RunConfig, network: Network, measured: Mapping[str, tuple[float, float]], first_variance: float
) -> dict[str, tuple[float, float]]:
    """Return outputs and gradients as the recursion has them, from the first layer's output and the last's gradient."""
    norm = _divides_by(config, network)
    has_no_norm = config.norm.name == "none" or config.placement == "input"
    if not isinstance(config.model, MLPConfig) or network.replaced_activations or not (norm or has_no_norm):
        return {}
    if network.activation_name not in _ACTIVATIONS:
        return {}
    kept = 1 - config.model.dropout
    roles = list(network.linears)
    weights = {role: weight.detach().double() for role, weight in network.weights.items()}
    into = {role: float(weight.square().sum(1).mean()) for role, weight in weights.items()}
    out_of = {role: float(weight.square().sum(0).mean()) for role, weight in weights.items()}
    outputs = {roles[0]: measured[roles[0]][0]}
    # images are not independent: the first layer's variance is the measured one
    variance = first_variance if norm and norm[0] == "batch" else outputs[roles[0]]
    divisors: dict[str, float] = {}
    slopes: dict[str, float] = {}
    for before, role in itertools.pairwise(roles):
        divisors[before] = variance + norm[1] if norm else 1.0
        second, centered, slopes[before] = _moments(network.activation_name, variance / divisors[before])
        outputs[role] = into[role] * second / kept
        is_centered = norm is not None and norm[0] == "batch"
        variance = into[role] * (second / kept - (second - centered)) if is_centered else outputs[role]
    gradients = {roles[-1]: measured[roles[-1]][1]}
    for role, behind in reversed(list(itertools.pairwise(roles))):
        gradients[role] = out_of[behind] * slopes[role] / kept / divisors[role] * gradients[behind]
    return {role: (outputs[role], gradients[role]) for role in roles}


def _moments(activation: str, variance: float) -> tuple[float, float, float]:
    """Return E[phi(z)^2], Var[phi(z)] and E[phi'(z)^2] for z ~ N(0, variance)."""
    nodes, weights = np.polynomial.legendre.leggauss(100)
    x = np.concatenate([6 * nodes - 6, 6 * nodes + 6])  # [-12, 0] and [0, 12]: relu's kink lies between; beyond, 1e-32
    density = np.tile(6 * weights, 2) * np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
    z = torch.from_numpy(x * np.sqrt(variance)).requires_grad_()
    values = _ACTIVATIONS[activation](z)
    (slopes,) = torch.autograd.grad(values.sum(), z)
    phi: NDArray[np.float64] = values.detach().numpy()
    second = float(density @ phi**2)
    return second, second - float(density @ phi) ** 2, float(density @ slopes.numpy() ** 2)
