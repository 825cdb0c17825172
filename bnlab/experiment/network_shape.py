"""The layers of a network: shapes, parameters, and floating-point operations."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bnlab.data.opening import open_data
from bnlab.diagnostics.taps import leaving_no_trace
from bnlab.models.catalog import build_network
from bnlab.models.network import Network
from bnlab.models.step_norms import NormsOfSteps
from bnlab.schema import RunConfig


@dataclass(frozen=True)
class LayerShape:
    """A linear map, a norm or an activation.

    Attributes:
        role: Its role; the parts of a block share one.
        kind: The name of its class.
        output: The shape of its output for one example; of the last call, if it is called several times.
        num_parameters: The number of its trained values; those that an earlier layer has too count there only.
        flop: Floating-point operations of its matrix products for one example, of all its calls for all tokens or time
            steps; a multiply-add counts as two.
    """

    role: str
    kind: str
    output: tuple[int, ...]
    num_parameters: int
    flop: int


@dataclass(frozen=True)
class NetworkShape:
    """A whole network.

    Attributes:
        layers: Its layers in the order of the forward pass.
        num_parameters: The number of all trained values, those outside of layers too.
        flop: Floating-point operations of all matrix products for one example, those of attention too.
        num_norms: The number of norm layers that do something; those of the time steps of one place count as one.
    """

    layers: tuple[LayerShape, ...]
    num_parameters: int
    flop: int
    num_norms: int


def shape_of(network: Network, input_shape: tuple[int, ...]) -> NetworkShape:
    """Return the layers of a network, after one pass over two images in eval mode, all of whose values are 1.

    Args:
        network: The network; it is left as it was.
        input_shape: The shape of one image: (C, H, W) or (D,).
    """
    named = _by_role(network)
    outputs: dict[nn.Module, tuple[int, ...]] = {}
    flop: dict[nn.Module, int] = {}

    def listen(module: nn.Module, given: Any, output: Tensor) -> None:
        outputs.pop(module, None)  # the place in the order is that of the last call
        outputs[module] = tuple(output.shape[1:])
        flop[module] = flop.get(module, 0) + _flop(module, given[0], output)

    hooks = [module.register_forward_hook(listen) for module in named]
    like = next(network.parameters())
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # it hides the matrix products of attention from the counter
    try:
        with leaving_no_trace(network), torch.no_grad(), FlopCounterMode(display=False) as counter:
            # ones, not zeros: a recurrent network may take zeros for padding, and skip them
            network.eval()(torch.ones(2, *input_shape, device=like.device, dtype=like.dtype))
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for hook in hooks:
            hook.remove()
    counted: set[nn.Parameter] = set()
    per_layer = []
    for module, output in outputs.items():
        count = sum(parameter.numel() for parameter in set(module.parameters()) - counted)
        counted.update(module.parameters())
        per_layer.append(LayerShape(named[module], type(module).__name__, output, count, flop[module] // 2))
    num_parameters = sum(parameter.numel() for parameter in network.parameters())
    return NetworkShape(tuple(per_layer), num_parameters, counter.get_total_flops() // 2, _num_norms(network))


def build_and_measure(config: RunConfig) -> NetworkShape:
    """Return the shape of the network of a run, for the data of the run.

    Args:
        config: The settings of a run; data, model, norm and placement are used.

    Raises:
        ConfigError: The network cannot be built, or cannot take the data.
        DataError: The data are missing or damaged.
    """
    data = open_data(config.data)
    return shape_of(build_network(config, data.input_shape, data.num_classes), data.input_shape)


def _by_role(network: Network) -> dict[nn.Module, str]:
    layers = {**{m: role for role, m in network.linears.items()}, **{m: role for role, m in network.norms.items()}}
    return {**layers, **{module: role for role, module in network.activations.items()}}


def _num_norms(network: Network) -> int:
    of_steps = [module for module in network.modules() if isinstance(module, NormsOfSteps)]
    place_of = {norm: place for place in of_steps for norm in place.values()}
    norms = [norm for norm in network.norms.values() if type(norm).__name__ != "NoNorm"]
    return len({place_of.get(norm, norm) for norm in norms})


def _flop(module: nn.Module, given: Tensor, output: Tensor) -> int:
    """Return the operations of one call, for all examples of the batch."""
    if isinstance(module, nn.Linear):
        return 2 * output.numel() // output.shape[-1] * module.weight.numel()
    if isinstance(module, nn.modules.conv._ConvNd):
        places = given if module.transposed else output
        return 2 * places.numel() // module.weight.shape[0] * module.weight.numel()
    return 0
