"""Reads the official data files, without ever writing beside them: IDX (gzipped or not), CIFAR's pickles."""

import gzip
import hashlib
import io
import lzma
import math
import pickle
import struct
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnlab.data.arrays import Arrays, checked
from bnlab.errors import DataError

BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError, struct.error, ValueError, RuntimeError, MemoryError)
"""The errors that Python's readers of compressed files raise for damaged files. Their manuals do not list them."""

_MAX_AXES = 4
_IDX_TYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


def read_idx(path: Path) -> NDArray[np.generic]:
    """Read one IDX file, gzipped or not.

    Args:
        path: The file, which is gzipped if its name ends in ``.gz``.

    Raises:
        DataError: It cannot be read, is truncated, or is not an IDX file.

    Source:
        The format: two zero bytes, type, number of axes, each axis' size as 4 bytes big-endian, then the
        values. It is described on the MNIST page of LeCun, Cortes & Burges.
    """
    try:
        raw = path.read_bytes()
        content = gzip.decompress(raw) if path.suffix == ".gz" else raw
    except BROKEN as error:
        raise DataError(f"{path} cannot be read ({why(error)}). Fetch it again, or remove it.") from error
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _IDX_TYPES or content[3] > _MAX_AXES:
        raise DataError(f"{path} is not an IDX file: it begins with {content[:4]!r}. Fetch it again, or remove it.")
    num_axes = content[3]
    start = 4 + 4 * num_axes
    if len(content) < start:
        raise DataError(f"{path} is truncated: its header is cut off. Fetch it again, or remove it.")
    shape = struct.unpack(f">{num_axes}I", content[4:start])
    dtype = np.dtype(_IDX_TYPES[content[2]])
    expected = start + math.prod(shape) * dtype.itemsize
    if len(content) != expected:
        raise DataError(
            f"{path} is truncated or damaged: {expected} bytes by its header, got {len(content)}. "
            "Fetch it again, or remove it."
        )
    values: NDArray[np.generic] = np.frombuffer(content, dtype, offset=start).reshape(shape)
    return values


def find_idx(folder: Path) -> list[Path] | None:
    """Return training images, training labels, test images and test labels, or None unless all four are there.

    Args:
        folder: The folder to search for the file names of the MNIST page, gzipped or not.
    """
    paths = []
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        # the unpacked file first: it reads faster; people name it with a dash or, as some unpackers do, with a dot
        stems = [f"{name}-ubyte", f"{name.replace('-idx', '.idx')}-ubyte"]
        found = [path for stem in stems for path in (folder / stem, folder / f"{stem}.gz") if path.is_file()]
        if not found:
            return None
        paths.append(found[0])
    return paths


def read_cifar(root: Path, folder: str, archive: str, lists: list[list[list[str]]]) -> list[Arrays] | None:
    """Read CIFAR's Python batches from their folder or, unless all are there, straight from the archive.

    Args:
        root: The folder that may contain the unpacked folder or the archive.
        folder: The name of the unpacked folder.
        archive: The name of the ``.tar.gz`` file.
        lists: For each split its [file name, MD5] pairs. Only files with the right MD5 are unpickled.

    Returns:
        One Arrays per split, or None where neither folder nor archive is there.

    Raises:
        DataError: A file is missing, damaged or altered.
    """
    md5s = dict(pair for files in lists for pair in files)
    missing = [name for name in md5s if not (root / folder / name).is_file()]
    if not missing:
        place, contents = root / folder, _unpacked_files(root / folder, list(md5s))
    elif (root / archive).is_file():
        place, contents = root / archive, _archived_files(root / archive, folder)
    elif (root / folder).is_dir():
        raise DataError(f"{root / folder} lacks {', '.join(missing)}. Fetch it again, or remove the folder.")
    else:
        return None
    batches = {name: _cifar_batch(place / name, content, md5s[name]) for name, content in contents if name in md5s}
    if batches.keys() != md5s.keys():
        raise DataError(f"{place} lacks {', '.join(md5s.keys() - batches.keys())}. Fetch it again, or remove it.")
    splits = []
    for files in lists:
        parts = [batches[name] for name, _ in files]
        images = np.concatenate([images for images, _ in parts]).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        splits.append(checked(images, np.concatenate([labels for _, labels in parts]), str(place)))
    return splits


def _unpacked_files(folder: Path, names: list[str]) -> Iterator[tuple[str, bytes]]:
    """Yield (name, content) of files.

    Raises:
        DataError: One cannot be read.
    """
    for name in names:
        try:
            content = (folder / name).read_bytes()
        except OSError as error:
            raise DataError(f"{folder / name} cannot be read ({why(error)}). Fetch it again, or remove it.") from error
        yield name, content


def _archived_files(archive: Path, folder: str) -> Iterator[tuple[str, bytes]]:
    """Yield (name, content) of the files of one folder of a gzipped archive.

    In the order of the archive: to go back in it means to decompress it from its start, 5 s for CIFAR-10, not 2.

    Raises:
        DataError: It is damaged.
    """
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                file = tar.extractfile(member) if member.name.startswith(f"{folder}/") else None
                if file is not None:
                    yield member.name.removeprefix(f"{folder}/"), file.read()
    except (*BROKEN, tarfile.TarError, KeyError) as error:
        raise DataError(f"{archive} is damaged ({why(error)}). Fetch it again, or remove it.") from error


def _cifar_batch(path: Path, content: bytes, md5: str) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    """Return (images, labels) of one pickle.

    Raises:
        DataError: It is not the official one.
    """
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        raise DataError(f"{path} is damaged: its MD5 is not the official one. Fetch it again, or remove it.")
    batch = _CifarUnpickler(io.BytesIO(content), encoding="latin1").load()
    return batch["data"], np.asarray(batch["labels" if "labels" in batch else "fine_labels"])


class _CifarUnpickler(pickle.Unpickler):
    """Reads pickles of 2009: their dtypes are made with 0 and 1, where NumPy 2.4.0 to 2.4.4 warns.

    Source:
        numpy/numpy pull requests 29301 (the warning) and 31177 (old pickles excepted from it).
    """

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("numpy", "dtype"):
            return lambda kind, align, copy: np.dtype(kind, align=bool(align), copy=bool(copy))
        return super().find_class(module, name)


def why(error: BaseException) -> str:
    """Return in a few words what an exception says, without the path, which stands before it already."""
    words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(words.split()) or type(error).__name__
