"""A convolutional net that learns small images in few epochs."""

from collections import OrderedDict
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnlab.errors import ConfigError
from bnlab.models.blocks import BlockBuilder
from bnlab.models.network import Network, check_images
from bnlab.schema_models import FastCNNConfig

NUM_GROUPS = 3
"""Each halves the image: 32x32 pixels end as 3x3."""

_PATCH = 2
_NUM_SEEN = 5000
"""Images from which the whitening is computed, as in the source."""

_WHITENING_EPS = 5e-4
"""Added to the variances, the source's; the pixels of the images have a standard deviation of 1."""


class Whitening(nn.Module):
    """Fixed filters that give patches of 2x2 pixels uncorrelated values of variance 1, and the same values negated.

        z = V^T p / sqrt(lambda + eps),    C = V diag(lambda) V^T the mean of p p^T over all patches p

    The filters are no parameters: they follow from the training images, before the first step. Both signs are there, so
    that the activation behind it loses nothing.

    Args:
        num_inputs: The number of colors.

    Shape:
        (N, C, H, W) -> (N, 8 C, H - 1, W - 1).

    Source:
        Page 2019, "How to train your ResNet 8"; Jordan 2024, arXiv:2404.00498, section 3.1.
    """

    filters: Tensor

    def __init__(self, num_inputs: int) -> None:
        super().__init__()
        size = num_inputs * _PATCH**2
        whole = torch.eye(size).view(size, num_inputs, _PATCH, _PATCH)
        self.register_buffer("filters", torch.cat([whole, -whole]))

    @torch.no_grad()
    def fit(self, images_NCHW: Tensor) -> None:
        """Compute the filters.

        Args:
            images_NCHW: Training images; the first 5,000 are used.
        """
        size = self.filters[0].numel()
        products, num_patches = torch.zeros(size, size, dtype=torch.float64), 0
        for images in torch.split(images_NCHW[:_NUM_SEEN], 500):  # all patches at once would take half a gigabyte
            patches = F.unfold(images.cpu().double(), _PATCH).transpose(1, 2).reshape(-1, size)
            products += patches.T @ patches
            num_patches += len(patches)
        variances, vectors = torch.linalg.eigh(products / num_patches)
        # the sign of an eigenvector is free, and differs between libraries: its largest part is made positive
        vectors = vectors * vectors.gather(0, vectors.abs().argmax(0, keepdim=True)).sign()
        rows = (vectors / (variances + _WHITENING_EPS).sqrt()).T
        self.filters.copy_(torch.cat([rows, -rows]).view(self.filters.shape))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return the whitened patches, of both signs."""
        return F.conv2d(x_NCHW, self.filters)


class FastCNN(Network):
    """A fixed whitening, three groups of convolutions ``group1.conv1`` ..., the maximum over the image, ``output``.

    The first convolution of each group is pooled before its norm, so that norm and activation see a quarter of the
    pixels. The groups have 1, 4 and 4 times the width.

    Shape:
        (N, C, H, W) -> (N, classes), images of 2x2 pixels or more; what is down to one pixel is not halved any more.

    Raises:
        ConfigError: The data are no images, or images of fewer pixels.

    Source:
        Jordan 2024, arXiv:2404.00498: "airbench", with 64 as width and two convolutions in each group.
    """

    channels_last: ClassVar[bool] = True

    whitening: Whitening

    def __init__(
        self, config: FastCNNConfig, input_shape: tuple[int, ...], num_classes: int, blocks: BlockBuilder
    ) -> None:
        check_images("fast_cnn", input_shape)
        if min(input_shape[1:]) < _PATCH:
            height, width = input_shape[1:]
            raise ConfigError(f"model=fast_cnn needs 2x2 pixels or more, got {height}x{width}. Use model=mlp.")
        body = OrderedDict[str, nn.Module](whitening=Whitening(input_shape[0]), whitened=blocks.nonlinearity())
        num_inputs = 2 * input_shape[0] * _PATCH**2
        for group in range(1, NUM_GROUPS + 1):
            width = config.width * (1 if group == 1 else 4)
            convs = OrderedDict[str, nn.Module]()
            for i in range(1, config.depth // NUM_GROUPS + 1):
                convs[f"conv{i}"] = blocks.conv(num_inputs, width, halves=i == 1)
                num_inputs = width
            body[f"group{group}"] = nn.Sequential(convs)
        super().__init__(body, nn.Linear(num_inputs, num_classes), blocks.input_norm(input_shape[0]))

    def see(self, images: Tensor) -> None:
        """Compute the whitening; with an input norm, of the images as they are before it."""
        self.whitening.fit(images)

    def features(self, x: Tensor) -> Tensor:
        """Return the maximum of the last group over the image, (N, channels)."""
        return super().features(x).amax((2, 3))
