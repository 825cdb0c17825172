"""Residual nets for small images."""

import math
from collections import OrderedDict
from typing import ClassVar

from torch import Tensor, nn

from bnlab.errors import ConfigError
from bnlab.models.blocks import Block, BlockBuilder, Order
from bnlab.models.network import Network, check_images
from bnlab.models.residual import ResidualUnit, ZeroPadding, refuse_after
from bnlab.schema_models import ResNetConfig


class PostUnit(ResidualUnit):
    """A unit with its activation after the sum.

        y = f(shortcut(x) + share * norm(conv2(f(norm(conv1(x))))))

    Args:
        num_inputs: The number of channels of its input.
        num_outputs: The number of channels of its output.
        stride: The step of the first convolution.
        config: The settings of the network.
        blocks: The builder of its blocks.

    Source:
        He et al. 2015, arXiv:1512.03385.
    """

    conv1: Block
    conv2: Block

    def __init__(
        self, num_inputs: int, num_outputs: int, stride: int, config: ResNetConfig, blocks: BlockBuilder
    ) -> None:
        super().__init__(None if config.residual == "skipinit" else 1.0)
        self.conv1 = blocks.conv(num_inputs, num_outputs, stride=stride)
        self.conv2 = blocks.conv(num_outputs, num_outputs, has_activation=False)
        self.shortcut: nn.Module = nn.Identity()
        if num_inputs != num_outputs:
            self.shortcut = ZeroPadding(num_outputs - num_inputs, stride)
            if config.shortcut == "projection":
                self.shortcut = blocks.conv(num_inputs, num_outputs, size=1, stride=stride, has_activation=False)
        self.sum = blocks.nonlinearity()
        if config.zero_gamma:
            _scale_of(self.conv2)

    def zero_branch(self) -> None:
        """Set the scale of the branch's last norm to 0."""
        _scale_of(self.conv2).zero_()

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum, behind its activation."""
        branch = self.conv2(self.conv1(x))  # first, as in the order of the roles
        y: Tensor = self.sum(self.added(self.shortcut(x), branch))
        return y


class PreUnit(ResidualUnit):
    """A unit whose norms and activations stand before its convolutions, and nothing behind the sum.

        h = f(norm(x / input_std)),    y = shortcut(x or h) + share * conv2(f(norm(conv1(h))))

    A shortcut that is a convolution sees h, any other x.

    Args:
        num_inputs: The number of channels of its input.
        num_outputs: The number of channels of its output.
        stride: The step of the first convolution.
        config: The settings of the network.
        blocks: The builder of its blocks.
        input_std: What the input is divided by.

    Source:
        He et al. 2016, arXiv:1603.05027. The division: Brock et al. 2021, arXiv:2101.08692.
    """

    conv1: Block
    conv2: Block

    def __init__(
        self,
        num_inputs: int,
        num_outputs: int,
        stride: int,
        config: ResNetConfig,
        blocks: BlockBuilder,
        input_std: float,
    ) -> None:
        super().__init__({"skipinit": None, "nf": config.branch_scale, "plain": 1.0}[config.residual])
        self.input_std = input_std
        has_bias = blocks.keeps_mean(num_outputs)  # behind each convolution the next to look is a norm
        order: Order = "norm, activation, linear"
        self.conv1 = blocks.conv(num_inputs, num_outputs, order, stride=stride, has_bias=has_bias)
        self.conv2 = blocks.conv(num_outputs, num_outputs, order, has_bias=has_bias)
        self.shortcut: nn.Module = nn.Identity()
        self.projects = num_inputs != num_outputs and config.shortcut == "projection"
        if self.projects:
            projection = nn.Conv2d(num_inputs, num_outputs, 1, stride, bias=has_bias)
            self.shortcut = blocks.transformed(projection, num_outputs)
        elif num_inputs != num_outputs:
            self.shortcut = ZeroPadding(num_outputs - num_inputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum."""
        given = x if self.input_std == 1 else x / self.input_std
        if not self.projects:
            return self.added(self.shortcut(x), self.conv2(self.conv1(given)))
        h = self.conv1.before_linear(given)
        branch = self.conv2(self.conv1.linear(h))  # first, as in the order of the roles
        return self.added(self.shortcut(h), branch)


