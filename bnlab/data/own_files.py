"""The user's own arrays, under the names that people give them: bnlab's, Keras', MedMNIST's, and MATLAB's.

| layout | training images and labels | validation, if any | test, if any |
|---|---|---|---|
| bnlab | `images` `labels` | `val_images` `val_labels` | `test_images` `test_labels` |
| MedMNIST | `train_images` `train_labels` | `val_images` `val_labels` | `test_images` `test_labels` |
| Keras | `x_train` `y_train` | `x_val` `y_val` | `x_test` `y_test` |
| SVHN, many others | `X` `y` | `X_val` `y_val` | `X_test` `y_test` |

Upper and lower case are one. Other arrays in a file are ignored. For ``train_32x32.mat``, or any .mat file whose name
begins with train, the test images are those of ``test_32x32.mat`` beside it.

Source:
    Keras: keras.io/api/datasets. MedMNIST: Yang et al. 2023, doi 10.1038/s41597-022-01721-8. SVHN: Netzer et al. 2011,
    ufldl.stanford.edu/housenumbers.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bnlab.data.array_files import NamedArrays, array_names, is_mat, read_arrays
from bnlab.data.arrays import Arrays, SourceData, checked
from bnlab.data.locations import without_tilde
from bnlab.errors import DataError

_Pair = tuple[str, str]

_LAYOUTS: list[dict[str, _Pair]] = [
    {
        "train": ("images", "labels"),
        "validation": ("val_images", "val_labels"),
        "test": ("test_images", "test_labels"),
    },
    {
        "train": ("train_images", "train_labels"),
        "validation": ("val_images", "val_labels"),
        "test": ("test_images", "test_labels"),
    },
    {"train": ("x_train", "y_train"), "validation": ("x_val", "y_val"), "test": ("x_test", "y_test")},
    {"train": ("x", "y"), "validation": ("x_val", "y_val"), "test": ("x_test", "y_test")},
]
"""For each layout, the names of the images and of the labels by split, in lower case."""

_PAIRS = {pair for layout in _LAYOUTS for pair in layout.values()} - {("x", "y")}
"""Pairs of which one alone is a slip; x or y may be anything."""

_NAMES_TO_GIVE = "Name them images and labels: np.savez(path, images=..., labels=...)."


def own_files(given: str) -> list[Path]:
    """Return the files that are read for a value of data.path: the file, and the one with its test images.

    Args:
        given: The value of data.path.
    """
    path = without_tilde(given)
    if not (is_mat(path) and path.name.startswith("train")):
        return [path]
    beside = path.with_name(f"test{path.name.removeprefix('train')}")
    return [path, beside] if beside.is_file() else [path]


def own_splits(given: str) -> set[str]:
    """Return which splits the user's file holds itself, apart from training images; no array is read.

    Args:
        given: The value of data.path.

    Returns:
        A part of ``{"validation", "test"}``. Nothing for a file that cannot be read: that is said where it is opened.
    """
    try:
        files = own_files(given)
        splits = set(_layout_of(array_names(files[0]), files[0]))
    except (OSError, DataError):
        return set()
    return (splits | {"test"} if files[1:] else splits) - {"train"}


def read_own_file(given: str) -> SourceData:
    """Read the user's own arrays.

    Labels may also stand in a column, (N, 1) or (1, N), or be one-hot, (N, classes). Where they run from 1 to the
    number of classes, the last class becomes 0: in SVHN, 10 stands for the digit 0.

    Args:
        given: The value of data.path.

    Raises:
        DataError: A file cannot be read, or its arrays are not those of one layout, or of wrong shapes or types.
    """
    files = own_files(given)
    raw = _read(files[0])
    if files[1:]:
        if "test" in raw:
            raise DataError(f"{given} holds test images, and so does {files[1].name} beside it. Remove one of them.")
        raw["test"] = _beside(_read(files[1])["train"])
    together = {one.expression: one.labels for one in raw.values()}
    splits = {split: checked(one.images, one.labels, one.place, together) for split, one in raw.items()}
    splits = _numbered_from_0(splits)
    names = {split: one.expression for split, one in raw.items()}
    return SourceData(splits["train"], splits.get("test"), given, splits.get("validation"), names)


@dataclass(frozen=True)
class _Raw:
    """The images and labels of one split, before they are checked.

    Attributes:
        images: As they stand in the file, but for MATLAB's order of axes.
        labels: One per image, if they could be brought to this form.
        expression: What to type for such labels, as in `LabelArrays`.
        place: The file, and the array if it is not bnlab's layout.
    """

    images: NDArray[np.generic]
    labels: NDArray[np.generic]
    expression: str
    place: str


def _beside(test: _Raw) -> _Raw:
    """Return the images of the file beside a .mat file, with another name for their labels than the first file's."""
    return replace(test, expression=f"test_{test.expression}")


