"""Source -> tensors per split: fixed, seeded, stratified, normalized by the training split's own constants."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bnlab.data.arrays import Arrays, SourceData, check_all_trained, check_classes, check_same_shape
from bnlab.data.scales import find_other_scale
from bnlab.errors import ConfigError, DataError
from bnlab.provenance import memory_bytes
from bnlab.schema import DataConfig

_NO_CONTRAST = 1e-6
"""Standard deviation of a channel, as a share of its mean, below which it is taken for rounding: 16 float32 steps."""


@dataclass(frozen=True)
class Split:
    """One split on one device.

    Attributes:
        images: (N, C, H, W) or (N, D), float32, normalized.
        labels: (N,), int64, classes from 0.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device, channels_last: bool) -> "Split":
        """Return the split on a device, with images in channels-last layout if ``channels_last`` is true."""
        layout = torch.channels_last if channels_last and self.images.dim() == 4 else torch.contiguous_format
        return Split(self.images.to(device=device, memory_format=layout), self.labels.to(device))


@dataclass(frozen=True)
class DataSet:
    """A data set, ready to be trained on.

    Attributes:
        train: The images that the network is trained on.
        validation: The images for choices, such as the learning rate.
        test: The images that are evaluated once, at the end.
        num_classes: The number of classes, the same in all splits.
        found_in: The folder, file or package that it was read from, for display.
        warnings: One to three lines for each thing that is probably a mistake.
    """

    train: Split
    validation: Split
    test: Split
    num_classes: int
    found_in: str
    warnings: tuple[str, ...] = ()

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(C, H, W) or (D,)."""
        return tuple(self.train.images.shape[1:])

    def to(self, device: torch.device, channels_last: bool) -> "DataSet":
        """Return the data set on a device."""
        splits = [split.to(device, channels_last) for split in (self.train, self.validation, self.test)]
        return DataSet(splits[0], splits[1], splits[2], self.num_classes, self.found_in, self.warnings)


def split_source(source: SourceData, config: DataConfig) -> DataSet:
    """Split a source, limit it, and turn it into normalized tensors.

    The split depends on ``data.split_seed`` alone, never on the run's seed. Official test and validation sets stay
    whole; where there is none, ``data.test_share`` of each class is drawn first, then ``data.validation_share``.
    ``data.limit`` keeps at most so many images of each split. Mean and standard deviation, one pair per color
    channel, are those of the training images that are left.

    Padding, by ``data.padding_value``, counts for neither of them, and is 0 afterwards: the mean of all other values.

    Args:
        source: The images and labels as read from disk.
        config: The shares of validation and test images, the seed of the split, and the limit.

    Raises:
        ConfigError: Shares that do not go with the set, or with each other.
        DataError: There are too few images, or labels that do not fit.
    """
    place = f"data={config.name}" if config.path is None else config.path
    random = np.random.RandomState(config.split_seed)  # NumPy guarantees that its streams never change (NEP 19)
    rest, test, validation = source.train, source.test, source.validation
    official = source.official
    num_classes = check_classes(source, place)
    check_same_shape(rest, official, place)
    share_of = len(rest.labels)
    test_share, validation_share = _shares(config, official.keys())
    if test is None:
        rest, test = _divided(rest, round(test_share * share_of), random)
    if validation is None:
        rest, validation = _divided(rest, round(validation_share * share_of), random)
    else:
        validation = _divided(validation, len(validation.labels), random)[1]  # the file may be sorted, as below
    train = rest
    for split, name, cure in (
        (train, "training", "Lower data.validation_share or data.test_share."),
        (validation, "validation", "Raise data.validation_share, or add images."),
        (test, "test", "Raise data.test_share, or add images."),
    ):
        if len(split.labels) == 0:
            raise DataError(f"{place}: each split needs an image, no {name} images are left of {share_of}. {cure}")
    check_all_trained(train, num_classes, place)
    if config.limit is not None:
        train, validation, test = (_limited(split, config.limit, random) for split in (train, validation, test))
    num_bytes = 4 * sum(split.images.size for split in (train, validation, test))
    if num_bytes > memory_bytes():
        raise DataError(
            f"{place}: images must fit into memory: {num_bytes / 2**30:.1f} GiB as float32, with "
            f"{memory_bytes() / 2**30:.1f} GiB there. Lower data.limit."
        )
    arrays = {"train": train, "validation": validation, "test": test}
    splits = dict(zip(arrays, _normalized_by_first(*arrays.values(), padding_value=config.padding_value), strict=True))
    warnings = [
        warning
        for name in official
        for warning in find_other_scale(splits["train"].images, splits[name].images, name, (train, arrays[name]), place)
    ]
    return DataSet(**splits, num_classes=num_classes, found_in=source.found_in, warnings=(*source.warnings, *warnings))


def _shares(config: DataConfig, official: Collection[str]) -> tuple[float, float]:
    """Return the shares of the images that become the test and the validation set: 0 where there is an official one.

    Raises:
        ConfigError: A share where there is an official set, none where there is none, or too large ones.
    """
    shares = []
    for name, given, usual in (("test", config.test_share, 0.2), ("validation", config.validation_share, 0.1)):
        if name in official and given is not None and ":" not in config.name:
            raise ConfigError(
                f"data.{name}_share must be null where there is an official {name} set: data={config.name}, "
                f"got {given}. Leave it out."
            )
        if name not in official and given is None:
            raise ConfigError(
                f"data.{name}_share must be set where there is no official {name} set: data={config.name}, got null. "
                f"Try data.{name}_share={usual}."
            )
        shares.append(0.0 if name in official else given or 0.0)
    if sum(shares) >= 1:
        raise ConfigError(
            "data.test_share and data.validation_share must leave something to train on: "
            f"{shares[0]} + {shares[1]} is not below 1. Lower one of them."
        )
    return shares[0], shares[1]


def stratified_choice(labels: NDArray[np.int64], num_chosen: int, random: np.random.RandomState) -> NDArray[np.bool_]:
    """Choose so many examples, classes in proportion; return a mask.

    Each class gives the whole part of its share; what is missing then comes from the classes with the largest
    remainders.

    Args:
        labels: (N,), classes from 0.
        num_chosen: The number of examples to choose, at most N.
        random: The source of random numbers; it advances.

    Source:
        The method of largest remainders (Hamilton's). Written out, and not scikit-learn's train_test_split, since
        a split must not change with a library's version.

    Example:
        >>> mask = stratified_choice(np.array([0] * 8 + [1] * 4), 6, np.random.RandomState(0))
        >>> int(mask[:8].sum()), int(mask[8:].sum())
        (4, 2)
    """
    counts = np.bincount(labels)
    exact = counts * (num_chosen / len(labels))
    taken = np.floor(exact + 1e-9).astype(int)  # 1e-9: 0.1 * 350 must count as 35
    for index in np.argsort(taken - exact, kind="stable")[: num_chosen - taken.sum()]:
        taken[index] += 1
    mask = np.zeros(len(labels), bool)
    for label, count in enumerate(taken):
        mask[random.permutation(np.flatnonzero(labels == label))[:count]] = True
    return mask


def _divided(arrays: Arrays, num_second: int, random: np.random.RandomState) -> tuple[Arrays, Arrays]:
    mask = stratified_choice(arrays.labels, num_second, random)
    first = Arrays(arrays.images[~mask], arrays.labels[~mask])
    chosen = random.permutation(np.flatnonzero(mask))  # a file may be sorted; the probe batch is a split's beginning
    return first, Arrays(arrays.images[chosen], arrays.labels[chosen])


def _limited(arrays: Arrays, limit: int, random: np.random.RandomState) -> Arrays:
    if len(arrays.labels) <= limit:
        return arrays
    return _divided(arrays, limit, random)[1]


def _normalized_by_first(*splits: Arrays, padding_value: float | None) -> list[Split]:
    """Return tensors, with the first split's mean taken off and its standard deviation divided out.

    One pair of constants per color channel; one pair in all for (N, H, W) and (N, D). In place, since a split
    can be half a gigabyte.
    """
    tensors = [_image_tensor(arrays.images) for arrays in splits]
    paddings = [None if padding_value is None else padding_in(tensor, padding_value) for tensor in tensors]
    first = tensors[0]
    shape = (1, -1, 1, 1) if first.dim() == 4 else (1, -1)
    filled = _share_without(paddings[0], first)
    if paddings[0] is not None:
        first.masked_fill_(paddings[0], 0)
    # two stages, so that half a gigabyte is never copied to float64: inside an image, then over the images
    mean = (_pixels(first).mean(2).mean(0, dtype=torch.float64) / filled).float().view(shape)
    for tensor, padding in zip(tensors, paddings, strict=True):
        tensor.sub_(mean)
        if padding is not None:
            tensor.masked_fill_(padding, 0)
    std = torch.linalg.vector_norm(_pixels(first), dim=2).double().square().mean(0).div(_pixels(first).shape[2])
    std = (std / filled).sqrt().float().view(shape)
    # a channel without contrast stays at 0: what is left of it after the mean is taken off is rounding, a few
    # units in the last place (6e-8) of the mean, and must not be blown up to 1
    std[std <= _NO_CONTRAST * mean.abs()] = 1.0
    return [Split(t.div_(std), torch.tensor(arrays.labels)) for t, arrays in zip(tensors, splits, strict=True)]


def padding_in(images: Tensor, value: float) -> Tensor:
    """Return where images are padding, (N, 1, H, 1) or (N, D): in rows at the end that hold one value only.

    Args:
        images: (N, C, H, W) or (N, D), as in the file.
        value: The value of padding.

    Example:
        >>> padding_in(torch.tensor([[5.0, 0.0, 7.0, 0.0, 0.0]]), 0.0)
        tensor([[False, False, False,  True,  True]])
    """
    is_value = (images == value).all(3, keepdim=True).all(1, keepdim=True) if images.dim() == 4 else images == value
    axis = 2 if images.dim() == 4 else 1
    return is_value.flip(axis).cumprod(axis).flip(axis).bool()


def _share_without(padding: Tensor | None, images: Tensor) -> float:
    """Return the share of values that are no padding; 1 where all are, so that nothing is divided by 0."""
    return 1.0 if padding is None or bool(padding.all()) else 1 - float(padding.expand_as(images).double().mean())


def _image_tensor(images: NDArray[np.generic]) -> Tensor:
    """Return (N, C, H, W) or (N, D) as a new float32 tensor."""
    tensor = torch.from_numpy(images.astype(np.float32))
    if images.ndim == 3:
        return tensor.unsqueeze(1)
    return tensor.permute(0, 3, 1, 2) if images.ndim == 4 else tensor


def _pixels(images: Tensor) -> Tensor:
    """Return images as (N, C, pixels), a view; rows of numbers count as one channel."""
    return images.flatten(2) if images.dim() == 4 else images.unsqueeze(1)
