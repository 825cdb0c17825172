"""A small vision transformer: an image as a row of patches, with norms on single tokens.

Shape letters: N batch, C channels, H and W height and width, T tokens of an image, R = N * T rows, one per token, D
width, A attention heads.
"""

import math
from collections import OrderedDict
from typing import cast

import torch
from torch import Tensor, nn

from bnlab.errors import ConfigError, nearest_divisors
from bnlab.models.blocks import Block, BlockBuilder, Dropout
from bnlab.models.network import Network, check_images
from bnlab.schema_models import ViTConfig


class ViT(Network):
    """A vision transformer without other learned parts than its layers: ``embed``, ``layer1`` ..., ``output``.

    Which norm does a transformer need, and where? The order says where, the arm says which:

        pre   x + f(norm(x))           and one norm, ``final_norm``, behind the last layer
        post  norm(x + f(x))
        peri  x + norm(f(norm(x)))     and ``final_norm``

    f is the attention, and then the perceptron of each layer. Positions are fixed sines and cosines that are added to
    the embedded patches, and the output layer gets the mean over all tokens: no class token, no learned position.

    Between the layers the tokens are the rows of one matrix, (R, D), also for norms and diagnostics: LayerNorm is per
    token, BatchNorm is over all tokens of all images, and the size of a ghost batch counts tokens. Norms that need
    several positions (instance, frn) cannot be used.

    Shape:
        (N, C, H, W) -> (N, classes). An input norm sees the image.

    Raises:
        ConfigError: The input is no image, the patch does not divide it, or the placement is ``after``.

    Source:
        Dosovitskiy et al. 2020, arXiv:2010.11929. Fixed positions and the mean over tokens: Beyer et al. 2022,
        arXiv:2205.01580. pre and post: Xiong et al. 2020, arXiv:2002.04745. peri: Kim et al. 2025, arXiv:2502.02732,
        without its optional norm of the embedding.
    """

    positions: Tensor

    def __init__(self, config: ViTConfig, input_shape: tuple[int, ...], num_classes: int, blocks: BlockBuilder) -> None:
        check_images("vit", input_shape)
        if blocks.placement == "after":
            raise ConfigError(
                "model=vit puts its norms where model.order says, not behind an activation: placement=after cannot be. "
                "Use placement=before and model.order=pre, post or peri."
            )
        num_channels, height, width = input_shape
        for size in (height, width):
            if size % config.patch:
                raise ConfigError(
                    f"model.patch must divide the image: {height}x{width} pixels, patches of {config.patch}. "
                    f"Nearest divisors of {size}: {nearest_divisors(config.patch, size)}."
                )
        grid = height // config.patch, width // config.patch
        embed = nn.Linear(num_channels * config.patch**2, config.width)
        body = OrderedDict[str, nn.Module](embed=blocks.transformed(embed, config.width))
        for number in range(1, config.depth + 1):
            body[f"layer{number}"] = EncoderLayer(config, math.prod(grid), blocks)
        if config.order != "post":
            body["final_norm"] = blocks.norm(config.width)
        super().__init__(body, nn.Linear(config.width, num_classes), blocks.input_norm(num_channels))
        self.patch = config.patch
        self.rows_per_sample = math.prod(grid)
        self.register_buffer("positions", sines_and_cosines(*grid, config.width), persistent=False)
        near_activations = {role for role in self.linears if role.endswith((".hidden", ".contract"))}
        self.small_roles = frozenset(set(self.linears) - near_activations)

    def features(self, x: Tensor) -> Tensor:
        """Return the mean over the tokens of an image, (N, D)."""
        if hasattr(self, "input"):
            x = self.input(x)
        first, *others = self.body_names
        tokens_RD = getattr(self, first)(patches_of(x, self.patch))
        tokens_NTD = tokens_RD.unflatten(0, (-1, self.rows_per_sample)) + self.positions.to(tokens_RD.dtype)
        tokens_RD = tokens_NTD.flatten(0, 1)
        for name in others:
            tokens_RD = getattr(self, name)(tokens_RD)
        return cast("Tensor", tokens_RD.unflatten(0, (-1, self.rows_per_sample)).mean(1))


