"""A multi-layer perceptron with shortcuts."""

import math
from collections import OrderedDict

from torch import Tensor, nn

from bnlab.models.blocks import Block, BlockBuilder, Dropout
from bnlab.models.network import Network
from bnlab.models.residual import ResidualUnit, refuse_after
from bnlab.schema_models import ResidualMLPConfig


class DenseUnit(ResidualUnit):
    """Two linear maps with an activation between them, and a shortcut around them.

        pre     y = x + share * down(f(up(norm(x) * input_scale)))
        post    y = norm(x + share * down(f(up(x))))
        peri    y = x + share * norm(down(f(up(norm(x) * input_scale))))

    Args:
        config: The settings of the network.
        blocks: The builder of its blocks.
        number: The number of the unit in the network, from 1.
    """

    def __init__(self, config: ResidualMLPConfig, blocks: BlockBuilder, number: int) -> None:
        super().__init__(None if config.residual == "skipinit" else 1.0)
        width, self.is_post = config.width, config.order == "post"
        self.input_scale = 1 / math.sqrt(number) if config.depth_scale == "sqrt" else 1.0
        if not self.is_post:
            self.norm = blocks.norm(width)
        dropout = Dropout(config.dropout) if config.dropout else None
        self.up = Block(nn.Linear(width, width), None, blocks.nonlinearity(), dropout=dropout)
        if config.order == "peri":
            self.down: nn.Module = blocks.dense(width, width, "linear, norm, activation", has_activation=False)
        else:
            self.down = blocks.transformed(nn.Linear(width, width), width)
        if self.is_post:
            self.norm = blocks.norm(width)

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum; with order=post behind its norm."""
        h = x if self.is_post else self.norm(x)
        if self.input_scale != 1:
            h = h * self.input_scale
        y = self.added(x, self.down(self.up(h)))
        return self.norm(y) if self.is_post else y


class ResidualMLP(Network):
    """A multi-layer perceptron with shortcuts: ``stem``, ``unit1.up``, ``unit1.down`` ... , ``output``.

    The feed-forward half of a transformer, unit after unit. The norm stands at the start of each branch
    (order=pre, ``unit1.norm``, and ``final`` behind the last unit), after each sum (post; and behind the stem), or at
    the start and at the end of each branch (peri, ``unit1.norm`` and ``unit1.down``; behind the stem, and ``final``).

    The last linear map of each branch, ``unit1.down``, goes through a norm's ``weight_parametrization``, and with
    order=post and order=peri the stem as well, which stands right before a norm.

    Shape:
        (N, C, H, W) or (N, D) -> (N, classes). An input norm sees (N, features), one channel per feature.

    Raises:
        ConfigError: The norm shall stand after activations.

    Source:
        Pre and post: Xiong et al. 2020, arXiv:2002.04745. Peri: Kim et al. 2025, arXiv:2502.02732. depth_scale=sqrt:
        Sun et al. 2025, arXiv:2502.05795. SkipInit: De & Smith 2020, arXiv:2002.10444.
    """

    def __init__(
        self, config: ResidualMLPConfig, input_shape: tuple[int, ...], num_classes: int, blocks: BlockBuilder
    ) -> None:
        refuse_after(blocks, "residual_mlp", "model.order")
        num_features, width = math.prod(input_shape), config.width
        body = OrderedDict[str, nn.Module]()
        if config.order == "pre":
            body["stem"] = nn.Linear(num_features, width)
        else:
            body["stem"] = blocks.dense(num_features, width, "linear, norm, activation", has_activation=False)
        for number in range(1, config.depth + 1):
            body[f"unit{number}"] = DenseUnit(config, blocks, number)
        if config.order != "post":
            body["final"] = blocks.norm(width)
        super().__init__(body, nn.Linear(width, num_classes), blocks.input_norm(num_features))
        self.small_roles = frozenset({"stem", "output", *(f"{role}.down" for role in self.streams)})

    def features(self, x: Tensor) -> Tensor:
        """Return what the output layer sees, (N, width)."""
        return super().features(x.flatten(1))
