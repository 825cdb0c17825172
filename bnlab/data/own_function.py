"""Data of a user's own function: arrays, tensors, or data sets of torch's kind, for one split or for several.

| what it returns | what it is |
|---|---|
| a pair (images, labels) | one set, from which validation and test images are drawn |
| a data set of pairs (image, label), with a length | the same |
| {"train": ..., "val": ..., "test": ...} | a pair or a data set for each split; those that are missing are drawn |

Arrays are (N, H, W), (N, H, W, C) or (N, D), as in an NPZ file. Tensors, and the tensors in a data set, have their
channels first, (N, C, H, W), as torch has them. Images of PIL are taken as they are.
"""

import functools
import hashlib
import inspect
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnlab.data.arrays import SourceData, checked
from bnlab.errors import BnlabError, DataError
from bnlab.plugins import load_object

_NAMES = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}

_hashes: dict[int, str] = {}

_CURE = (
    "Return (images, labels), a data set of such pairs, or {'train': ..., 'val': ..., 'test': ...} with one for each."
)


def read_own_function(place: str, split_seed: int) -> SourceData:
    """Call a function, and return what it returns as arrays; it is called once in a process.

    Args:
        place: The value of ``data=``, ``package.module:function``.
        split_seed: The value of data.split_seed, for a function with a parameter of this name.

    Raises:
        ConfigError: There is no such function.
        DataError: It fails, or returns something else than images and labels.
    """
    function = load_object(place, f"data={place}", "It is read as package.module:function.")
    if isinstance(function, SourceData):
        return function
    if not callable(function):
        raise DataError(f"data={place} must be a function, got {type(function).__name__}. {_CURE}")
    return _called(function, place, split_seed)


def content_of_own_function(place: str, split_seed: int) -> str:
    """Return a hash of the images and labels that a function returns.

    Args:
        place: The value of ``data=``, ``package.module:function``.
        split_seed: The value of data.split_seed.
    """
    return content_of(read_own_function(place, split_seed))


def content_of(source: SourceData) -> str:
    """Return a hash of all images and labels of a data set.

    Args:
        source: The data set; the hash is kept as long as it is.
    """
    if id(source) not in _hashes:
        _hashes[id(source)] = _hash_of(source)
        weakref.finalize(source, _hashes.pop, id(source), None)
    return _hashes[id(source)]


def as_source(returned: Any, place: str) -> SourceData:
    """Return images and labels, given in any of the forms that a function may return, as arrays.

    Args:
        returned: What the function returned.
        place: What the message begins with.

    Raises:
        DataError: It is of another form.
    """
    if isinstance(returned, Mapping):
        unknown = [key for key in returned if key not in _NAMES]
        if unknown or "train" not in returned:
            raise DataError(
                f"{place} must be split into train, val, test, got {', '.join(map(str, returned))}. {_CURE}"
            )
        parts = {_NAMES[key]: value for key, value in returned.items()}
    else:
        parts = {"train": returned}
    arrays = {}
    for split, part in parts.items():
        where = place if len(parts) == 1 else f"{place}, {split}"
        images, labels = _images_and_labels(part, where)
        arrays[split] = checked(images, labels, where)
    return SourceData(arrays["train"], arrays.get("test"), place, arrays.get("validation"))


@functools.lru_cache(maxsize=2)
def _called(function: Callable[..., Any], place: str, split_seed: int) -> SourceData:
    """Call a function.

    Raises:
        DataError: It fails.
        BnlabError: Raised by the function itself.
    """
    try:
        takes_seed = "split_seed" in inspect.signature(function).parameters
        returned = function(**({"split_seed": split_seed} if takes_seed else {}))
    except BnlabError:
        raise
    except (Exception, SystemExit) as error:  # somebody's own function may raise anything
        said = (str(error).strip().splitlines() or [""])[0]
        raise DataError(f"data={place} fails when it is called: {type(error).__name__}: {said}") from error
    return as_source(returned, f"data={place}")


def _hash_of(source: SourceData) -> str:
    digest = hashlib.sha256()
    for name, arrays in {"train": source.train, **source.official}.items():
        for values in (arrays.images, arrays.labels):
            fixed = np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<"), copy=False))
            digest.update(f"{name} {fixed.dtype.str} {fixed.shape}".encode())
            digest.update(fixed.data)
    return digest.hexdigest()


def _images_and_labels(part: Any, place: str) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    """Return the arrays of a pair, or of a data set.

    Raises:
        DataError: It is neither.
        BnlabError: Raised by the data set itself.
    """
    if isinstance(part, tuple | list) and len(part) == 2 and hasattr(part[0], "shape"):
        images, labels = part
        return _array(images, many=True), _array(labels)
    if not (hasattr(part, "__len__") and hasattr(part, "__getitem__")):
        raise DataError(
            f"{place} is neither a pair of arrays nor a data set with a length: {type(part).__name__}. {_CURE}"
        )
    try:
        pairs = [part[i] for i in range(len(part))]
        images = [_array(image, one=True) for image, _ in pairs]
        labels = [int(label) for _, label in pairs]
    except BnlabError:
        raise
    except Exception as error:  # somebody's own data set may raise anything
        said = (str(error).strip().splitlines() or [""])[0]
        raise DataError(
            f"{place}: an item is no pair (image, label): {type(error).__name__}: {said}. {_CURE}"
        ) from error
    shapes = {image.shape for image in images}
    if len(shapes) > 1:
        some = " and ".join(str(shape) for shape in sorted(shapes)[:2])
        raise DataError(f"{place}: all images must be of one shape, got {some}. Resize them in the data set.")
    return np.stack(images) if images else np.empty((0, 1)), np.array(labels, np.int64)


def _array(values: Any, *, many: bool = False, one: bool = False) -> NDArray[np.generic]:
    """Return an array; of a tensor with channels first, with the channels last."""
    if not hasattr(values, "detach"):
        return np.asarray(values)
    array: NDArray[np.generic] = values.detach().cpu().numpy()
    num_axes = array.ndim - many
    if num_axes != 3 or not (many or one):
        return array
    return array.squeeze(-3) if array.shape[-3] == 1 else np.moveaxis(array, -3, -1)