class EncoderLayer(nn.Module):
    """Attention, then a perceptron, each with a shortcut around it and norms in the order that the config names.

    Args:
        config: Width, heads, size of the perceptron and order.
        num_tokens: T, the number of tokens of an image.
        blocks: Builds the norms, the linear maps and the activation.

    Shape:
        (R, D) -> (R, D).
    """

    def __init__(self, config: ViTConfig, num_tokens: int, blocks: BlockBuilder) -> None:
        super().__init__()
        self.order = config.order
        width, inner = config.width, config.width * config.mlp_ratio

        def last(num_inputs: int) -> nn.Module:
            if config.order == "peri":
                return blocks.dense(num_inputs, width, "linear, norm, activation", has_activation=False)
            return blocks.transformed(nn.Linear(num_inputs, width), width)

        def attention() -> None:
            self.attention = Attention(width, config.num_heads, num_tokens, blocks, last(width))

        def perceptron() -> None:
            dropout = Dropout(config.dropout) if config.dropout else None
            hidden = blocks.transformed(nn.Linear(width, inner), inner)
            self.hidden = Block(hidden, None, blocks.nonlinearity(), dropout=dropout)
            self.contract = last(inner)

        for name, build in (("attention_norm", attention), ("mlp_norm", perceptron)):
            if config.order == "post":  # registered in the order in which they run
                build()
                self.add_module(name, blocks.norm(width))
            else:
                self.add_module(name, blocks.norm(width))
                build()

    def forward(self, x_RD: Tensor) -> Tensor:
        """Apply the layer."""
        first, second = cast("nn.Module", self.attention_norm), cast("nn.Module", self.mlp_norm)
        if self.order == "post":
            x_RD = first(x_RD + self.attention(x_RD))
            return cast("Tensor", second(x_RD + self.contract(self.hidden(x_RD))))
        x_RD = x_RD + self.attention(first(x_RD))
        return x_RD + cast("Tensor", self.contract(self.hidden(second(x_RD))))


class Attention(nn.Module):
    """Each token gets a mean of all tokens of its image, weighted by how well its query fits their keys.

        softmax(q k^T / sqrt(D / A)) v    in each head, then a linear map of all heads together

    The formula is written out: torch's fused attention on a CPU has no second derivative, which diagnostics of the
    curvature need, and no rule for runs that are trained together.

    Args:
        width: D, the width of a token.
        num_heads: A, which must divide D.
        num_tokens: T, the number of tokens of an image.
        blocks: Builds linear maps.
        project: The linear map of the heads' outputs, with the norm behind it if there is one.

    Shape:
        (R, D) -> (R, D).

    Source:
        Vaswani et al. 2017, arXiv:1706.03762.
    """

    def __init__(self, width: int, num_heads: int, num_tokens: int, blocks: BlockBuilder, project: nn.Module) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.num_tokens = num_tokens
        self.query, self.key, self.value = (blocks.transformed(nn.Linear(width, width), width) for _ in range(3))
        self.project = project

    def forward(self, x_RD: Tensor) -> Tensor:
        """Mix the tokens of each image."""

        def by_head(map_: nn.Module) -> Tensor:
            return cast("Tensor", map_(x_RD)).view(-1, self.num_tokens, self.num_heads, head).transpose(1, 2)

        head = x_RD.shape[1] // self.num_heads
        q, k, v = by_head(self.query), by_head(self.key), by_head(self.value)
        mixed = ((q / math.sqrt(head)) @ k.transpose(2, 3)).softmax(3) @ v
        return cast("Tensor", self.project(mixed.transpose(1, 2).reshape(x_RD.shape)))


def patches_of(x_NCHW: Tensor, size: int) -> Tensor:
    """Return the patches of images as rows, (R, C * size^2), row by row of patches; in each, channel by channel.

    Args:
        x_NCHW: The images.
        size: Height and width of a patch, in pixels, which divide those of the image.

    Example:
        >>> patches_of(torch.arange(8.0).view(1, 1, 2, 4), 2)
        tensor([[0., 1., 4., 5.],
                [2., 3., 6., 7.]])
    """
    num_images, num_channels, height, width = x_NCHW.shape
    cut = x_NCHW.reshape(num_images, num_channels, height // size, size, width // size, size)
    return cut.permute(0, 2, 4, 1, 3, 5).reshape(-1, num_channels * size**2)


def sines_and_cosines(height: int, width: int, num_features: int) -> Tensor:
    """Return fixed positions of a grid, (height * width, features): sines and cosines of column and row.

    Args:
        height: Number of rows of the grid.
        width: Number of columns of the grid.
        num_features: Features of a position, a multiple of 4. The frequencies fall from 1 to 1/10,000.

    Source:
        As in the code of Beyer et al. 2022 (arXiv 2205.01580), function posemb_sincos_2d.
    """
    quarter = num_features // 4
    frequencies = 10_000.0 ** -(torch.arange(quarter, dtype=torch.get_default_dtype()) / max(1, quarter - 1))
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    x, y = (place.flatten().unsqueeze(1) * frequencies for place in (columns, rows))
    return torch.cat([x.sin(), x.cos(), y.sin(), y.cos()], 1)
