"""Networks with the settings of conf/, but for those that a test changes."""

import functools
from collections.abc import Mapping
from typing import Any

import torch
import yaml
from pydantic import TypeAdapter
from torch import Tensor, nn

from bnlab.config.folders import conf_folder
from bnlab.models.catalog import build_model, seed_weights
from bnlab.models.network import Network
from bnlab.norms.catalog import build_norm
from bnlab.schema_models import AnyModelConfig, ModelConfig

SMALL: dict[str, dict[str, Any]] = {
    "vgg": {"width": 4},
    "fast_cnn": {"width": 4},
    "resnet": {"width": 4, "depth": 8},
    "residual_mlp": {"width": 12, "depth": 2},
    "deep_linear": {"width": 12, "depth": 3},
}
IN_GROUPS = ("group", "group_torch", "weight_standardization")
_CONFIG: TypeAdapter[Any] = TypeAdapter(ModelConfig)


@functools.cache
def _defaults(name: str) -> dict[str, Any]:
    settings: dict[str, Any] = yaml.safe_load((conf_folder() / "model" / f"{name}.yaml").read_text())
    return settings


def settings(name: str, **changes: Any) -> AnyModelConfig:
    """Return the settings of a network: those of conf/, some of them changed."""
    config: AnyModelConfig = _CONFIG.validate_python({**_defaults(name), **changes})
    return config


def built(
    name: str,
    norm: str = "batch",
    placement: Any = "before",
    *,
    shape: tuple[int, ...] = (2, 8, 8),
    seed: int = 0,
    num_classes: int = 10,
    options: Mapping[str, Any] | None = None,
    **changes: Any,
) -> Network:
    """Return a small network with the initial weights of a seed."""
    config = settings(name, **{**SMALL.get(name, {}), **changes})
    groups = {"num_groups": 2} if norm in IN_GROUPS else {}
    build = functools.partial(build_norm, norm, **{**groups, **(options or {})})
    model = build_model(config, shape, num_classes, build, placement)
    seed_weights(model, config, seed)
    return model


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def shaken(model: nn.Module, seed: int = 1) -> nn.Module:
    """Return the network in float64, with random numbers in the place of ones and zeros, running statistics too."""
    generator = torch.Generator().manual_seed(seed)
    model.double()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() < 2:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
        for name, buffer in model.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.add_(torch.rand(buffer.shape, generator=generator))
    return model


def num_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def copy_layers(source: Network, target: nn.Module) -> None:
    """Copy weights, biases and running statistics of linear maps and norms, in the order in which both have them."""
    kinds = (nn.Linear, nn.Conv2d, nn.BatchNorm2d, nn.LayerNorm)
    norms = {id(norm) for norm in source.norms.values() if norm.state_dict()}
    ours = [m for m in source.modules() if isinstance(m, (nn.Linear, nn.Conv2d)) or id(m) in norms]
    theirs = [m for m in target.modules() if isinstance(m, kinds)]
    for mine, other in zip(ours, theirs, strict=True):
        have = mine.state_dict()
        for name, value in other.state_dict().items():
            if name == "bias" and name not in have:
                value.zero_()
            elif name != "num_batches_tracked":
                value.copy_(have[name])


def assert_same(ours: nn.Module, theirs: nn.Module, x: Tensor) -> None:
    """Hold outputs in both modes, and the gradient of the input, against another network's, to 1e-10."""
    for training in (False, True):
        inputs = [x.clone().requires_grad_() for _ in range(2)]
        y, expected = (model.train(training)(given) for model, given in zip((ours, theirs), inputs, strict=True))
        torch.testing.assert_close(y, expected, rtol=0, atol=1e-10)
        y.square().sum().backward()
        expected.square().sum().backward()
        torch.testing.assert_close(inputs[0].grad, inputs[1].grad, rtol=1e-10, atol=1e-9)
