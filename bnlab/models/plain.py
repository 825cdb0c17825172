"""Plain networks, without shortcuts: perceptrons, with activations and without, and convolutional nets."""

import itertools
import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from bnlab.errors import ConfigError
from bnlab.models.blocks import BlockBuilder, pooled
from bnlab.models.network import Network, check_images
from bnlab.schema_models import CNNConfig, DeepLinearConfig, MLPConfig, VGGConfig


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


class DeepLinear(Network):
    """Linear maps without activations, ``linear1`` ... ``linear<depth>``, each with its norm, then ``output``.

    Without norms it computes a linear map, but its loss is not convex in its weights: what a norm does to training can
    be studied apart from what it does to activations. Its ``activations`` pass their input on, so that diagnostics of
    distributions and ranks see the output of each norm. Those of saturation and of dead relus have nothing to measure
    here, for no value is flat.

    Shape:
        (N, C, H, W) or (N, D) -> (N, classes). An input norm sees (N, features), one channel per feature.

    Raises:
        ConfigError: The norm shall stand after activations.

    Source:
        Santurkar, Tsipras, Ilyas & Madry 2018, arXiv:1805.11604, section 2.3 and appendix A: 25 layers.
    """

    def __init__(
        self, config: DeepLinearConfig, input_shape: tuple[int, ...], num_classes: int, blocks: BlockBuilder
    ) -> None:
        if blocks.placement == "after":
            raise ConfigError(
                "placement=after needs activations, and model=deep_linear has none. Use placement=before."
            )
        widths = [math.prod(input_shape)] + [config.width] * config.depth
        maps = [blocks.dense(n_in, n_out, has_activation=False) for n_in, n_out in itertools.pairwise(widths)]
        body = OrderedDict[str, nn.Module]((f"linear{i}", block) for i, block in enumerate(maps, 1))
        super().__init__(body, nn.Linear(widths[-1], num_classes), blocks.input_norm(widths[0]))

    @property
    def activations(self) -> dict[str, nn.Module]:
        """Modules by role that pass on what each norm gives."""
        return {role: block.activation for role, block in self.blocks.items()}

    def features(self, x: Tensor) -> Tensor:
        """Return what the output layer sees, (N, width)."""
        return super().features(x.flatten(1))


class ConvStages(Network):
    """Stages of 3x3 convolutions, ``stage1.conv1`` ... , then the mean over the image, then ``output``.

    Each stage convolves at one size of the image, then halves it. It takes any image: what is down to one pixel is not
    halved any more.

    Args:
        name: The name of the network, for messages.
        stages: The number of channels of each convolution, stage by stage.
        input_shape: The shape of one image, (C, H, W).
        num_classes: The number of logits per image.
        blocks: The builder of its blocks.

    Raises:
        ConfigError: The data are no images.
    """

    channels_last: ClassVar[bool] = True

    def __init__(
        self,
        name: str,
        stages: Sequence[Sequence[int]],
        input_shape: tuple[int, ...],
        num_classes: int,
        blocks: BlockBuilder,
    ) -> None:
        check_images(name, input_shape)
        body = OrderedDict[str, nn.Module]()
        num_inputs = input_shape[0]
        for stage, widths in enumerate(stages, 1):
            convs = OrderedDict[str, nn.Module]()
            for i, width in enumerate(widths, 1):
                convs[f"conv{i}"] = blocks.conv(num_inputs, width)
                num_inputs = width
            body[f"stage{stage}"] = nn.Sequential(convs)
        super().__init__(body, nn.Linear(num_inputs, num_classes), blocks.input_norm(input_shape[0]))

    def features(self, x: Tensor) -> Tensor:
        """Return the mean of the last stage over the image, (N, channels)."""
        if hasattr(self, "input"):
            x = self.input(x)
        for name in self.body_names:
            x = pooled(getattr(self, name)(x))
        return x.mean((2, 3))


class CNN(ConvStages):
    """A plain convolutional net: stages of equal depth, each with twice the channels of the one before.

    Shape:
        (N, C, H, W) -> (N, classes).

    Source:
        The layout of VGG: Simonyan & Zisserman 2014, arXiv:1409.1556, with a mean in place of its dense layers
        (Lin et al. 2013, arXiv:1312.4400).
    """

    def __init__(self, config: CNNConfig, input_shape: tuple[int, ...], num_classes: int, blocks: BlockBuilder) -> None:
        per_stage = config.depth // config.num_stages
        stages = [[config.width * 2**stage] * per_stage for stage in range(config.num_stages)]
        super().__init__("cnn", stages, input_shape, num_classes, blocks)


class VGG(ConvStages):
    """VGG-11, 13 and 16 for small images: five stages of 3x3 convolutions, with 1, 2, 4, 8 and 8 times the width.

    The paper's three dense layers, for images of 224x224, are one here, behind the mean over the image: of the layers
    that the name counts, two are left out. The fifth stage of a 28x28 image sees one pixel, of a 32x32 image four.

    Shape:
        (N, C, H, W) -> (N, classes).

    Source:
        Simonyan & Zisserman 2014, arXiv:1409.1556, table 1: configurations A, B and D, whose width is 64.
    """

    def __init__(self, config: VGGConfig, input_shape: tuple[int, ...], num_classes: int, blocks: BlockBuilder) -> None:
        counts = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3)}[config.depth]
        stages = [[config.width * factor] * count for factor, count in zip((1, 2, 4, 8, 8), counts, strict=True)]
        super().__init__("vgg", stages, input_shape, num_classes, blocks)
