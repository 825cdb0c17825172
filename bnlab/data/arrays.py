"""The result of every source: images and labels as NumPy arrays, checked before they are used."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bnlab.errors import DataError

_NUMBERED = "np.unique(labels, return_inverse=True)[1]"
_LARGEST_PIXEL = 1e15
"""Largest size of a pixel: squares of ten million such are summed in float32, which ends at 3.4e38."""


@dataclass(frozen=True)
class Arrays:
    """Images and labels of one file or one official split.

    Attributes:
        images: (N, H, W), (N, H, W, C) or (N, D), any real type.
        labels: (N,), integers from 0.
    """

    images: NDArray[np.generic]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class SourceData:
    """A data set as it is on disk.

    Attributes:
        train: The images from which training and validation images are drawn; test images too, if ``test`` is None.
        test: The official test set; None: there is none.
        found_in: The folder, file or package that it was read from, for display.
        validation: The official validation set; None: there is none.
    """

    train: Arrays
    test: Arrays | None
    found_in: str
    validation: Arrays | None = None


def checked(images: NDArray[np.generic], labels: NDArray[np.generic], place: str) -> Arrays:
    """Check images and labels, and return them.

    Args:
        images: An array to be used as images.
        labels: An array to be used as labels.
        place: The file or data set, which the message names.

    Raises:
        DataError: Wrong shapes, types or values.
    """
    _check_images(images, place)
    if labels.shape != (len(images),):
        raise DataError(
            f"{place}: labels must be of shape ({len(images)},), one per image, got {labels.shape}."
            f"{_hint_of_shape(images, labels)}"
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"{place}: labels must be integers from 0, got {labels.dtype}. {_cure_of_type(labels)}")
    arrays = Arrays(images, labels.astype(np.int64))
    if arrays.labels.min() < 0:
        raise DataError(
            f"{place}: labels must be 0 or above, got {arrays.labels.min()}. Number them anew: {_NUMBERED}."
        )
    return arrays


def _hint_of_shape(images: NDArray[np.generic], labels: NDArray[np.generic]) -> str:
    """Return what may be wrong with labels that are not one per image."""
    if labels.ndim == 2 and len(labels) == len(images) and labels.shape[1] > 1:
        return " Of one column per class, take the largest: labels.argmax(1)."
    if labels.size == len(images):
        return " Flatten them: labels.reshape(-1)."
    if images.ndim > 2 and labels.shape == (images.shape[-1],):
        return " The images stand last in their array: np.moveaxis(images, -1, 0)."
    return " Images and labels may belong to different files."


def _cure_of_type(labels: NDArray[np.generic]) -> str:
    """Return what to do with labels that are no integers."""
    if labels.dtype == np.bool_:
        return "Convert with .astype(int)."
    if np.issubdtype(labels.dtype, np.floating):
        if np.isnan(labels).any():
            return f"Leave out the {int(np.isnan(labels).sum())} images whose label is NaN."
        if not (labels % 1).any():
            return "Convert with .astype(int)."
        if len(np.unique(labels)) > len(labels) / 2:
            return "Measured values cannot be learned: bnlab trains on classes."
    return f"Number them: {_NUMBERED}."


def _check_images(images: NDArray[np.generic], place: str) -> None:
    """Check shape, type and values of images.

    Raises:
        DataError: One of them is wrong.
    """
    if images.ndim not in {2, 3, 4}:
        raise DataError(f"{place}: images must be (N,H,W), (N,H,W,C) or (N,D), got shape {images.shape}. Reshape them.")
    if len(images) == 0:
        raise DataError(f"{place}: images must not be empty, got shape {images.shape}. Write the file anew.")
    if images.ndim == 4 and images.shape[3] not in {1, 2, 3, 4}:
        first = images.shape[1] in {1, 2, 3, 4}
        cure = "Move the channels last: images.transpose(0, 2, 3, 1)." if first else "Keep at most 4 channels."
        if len(set(images.shape[1:])) == 1:
            cure = "Of volumes, take slices: images[:, :, :, SLICE]."
        raise DataError(f"{place}: images of 4 axes must be (N,H,W,C) with 1 to 4 channels, got {images.shape}. {cure}")
    if images.size == 0:
        raise DataError(f"{place}: images must have pixels, got shape {images.shape}. Write the file anew.")
    if not (np.issubdtype(images.dtype, np.number) or images.dtype == np.bool_) or np.iscomplexobj(images):
        raise DataError(f"{place}: images must be real numbers, got {images.dtype}. Convert with .astype(np.float32).")
    if images.dtype.itemsize == 1:
        return  # bytes are neither NaN nor large
    if np.issubdtype(images.dtype, np.floating):
        odd = ~np.isfinite(images.reshape(len(images), -1)).all(axis=1)
        if odd.any():
            cure = "Replace them, for instance with np.nan_to_num."
            columns = np.flatnonzero(~np.isfinite(images.reshape(len(images), -1)).all(axis=0))
            if images.ndim == 2 and len(columns) == 1 and odd.sum() > 1:
                cure = f"All are in column {columns[0]}: leave it out, np.delete(images, {columns[0]}, 1)."
            num_odd, first_odd = int(odd.sum()), int(odd.argmax())
            raise DataError(f"{place}: {num_odd} images hold NaN or infinity, the first is number {first_odd}. {cure}")
    largest = max(abs(float(images.min())), abs(float(images.max())))
    if largest > _LARGEST_PIXEL:
        raise DataError(
            f"{place}: pixels must be at most {_LARGEST_PIXEL:g} in size, got {largest:g}. Divide them by a constant."
        )


def check_classes(train: Arrays, official: dict[str, Arrays], place: str) -> int:
    """Return the number of classes: labels run from 0 without a gap, and official splits have no other.

    Args:
        train: All images that are in no official split.
        official: The official validation and test images, where there are some, by the name of the split.
        place: The file or data set, which the message names.

    Raises:
        DataError: Fewer than two classes, a gap in the labels, or a label of an official split out of range.
    """
    present = np.unique(train.labels)
    num_classes = len(present)
    if num_classes < 2:
        raise DataError(
            f"{place}: labels must hold at least two classes, got only {present.tolist()}. Add images of another class."
        )
    if present[-1] != num_classes - 1:
        missing = np.setdiff1d(np.arange(num_classes), present)[:5].tolist()
        raise DataError(
            f"{place}: labels must run from 0 without a gap: the largest is {present[-1]}, but {missing} never occur. "
            f"Number them anew: {_NUMBERED}."
        )
    for name, split in official.items():
        if split.labels.max() >= num_classes:
            raise DataError(
                f"{place}: {name} labels must be classes of the training images, 0 to {num_classes - 1}, "
                f"got {split.labels.max()}. They may belong to different data sets."
            )
    return num_classes


def check_all_trained(train: Arrays, num_classes: int, place: str) -> None:
    """Check that each class has a training image.

    Args:
        train: The training images that are left after validation and test images are drawn.
        num_classes: The number of classes of the whole data set.
        place: The file or data set, which the message names.

    Raises:
        DataError: A class has none.
    """
    counts = np.bincount(train.labels, minlength=num_classes)
    if counts.min() == 0:
        raise DataError(
            f"{place}: each of the {num_classes} classes needs a training image, none is left of class "
            f"{int(counts.argmin())}. "
            "Add images of it, or lower data.validation_share or data.test_share."
        )


def check_same_shape(train: Arrays, official: dict[str, Arrays], place: str) -> None:
    """Check that training images and those of official splits are of one shape.

    Args:
        train: The training images.
        official: The official validation and test images, where there are some, by the name of the split.
        place: The file or data set, which the message names.

    Raises:
        DataError: The shapes differ.
    """
    for name, split in official.items():
        if train.images.shape[1:] != split.images.shape[1:]:
            raise DataError(
                f"{place}: training and {name} images must be of one shape, got {train.images.shape[1:]} and "
                f"{split.images.shape[1:]}. They may belong to different data sets."
            )
