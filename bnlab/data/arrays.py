"""The result of every source: images and labels as NumPy arrays, checked before they are used."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bnlab.data.label_cures import LabelArrays, cure_of_type, hint_of_shape, keeping_trained, numbering, strays
from bnlab.errors import DataError

LABELS = {"train": "labels", "validation": "val_labels", "test": "test_labels"}
"""Split -> the usual name of its labels."""

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
        label_names: Split -> what to type for its labels, as in `LabelArrays`.
        warnings: One to three lines for each thing that is probably a mistake.
    """

    train: Arrays
    test: Arrays | None
    found_in: str
    validation: Arrays | None = None
    label_names: Mapping[str, str] = field(default_factory=lambda: LABELS)
    warnings: tuple[str, ...] = ()

    @property
    def official(self) -> dict[str, Arrays]:
        """The official test and validation images, where there are some, by the name of the split."""
        there = {"test": self.test, "validation": self.validation}
        return {name: arrays for name, arrays in there.items() if arrays is not None}


def checked(
    images: NDArray[np.generic], labels: NDArray[np.generic], place: str, together: LabelArrays | None = None
) -> Arrays:
    """Check images and labels, and return them.

    Args:
        images: An array to be used as images.
        labels: An array to be used as labels.
        place: The file or data set, which the message names.
        together: All label arrays of the data set, for the cure; None: these are the only ones.

    Raises:
        DataError: Wrong shapes, types or values.
    """
    together = together or {LABELS["train"]: labels}
    _check_images(images, place)
    if labels.shape != (len(images),):
        raise DataError(
            f"{place}: labels must be of shape ({len(images)},), one per image, got {labels.shape}."
            f"{hint_of_shape(images, labels)}"
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise DataError(
            f"{place}: labels must be integers from 0, got {labels.dtype}. {cure_of_type(labels, together)}"
        )
    arrays = Arrays(images, labels.astype(np.int64))
    if arrays.labels.min() < 0:
        raise DataError(f"{place}: labels must be 0 or above, got {arrays.labels.min()}. {numbering(together)}")
    return arrays


def _cure_of_odd(images: NDArray[np.generic]) -> str:
    """Return what to do with images that hold NaN or infinity.

    By itself np.nan_to_num puts the largest number of the type in infinity's place, which no image may hold.
    """
    finite = images[np.isfinite(images)]
    if not np.isinf(images).any():
        return "Leave them out, or replace NaN by 0: np.nan_to_num(images)."
    if not finite.size:
        return "Leave them out."
    ends = f"posinf={float(finite.max())!r}, neginf={float(finite.min())!r}"
    return f"Leave them out, or put the nearest finite value in their place: np.nan_to_num(images, {ends})."


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
            cure = _cure_of_odd(images)
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


def check_classes(source: SourceData, place: str) -> int:
    """Return the number of classes: labels run from 0 without a gap, and official splits have no other.

    Args:
        source: All images, with the official splits where there are some.
        place: The file or data set, which the message names.

    Raises:
        DataError: Fewer than two classes, a gap in the labels, or a label of an official split out of range.
    """
    present = np.unique(source.train.labels)
    num_classes, names = len(present), source.label_names
    if num_classes < 2:
        raise DataError(
            f"{place}: labels must hold at least two classes, got only {present.tolist()}. Add images of another class."
        )
    for name, split in source.official.items():
        if len(others := strays(split.labels, present)):
            raise DataError(
                f"{place}: {name} labels must be classes of the training images, got {_listed(others)}, which none of "
                f"them has. They may belong to different data sets. Else {keeping_trained(names[name], names['train'])}"
            )
    if present[-1] != num_classes - 1:
        missing = np.setdiff1d(np.arange(num_classes), present)[:5].tolist()
        together = {"train": source.train, **source.official}
        raise DataError(
            f"{place}: labels must run from 0 without a gap: the largest is {present[-1]}, but {missing} never occur. "
            f"{numbering({names[split]: arrays.labels for split, arrays in together.items()})}"
        )
    return num_classes


def _listed(values: NDArray[np.generic]) -> str:
    some = ", ".join(map(str, values[:5].tolist()))
    return some if len(values) <= 5 else f"{some} and {len(values) - 5} more"


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
        train: The training images, (N, ...), whose shape the others must have.
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
