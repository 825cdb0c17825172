"""Builds networks by their names."""

import functools
from collections.abc import Callable
from typing import Any, cast

import torch

from bnlab.errors import ConfigError
from bnlab.models.blocks import BlockBuilder, BuildNorm, Placement
from bnlab.models.foreign import ForeignNetwork
from bnlab.models.initialization import initialize_weights
from bnlab.models.network import Network
from bnlab.models.own import build_own_network
from bnlab.norms.catalog import build_norm as build_norm_by_name
from bnlab.plugins import load_class
from bnlab.schema import RunConfig
from bnlab.schema_models import AnyModelConfig, OwnModelConfig

BuildNetwork = Callable[[Any, tuple[int, ...], int, BlockBuilder], Network]
"""(the model's own config, input shape, number of classes, its blocks) -> network."""

MODELS = {
    "mlp": "bnlab.models.plain:MLP",
    "cnn": "bnlab.models.plain:CNN",
    "fast_cnn": "bnlab.models.fast_cnn:FastCNN",
    "vgg": "bnlab.models.plain:VGG",
    "resnet": "bnlab.models.resnet:ResNet",
    "residual_mlp": "bnlab.models.residual_mlp:ResidualMLP",
    "deep_linear": "bnlab.models.plain:DeepLinear",
    "rnn": "bnlab.models.recurrent:RNN",
    "lstm": "bnlab.models.recurrent:LSTM",
    "vit": "bnlab.models.transformer:ViT",
}
"""Name -> class, as text: only the network that is built is imported. The one place where a network is added."""


def find_network(name: str) -> BuildNetwork:
    """Return the class of a network, which builds it.

    Args:
        name: A name of the catalog.
    """
    return cast("BuildNetwork", load_class(MODELS[name], Network, f"model={name}"))


def build_model(
    config: AnyModelConfig | OwnModelConfig,
    input_shape: tuple[int, ...],
    num_classes: int,
    build_norm: BuildNorm,
    placement: Placement,
) -> Network:
    """Build a network on torch's current default device; its weights are not yet drawn from a seed.

    Args:
        config: The kind of network, its depth, width and activation.
        input_shape: The shape of one image: (C, H, W) or (D,).
        num_classes: The number of logits per image.
        build_norm: A function from the number of channels to a norm; it is the arm.
        placement: ``before`` or ``after`` each activation, or ``input`` for one norm of the input.

    Raises:
        ConfigError: The input does not suit the model, or the norm does not suit a layer.
    """
    with torch.random.fork_rng(
        devices=[]
    ):  # torch's layers draw weights when built; the caller's random state must stay
        try:
            if isinstance(config, OwnModelConfig):
                return build_own_network(config, input_shape, num_classes, BlockBuilder(build_norm, placement))
            blocks = BlockBuilder(build_norm, placement, config.activation, getattr(config, "dropout", 0.0))
            return find_network(config.name)(config, input_shape, num_classes, blocks)
        except (RuntimeError, MemoryError, OverflowError) as error:  # torch's, for sizes that it cannot count or hold
            said = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ConfigError(f"{sizes_of(config)} cannot be built: {said}. Try a smaller one.") from error


def build_network(config: RunConfig, input_shape: tuple[int, ...], num_classes: int) -> Network:
    """Build the network of a run, as `build_model` does, with the norm that its config names.

    Args:
        config: The settings of the run; model, norm and placement are used.
        input_shape: The shape of one image: (C, H, W) or (D,).
        num_classes: The number of logits per image.
    """
    build_norm = functools.partial(build_norm_by_name, config.norm.name, **config.norm.options)
    return build_model(config.model, input_shape, num_classes, build_norm, config.placement)


def sizes_of(config: AnyModelConfig | OwnModelConfig) -> str:
    """Return the settings that decide the size of a network, as they are typed."""
    if isinstance(config, OwnModelConfig):
        return " ".join([f"model={config.name}", *(f"model.{key}={value}" for key, value in config.options.items())])
    return f"model={config.name} model.depth={config.depth} model.width={config.width}"


def seed_weights(model: Network, config: AnyModelConfig | OwnModelConfig, seed: int) -> None:
    """Give a network the initial weights of a seed."""
    if isinstance(config, OwnModelConfig):
        cast("ForeignNetwork", model).draw(seed)
        return
    scheme, std, activation = config.init, config.init_std, config.activation
    initialize_weights(model.linears, scheme, std, activation, seed, model.small_roles)
    with torch.no_grad():
        model.finish_initialization()
