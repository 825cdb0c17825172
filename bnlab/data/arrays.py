"""What every source gives: images and labels as NumPy arrays, checked before anything is spent on them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bnlab.errors import DataError


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
    """A data set as it lies on disk.

    Attributes:
        train: What training and validation images are drawn from; the test images too, if there is no ``test``.
        test: The official test set, where there is one.
        found_in: Where it was read from, for people.
    """

    train: Arrays
    test: Arrays | None
    found_in: str


def checked(images: NDArray[np.generic], labels: NDArray[np.generic], place: str) -> Arrays:
    """Check images and labels, and return them.

    Args:
        images: What should be images.
        labels: What should be labels.
        place: File or data set, named in the message.

    Raises:
        DataError: Wrong shapes, types or values.
    """
    if images.ndim not in {2, 3, 4}:
        raise DataError(f"{place}: images must be (N,H,W), (N,H,W,C) or (N,D), got shape {images.shape}.")
    if images.ndim == 4 and images.shape[3] not in {1, 2, 3, 4}:
        hint = "Move the channels last: images.transpose(0, 2, 3, 1)." if images.shape[1] in {1, 2, 3, 4} else ""
        raise DataError(f"{place}: images of 4 axes must be (N,H,W,C) with 1 to 4 channels, got {images.shape}. {hint}")
    if len(images) == 0:
        raise DataError(f"{place}: there are no images in it.")
    if 0 in images.shape:
        raise DataError(f"{place}: images must not be empty, got shape {images.shape}.")
    if not (np.issubdtype(images.dtype, np.number) or images.dtype == np.bool_) or np.iscomplexobj(images):
        raise DataError(f"{place}: images must be real numbers, got {images.dtype}.")
    if labels.shape != (len(images),):
        raise DataError(f"{place}: labels must be ({len(images)},), one per image, got shape {labels.shape}.")
    if not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"{place}: labels must be integers from 0, got {labels.dtype}. Convert with .astype(int).")
    if np.issubdtype(images.dtype, np.floating):
        odd = ~np.isfinite(images.reshape(len(images), -1)).all(axis=1)
        if odd.any():
            raise DataError(
                f"{place}: {int(odd.sum())} images hold NaN or infinity, the first is number {int(odd.argmax())}. "
                "Replace them, for instance with np.nan_to_num."
            )
    if labels.min() < 0:
        raise DataError(f"{place}: labels must be 0 or above, got {labels.min()}.")
    return Arrays(images, labels.astype(np.int64))


def check_classes(train: Arrays, test: Arrays, place: str) -> int:
    """Return the number of classes; every class that is tested must have been trained.

    Args:
        train: All images that are not test images.
        test: The test images.
        place: File or data set, named in the message.

    Raises:
        DataError: Fewer than two classes, a gap in the labels, or a test label out of range.
    """
    present = np.unique(train.labels)
    num_classes = len(present)
    if num_classes < 2:
        raise DataError(f"{place}: labels must hold at least two classes, got only {present.tolist()}.")
    if present[-1] != num_classes - 1:
        missing = sorted(set(range(int(present[-1]))) - set(present.tolist()))[:5]
        raise DataError(
            f"{place}: labels must run from 0 without a gap: the largest is {present[-1]}, but {missing} never occur. "
            "Number them anew with np.unique(labels, return_inverse=True)."
        )
    if test.labels.max() >= num_classes:
        raise DataError(
            f"{place}: a test label is out of range: {test.labels.max()}, with {num_classes} classes in training."
        )
    return num_classes


def check_same_shape(train: Arrays, test: Arrays, place: str) -> None:
    """Check that training and test images are of one shape.

    Raises:
        DataError: They differ.
    """
    if train.images.shape[1:] != test.images.shape[1:]:
        raise DataError(
            f"{place}: training images are {train.images.shape[1:]}, test images {test.images.shape[1:]}: "
            "they must be of one shape."
        )
