"""Batches from tensors: selected by index, with generators of their own, and augmented as whole batches.

Shape letters: B batch, C channels, H height, W width.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bnlab.data.splits import Split
from bnlab.errors import ConfigError
from bnlab.schema import DataConfig
from bnlab.seeding import generator_for


class Batches:
    """An endless stream of shuffled batches; the last partial batch of an epoch is dropped.

    Order and augmentation draw from streams of their own, keyed by the seed alone: two arms with one seed see
    the same images in the same order, mirrored and shifted alike.

    Args:
        split: The images and labels to draw from.
        batch_size: The number of images per batch, at most that of the split.
        config: The augmentation: ``flip`` and ``crop_padding``.
        seed: The seed of the run, which decides order and augmentation.

    Raises:
        ConfigError: A batch larger than the split, or augmentation that does not suit the images.
    """

    def __init__(self, split: Split, batch_size: int, config: DataConfig, seed: int) -> None:
        if batch_size > len(split):
            raise ConfigError(
                f"train.batch_size must be at most the number of training images: {batch_size}, "
                f"with {len(split)} images. Try train.batch_size={len(split)}."
            )
        self.augments = config.flip or config.crop_padding > 0
        if self.augments and split.images.dim() != 4:
            raise ConfigError(
                f"data.flip and data.crop_padding need images, got rows of {split.images.shape[1]} numbers. "
                "Set data.flip=false data.crop_padding=0."
            )
        if self.augments and config.crop_padding >= min(split.images.shape[2:]):
            raise ConfigError(
                f"data.crop_padding must be below the images' sides, or whole images are shifted away: "
                f"{config.crop_padding}, with {split.images.shape[2]}x{split.images.shape[3]} pixels. "
                "Try data.crop_padding=2."
            )
        self.split = split
        self.batch_size = batch_size
        self.flip = config.flip
        self.crop_padding = config.crop_padding
        self.num_per_epoch = len(split) // batch_size
        self._order_generator = generator_for(seed, "order")
        self._augmentation_generator = generator_for(seed, "augmentation")
        self._order_before = self._order_generator.get_state()
        self._epoch: tuple[Tensor, ...] = ()
        self._position = 0

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (images, labels) without end, from the current position of the stream."""
        while True:
            yield self.take(self.next_indices())

    def next_indices(self) -> Tensor:
        """Return the indices of the next batch, (B,), on the images' device; epochs end without a partial batch."""
        if self._position == len(self._epoch):
            self._begin_epoch()
        self._position += 1
        return self._epoch[self._position - 1]

    def take(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return (images, labels) of a batch, augmented by the stream's next draws if that is wanted."""
        images = self.split.images[indices]  # keeps the channels_last layout; index_select does not
        if self.augments:
            images = augmented(images, self.flip, self.crop_padding, self._augmentation_generator)
        return images, self.split.labels[indices]

    def _begin_epoch(self) -> None:
        self._order_before = self._order_generator.get_state()
        order = torch.randperm(len(self.split), generator=self._order_generator)
        epoch = order[: self.num_per_epoch * self.batch_size].view(-1, self.batch_size)
        self._epoch, self._position = epoch.to(self.split.images.device).unbind(), 0

    def state(self) -> dict[str, Any]:
        """Return the position of the stream: tensors and plain values."""
        return {
            "order": self._order_before,
            "position": self._position if self._epoch else None,
            "augmentation": self._augmentation_generator.get_state(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from the position of another stream of the same seed."""
        self._order_generator.set_state(state["order"])
        self._order_before = state["order"]
        self._augmentation_generator.set_state(state["augmentation"])
        self._epoch, self._position = (), 0
        if state["position"] is not None:
            self._begin_epoch()
            self._position = state["position"]


def augmented(images_BCHW: Tensor, flip: bool, crop_padding: int, generator: torch.Generator) -> Tensor:
    """Return images mirrored with probability 1/2 and shifted by up to crop_padding pixels, each by itself.

    Args:
        images_BCHW: A batch; pixels shifted in from outside are 0, the mean color after normalization.
        flip: True mirrors half of the images left to right.
        crop_padding: The largest shift in each direction, in pixels.
        generator: The source of random numbers, on the CPU, so that a batch does not depend on the device.
    """
    num_images, _, height, width = images_BCHW.shape
    span = 2 * crop_padding + 1
    top = torch.randint(span, (num_images, 1), generator=generator)
    left = torch.randint(span, (num_images, 1), generator=generator)
    rows = top + torch.arange(height)
    columns = torch.arange(width).expand(num_images, width)
    if flip:
        mirrored = torch.rand((num_images, 1), generator=generator) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    columns = left + columns
    padded_BHWC = F.pad(images_BCHW.permute(0, 2, 3, 1), [0, 0, *[crop_padding] * 4])
    _, padded_height, padded_width, num_channels = padded_BHWC.shape
    which = torch.arange(num_images).view(-1, 1, 1)
    index = [part.to(images_BCHW.device) for part in (which, rows.unsqueeze(2), columns.unsqueeze(1))]
    pixels = (index[0] * padded_height + index[1]) * padded_width + index[2]
    # index_select of pixels: indexing by image, row and column takes three times as long
    chosen = padded_BHWC.reshape(-1, num_channels).index_select(0, pixels.flatten())
    return chosen.view(num_images, height, width, num_channels).permute(0, 3, 1, 2)
