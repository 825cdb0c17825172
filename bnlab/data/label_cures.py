"""What to do with labels that are no classes, as a line of NumPy that can be typed as it stands."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

LabelArrays = Mapping[str, NDArray[np.generic]]
"""The label arrays of one data set, those of the training images first. A key is what to type for the labels, (N,): the
array's name in the file, or ``labels.ravel()`` for a column, ``labels.argmax(1)`` for a column per class."""


def numbering(arrays: LabelArrays) -> str:
    """Return how to number labels from 0 without a gap: all arrays by the classes of the training images.

    Each by its own classes would give one class different numbers. A class that no training image has has no number, so
    that its images come first.

    Args:
        arrays: All label arrays of the data set.
    """
    ours, *others = arrays
    stray = next((name for name in others if len(strays(arrays[name], arrays[ours]))), None)
    if stray is not None:
        return f"Some of {stray} never occur in {ours}: {keeping_trained(stray, ours)}"
    if not others:
        return f"Number them anew: {_array(ours)} = np.unique({ours}, return_inverse=True)[1]."
    lines = [f"classes = np.unique({ours})"]
    lines += [f"{_array(name)} = np.searchsorted(classes, {name})" for name in arrays]
    return f"Number all by the training classes: {'; '.join(lines)}."


def keeping_trained(others: str, ours: str) -> str:
    """Return how to find the images of classes that the network is trained on, as the end of a sentence.

    Args:
        others: What to type for the labels that hold further classes.
        ours: What to type for the training labels.
    """
    return f"keep the images where np.isin({others}, {ours})."


def strays(labels: NDArray[np.generic], of_training: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return the labels that no training image has, in order, each once."""
    return np.setdiff1d(labels, of_training)


def cure_of_type(labels: NDArray[np.generic], arrays: LabelArrays) -> str:
    """Return what to do with labels that are no integers.

    Args:
        labels: One of the arrays.
        arrays: All label arrays of the data set.
    """
    if labels.dtype == np.bool_:
        return "Convert with .astype(int)."
    if np.issubdtype(labels.dtype, np.floating):
        if np.isnan(labels).any():
            return f"Leave out the {int(np.isnan(labels).sum())} images whose label is NaN."
        if not (labels % 1).any():
            return "Convert with .astype(int)."
        if len(np.unique(labels)) > len(labels) / 2:
            return "Measured values cannot be learned: bnlab trains on classes."
    return numbering(arrays)


def hint_of_shape(images: NDArray[np.generic], labels: NDArray[np.generic]) -> str:
    """Return what may be wrong with labels that are not one per image."""
    if labels.ndim == 2 and len(labels) == len(images) and labels.shape[1] > 1:
        return " Of one column per class, take the largest: labels.argmax(1)."
    if labels.size == len(images):
        return " Flatten them: labels.reshape(-1)."
    if images.ndim > 2 and labels.shape == (images.shape[-1],):
        return " The images stand last in their array: np.moveaxis(images, -1, 0)."
    return " Images and labels may belong to different files."


def _array(expression: str) -> str:
    return expression.partition(".")[0]