def _layout_of(names: list[str], path: Path) -> dict[str, _Pair]:
    """Return the names, as they stand in the file, of the images and labels of each split.

    Raises:
        DataError: There are none, half of a pair, or arrays of several layouts.
    """
    written = {name.lower(): name for name in names}
    there = f"got {', '.join(names) or 'none'}"
    halves = [pair for pair in sorted(_PAIRS) if len(written.keys() & set(pair)) == 1]
    for images, labels in halves:
        lacking, present = (images, labels) if labels in written else (labels, images)
        raise DataError(f"{path} must hold '{lacking}' beside '{written[present]}', {there}. {_NAMES_TO_GIVE}")
    whole = [layout for layout in _LAYOUTS if written.keys() >= set(layout["train"])]
    if not whole:
        raise DataError(f"{path} must hold arrays 'images' and 'labels', {there}. {_NAMES_TO_GIVE}")
    splits = {split: pair for split, pair in whole[0].items() if pair[0] in written}
    others = sorted(pair for pair in _PAIRS - set(splits.values()) if pair[0] in written)
    if others:
        first, other = written[splits["train"][0]], written[others[0][0]]
        raise DataError(f"{path} holds '{first}' and '{other}', which are of two layouts: {there}. {_NAMES_TO_GIVE}")
    return {split: (written[images], written[labels]) for split, (images, labels) in splits.items()}


def _read(path: Path) -> dict[str, _Raw]:
    """Return images and labels of each split of one file; those of the training images come first."""
    layout = _layout_of(array_names(path), path)
    arrays = read_arrays(path, [name for pair in layout.values() for name in pair])
    splits = {}
    for split, pair in layout.items():
        images, labels = _images_first(arrays, pair) if is_mat(path) else (arrays[pair[0]], arrays[pair[1]])
        place = str(path) if pair == ("images", "labels") else f"{path}, {pair[0]}"
        form, flat = _one_per_image(labels, len(images), place)
        splits[split] = _Raw(images, flat, f"{pair[1]}{form}", place)
    return splits


def _images_first(arrays: NamedArrays, pair: _Pair) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    """Return images and labels as NumPy has them: MATLAB puts the number of images last, and numbers are doubles."""
    images, labels = arrays[pair[0]], arrays[pair[1]]
    if images.ndim > 2 and images.shape[-1] == labels.size:
        images = np.ascontiguousarray(np.moveaxis(images, -1, 0))
    if np.issubdtype(labels.dtype, np.floating) and np.isfinite(labels).all() and not (labels % 1).any():
        labels = labels.astype(np.int64)
    return images, labels


def _one_per_image(labels: NDArray[np.generic], num_images: int, place: str) -> tuple[str, NDArray[np.generic]]:
    """Return labels as (N,), if they are a column, a row, or one-hot, and what brings them there; else as they are.

    Raises:
        DataError: There is a column per class, and some images have several classes, or none.
    """
    if labels.shape in {(num_images, 1), (1, num_images)}:
        return ".ravel()", labels.reshape(-1)
    is_table = labels.ndim == 2 and len(labels) == num_images and labels.dtype.kind in "biuf"
    if not is_table or not np.isin(labels, (0, 1)).all():
        return "", labels
    num_classes = labels.astype(np.int64).sum(1)
    if (num_classes != 1).any():
        first = int((num_classes != 1).argmax())
        raise DataError(
            f"{place}: each image must have one class: image {first} has {num_classes[first]} of the "
            f"{labels.shape[1]} columns of labels set. Keep the images with one, or one column of labels."
        )
    return ".argmax(1)", labels.argmax(1)


def _numbered_from_0(splits: dict[str, Arrays]) -> dict[str, Arrays]:
    """Return the splits with labels from 0, if all of them are from 1 to the number of classes: the last becomes 0."""
    present = np.unique(splits["train"].labels)
    last = len(present)
    smallest = min(split.labels.min() for split in splits.values())
    largest = max(split.labels.max() for split in splits.values())
    if not 1 == smallest <= largest == last == present[-1]:
        return splits
    return {name: Arrays(split.images, split.labels % last) for name, split in splits.items()}
