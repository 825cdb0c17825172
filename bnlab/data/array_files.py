"""Reads named arrays from NPZ files and MATLAB's .mat files; nothing in them is executed."""

import contextlib
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnlab.data.arrays import LABELS, Arrays, checked
from bnlab.data.files import BROKEN, why
from bnlab.errors import DataError

NamedArrays = dict[str, NDArray[np.generic]]

WRITE_ANEW = "Write it with np.savez(path, images=..., labels=...), numbers only."
_SMALLER = "Save fewer or smaller images, pixels as np.uint8."

_KINDS = {
    b"\x93NUMPY": "a single array, as np.save writes it",
    b"\x1f\x8b": "gzipped",
    b"\x89HDF": "HDF5",
    b"\x80": "a pickle, which bnlab does not load",
    b"MATLAB": "one of MATLAB's, whose names end in .mat",
}
"""The first bytes of other files that people have -> what they are."""

_SAVE_ANEW = "Save it with save(..., '-v7') in MATLAB, or scipy.io.savemat, numbers only."


def read_npz_files(files: Mapping[str, Path]) -> dict[str, Arrays]:
    """Read ``images`` and ``labels`` from NPZ files, one per split; other arrays in them are ignored.

    Args:
        files: Split -> NPZ file, that of the training images first.

    Raises:
        DataError: One cannot be read, lacks an array, or an array is of the wrong shape or type.
    """
    raw = {split: _images_and_labels(path) for split, path in files.items()}
    together = {LABELS[split]: arrays["labels"] for split, arrays in raw.items()}
    return {
        split: checked(arrays["images"], arrays["labels"], str(files[split]), together) for split, arrays in raw.items()
    }


def _images_and_labels(path: Path) -> NamedArrays:
    names = array_names(path)
    if not {"images", "labels"} <= set(names):
        raise DataError(
            f"{path} must hold arrays 'images' and 'labels', got {', '.join(names) or 'none'}. {WRITE_ANEW}"
        )
    return read_arrays(path, ["images", "labels"])


def array_names(path: Path) -> list[str]:
    """Return the names of the arrays in an NPZ or .mat file; no array is read.

    Args:
        path: The file, one of MATLAB's if its name ends in ``.mat``.

    Raises:
        DataError: It is not there, or of another kind.
    """
    with _in_one_sentence(path):
        return _mat_names(path) if is_mat(path) else _npz_names(path)


def read_arrays(path: Path, names: Iterable[str]) -> NamedArrays:
    """Read some of the arrays of an NPZ or .mat file.

    Args:
        path: The file, one of MATLAB's if its name ends in ``.mat``.
        names: The names of arrays that are in it.

    Raises:
        DataError: The file is damaged, or one of them is no array of plain values.
    """
    wanted = list(names)
    with _in_one_sentence(path):
        arrays = _mat_arrays(path, wanted) if is_mat(path) else _npz_arrays(path, wanted)
    for name, values in arrays.items():
        # NumPy returns the bytes of a member that is no array; MATLAB's cells and structs are arrays of objects
        if not isinstance(values, np.ndarray) or values.dtype == object or values.dtype.names:
            raise DataError(f"{path}: '{name}' is no array of numbers. {_cure(path)}")
    return arrays


def is_mat(path: Path) -> bool:
    """Return whether a file is one of MATLAB's, by its name."""
    return path.suffix.lower() == ".mat"


@contextlib.contextmanager
def _in_one_sentence(path: Path) -> Iterator[None]:
    """Turn what readers raise into one sentence.

    Raises:
        DataError: The file cannot be read.
    """
    kind = "a .mat file" if is_mat(path) else "NPZ"
    try:
        if not path.is_file():  # a device such as /dev/zero has no end
            fault = "no regular file" if path.exists() else "not there"
            raise DataError(f"{path} is {fault}. Give the path of an .npz file.")
        yield
    except DataError:
        raise
    except MemoryError as error:
        raise DataError(f"{path} does not fit into memory ({why(error)}). {_SMALLER}") from error
    except NotImplementedError as error:  # MATLAB's newest format is HDF5, which scipy does not read
        fault = "it was saved with -v7.3" if is_mat(path) else why(error)
        raise DataError(f"{path} cannot be read as {kind}: {fault}. {_cure(path)}") from error
    except (*BROKEN, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read as {kind} ({why(error)}). {_cure(path)}") from error
    except Exception as error:
        if not is_mat(path):
            raise
        # scipy raises many for a damaged file, of its own and Python's: it trusts what the file says of itself
        raise DataError(f"{path} cannot be read as {kind} ({why(error)}). {_cure(path)}") from error


def _cure(path: Path) -> str:
    return _SAVE_ANEW if is_mat(path) else WRITE_ANEW


def _npz_names(path: Path) -> list[str]:
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path} is not an NPZ file{_what_it_is(path)}. {WRITE_ANEW}")
    with zipfile.ZipFile(path) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist()]


def _npz_arrays(path: Path, names: list[str]) -> NamedArrays:
    # opened here, since np.load leaves a damaged file open
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return {name: _plain(arrays, name, path) for name in names}


def _plain(arrays: Any, name: str, path: Path) -> NDArray[np.generic]:
    """Return an array of an open NPZ file.

    Raises:
        DataError: It holds Python objects, which may run any code when they are loaded.
        ValueError: It is damaged.
    """
    try:
        values: NDArray[np.generic] = arrays[name]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise DataError(
            f"{path}: '{name}' is an array of Python objects, which bnlab does not load. "
            "Save numbers: np.savez(path, images=np.stack(images), labels=labels.astype(int))."
        ) from error
    return values


def _what_it_is(path: Path) -> str:
    """Return a few words about a file that is no NPZ file, by its first bytes."""
    with path.open("rb") as file:
        beginning = file.read(8)
    if not beginning:
        return ": it is empty"
    kinds = (f": it is {word}" for magic, word in _KINDS.items() if beginning.startswith(magic))
    return next(kinds, ", or it is cut off")


def _mat_names(path: Path) -> list[str]:
    return [name for name, _, _ in _scipy_io().whosmat(path, appendmat=False)]


def _mat_arrays(path: Path, names: list[str]) -> NamedArrays:
    found: dict[str, Any] = _scipy_io().loadmat(path, variable_names=names, appendmat=False)
    return {name: found[name] for name in names}


def _scipy_io() -> Any:
    import scipy.io  # noqa: PLC0415  (it takes 0.3 s, and few have such files)

    return scipy.io