class ResNet(Network):
    """A residual net for small images: ``stem``, then ``stage1.unit1.conv1`` ... , the mean over the image, ``output``.

    Three stages of (depth - 2) / 6 units. The first unit of the second and third stage halves the image and doubles the
    channels; its shortcut follows. ``stage1.unit1.sum`` is the activation after the sum, where there is one. With
    block=pre a norm and an activation follow the last unit, ``final``, and the stem has neither.

    Convolutions have no bias where the norm of the arm subtracts the mean: right before a norm, and with block=pre
    everywhere.

    residual=nf divides the input of each branch by its predicted standard deviation and multiplies the branch by
    ``branch_scale``: from 1 behind the stem the variance grows by branch_scale^2 per unit, and begins at
    1 + branch_scale^2 again behind a unit whose shortcut is a convolution. It is meant for
    norm=scaled_weight_standardization, or none.

    Shape:
        (N, C, H, W) -> (N, classes), for images of any size.

    Raises:
        ConfigError: The data are no images, the norm shall stand after activations, or zero_gamma is asked of a norm
            without a learned scale.

    Source:
        He et al. 2015, arXiv:1512.03385, section 4.2; He et al. 2016, arXiv:1603.05027, for block=pre. SkipInit: De &
        Smith 2020, arXiv:2002.10444. NF: Brock, De & Smith 2021, arXiv:2101.08692. Scales that begin at 0: Goyal et al.
        2017, arXiv:1706.02677.
    """

    channels_last: ClassVar[bool] = True

    def __init__(
        self, config: ResNetConfig, input_shape: tuple[int, ...], num_classes: int, blocks: BlockBuilder
    ) -> None:
        check_images("resnet", input_shape)
        refuse_after(blocks, "resnet", "model.block")
        is_pre = config.block == "pre"
        body = OrderedDict[str, nn.Module]()
        if is_pre:
            body["stem"] = nn.Conv2d(input_shape[0], config.width, 3, padding=1, bias=blocks.keeps_mean(config.width))
        else:
            body["stem"] = blocks.conv(input_shape[0], config.width)
        num_inputs, variance = config.width, 1.0
        for stage in range(3):
            width = config.width * 2**stage
            units = OrderedDict[str, nn.Module]()
            for i in range((config.depth - 2) // 6):
                stride = 2 if stage > 0 and i == 0 else 1
                if is_pre:
                    std = math.sqrt(variance) if config.residual == "nf" else 1.0
                    units[f"unit{i + 1}"] = PreUnit(num_inputs, width, stride, config, blocks, std)
                    variance = (1.0 if num_inputs != width else variance) + config.branch_scale**2
                else:
                    units[f"unit{i + 1}"] = PostUnit(num_inputs, width, stride, config, blocks)
                num_inputs = width
            body[f"stage{stage + 1}"] = nn.Sequential(units)
        if is_pre:
            body["final"] = blocks.norm_and_activation(num_inputs)
        super().__init__(body, nn.Linear(num_inputs, num_classes), blocks.input_norm(input_shape[0]))
        self.begins_at_zero = config.zero_gamma
        if is_pre:
            self.small_roles = frozenset({"stem", "output"})

    def finish_initialization(self) -> None:
        """Set the scale of each branch's last norm to 0, if that is asked for."""
        for unit in self.streams.values() if self.begins_at_zero else ():
            if isinstance(unit, PostUnit):
                unit.zero_branch()

    def features(self, x: Tensor) -> Tensor:
        """Return the mean of the last stage over the image, (N, channels)."""
        return super().features(x).mean((2, 3))


def _scale_of(block: Block) -> nn.Parameter:
    norm = getattr(block, "norm", None)
    scale = getattr(norm, "weight", None)
    if not isinstance(scale, nn.Parameter):
        raise ConfigError(
            f"model.zero_gamma=true needs a norm with a learned scale in each branch, got {type(norm).__name__} "
            "without one. Use norm=batch norm.affine=true, or model.residual=skipinit."
        )
    return scale
