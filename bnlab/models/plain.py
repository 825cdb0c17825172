"""Plain networks: a multi-layer perceptron and a convolutional net without shortcuts."""

import itertools
import math
from collections import OrderedDict
from typing import ClassVar

from torch import Tensor, nn

from bnlab.errors import ConfigError
from bnlab.models.blocks import BlockBuilder
from bnlab.models.network import Network, pooled
from bnlab.schema_models import CNNConfig, MLPConfig


class MLP(Network):
    """A multi-layer perceptron: ``hidden1`` ... ``hidden<depth>``, ``output``.

    Shape:
        (N, C, H, W) or (N, D) -> (N, classes). An input norm sees (N, features), one channel per feature.
    """

    def __init__(self, config: MLPConfig, input_shape: tuple[int, ...], num_classes: int, blocks: BlockBuilder) -> None:
        widths = [math.prod(input_shape)] + [config.width] * config.depth
        hidden = [blocks.dense(n_in, n_out) for n_in, n_out in itertools.pairwise(widths)]
        body = OrderedDict[str, nn.Module]((f"hidden{i}", block) for i, block in enumerate(hidden, 1))
        super().__init__(body, nn.Linear(widths[-1], num_classes), blocks.input_norm(widths[0]))

    def features(self, x: Tensor) -> Tensor:
        """Return what the output layer sees, (N, width)."""
        return super().features(x.flatten(1))


class CNN(Network):
    """A plain convolutional net: ``stage1.conv1`` ... , then the mean over the image, then ``output``.

    Each stage convolves at one size of the image, then halves it; the next has twice as many channels. It takes
    any image: what is down to one pixel is not halved any more.

    Shape:
        (N, C, H, W) -> (N, classes).

    Source:
        The layout of VGG: Simonyan & Zisserman 2014, arXiv:1409.1556, with a mean in place of its dense layers
        (Lin et al. 2013, arXiv:1312.4400).
    """

    channels_last: ClassVar[bool] = True

    def __init__(self, config: CNNConfig, input_shape: tuple[int, ...], num_classes: int, blocks: BlockBuilder) -> None:
        if len(input_shape) != 3:
            raise ConfigError(f"model=cnn needs images, got rows of {input_shape[0]} numbers. Use model=mlp.")
        body = OrderedDict[str, nn.Module]()
        num_inputs = input_shape[0]
        for stage in range(config.num_stages):
            width = config.width * 2**stage
            convs = OrderedDict[str, nn.Module]()
            for i in range(config.depth // config.num_stages):
                convs[f"conv{i + 1}"] = blocks.conv(num_inputs, width)
                num_inputs = width
            body[f"stage{stage + 1}"] = nn.Sequential(convs)
        super().__init__(body, nn.Linear(num_inputs, num_classes), blocks.input_norm(input_shape[0]))

    def features(self, x: Tensor) -> Tensor:
        """Return the mean of the last stage over the image, (N, channels)."""
        if hasattr(self, "input"):
            x = self.input(x)
        for name in self.body_names:
            x = pooled(getattr(self, name)(x))
        return x.mean((2, 3))
