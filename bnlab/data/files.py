"""Reads data files, without ever writing beside them: IDX (gzipped or not), CIFAR's pickles, NPZ."""

import gzip
import hashlib
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bnlab.data.arrays import Arrays, checked
from bnlab.errors import DataError

_IDX_TYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


def read_idx(path: Path) -> NDArray[np.generic]:
    """Read one IDX file, gzipped or not.

    Args:
        path: Of the file; gzipped if its name ends in ``.gz``.

    Raises:
        DataError: It cannot be read, is truncated, or is not an IDX file.

    Source:
        The format: two zero bytes, type, number of axes, each axis' size as 4 bytes big-endian, then the
        values. It is described on the MNIST page of LeCun, Cortes & Burges.
    """
    try:
        raw = path.read_bytes()
        content = gzip.decompress(raw) if path.suffix == ".gz" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error}). Fetch it again, or remove it.") from error
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _IDX_TYPES:
        raise DataError(f"{path} is not an IDX file: it begins with {content[:4]!r}. Fetch it again, or remove it.")
    num_axes = content[3]
    start = 4 + 4 * num_axes
    if len(content) < start:
        raise DataError(f"{path} is truncated: its header is cut off. Fetch it again, or remove it.")
    shape = struct.unpack(f">{num_axes}I", content[4:start])
    dtype = np.dtype(_IDX_TYPES[content[2]])
    expected = start + int(np.prod(shape)) * dtype.itemsize
    if len(content) != expected:
        raise DataError(
            f"{path} is truncated or damaged: {expected} bytes by its header, got {len(content)}. "
            "Fetch it again, or remove it."
        )
    values: NDArray[np.generic] = np.frombuffer(content, dtype, offset=start).reshape(shape)
    return values


def read_idx_pair(folder: Path, stem: str) -> Arrays | None:
    """Read ``<stem>-images-idx3-ubyte`` and its labels from a folder, or return None if one is not there.

    Args:
        folder: Where they may lie.
        stem: ``train`` or ``t10k``.
    """
    paths = []
    for kind in ("images-idx3-ubyte", "labels-idx1-ubyte"):
        # the unpacked file first: it reads faster; torchvision and people name it with a dash or a dot
        names = [f"{stem}-{kind}", f"{stem}-{kind}.gz", f"{stem}-{kind.replace('-idx', '.idx')}"]
        found = [folder / name for name in names if (folder / name).is_file()]
        if not found:
            return None
        paths.append(found[0])
    return checked(read_idx(paths[0]), read_idx(paths[1]), str(paths[0]))


def read_npz(path: Path) -> Arrays:
    """Read ``images`` and ``labels`` from an NPZ file; nothing in it is executed.

    Args:
        path: Of the file; other arrays in it are ignored.

    Raises:
        DataError: It cannot be read, lacks an array, or an array is of the wrong shape or type.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            missing = {"images", "labels"} - set(arrays.files)
            if missing:
                raise DataError(
                    f"{path} must hold arrays 'images' and 'labels', got {', '.join(arrays.files) or 'none'}. "
                    "Write it with np.savez(path, images=..., labels=...)."
                )
            return checked(arrays["images"], arrays["labels"], str(path))
    except (
        OSError,
        EOFError,
        ValueError,
        TypeError,
        AttributeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        if isinstance(error, FileNotFoundError):
            raise DataError(f"{path} is not there. Give the path of an .npz file.") from error
        raise DataError(f"{path} cannot be read as NPZ ({error}). Write it anew with np.savez.") from error


def read_cifar(root: Path, folder: str, archive: str, lists: list[list[list[str]]]) -> list[Arrays] | None:
    """Read CIFAR's Python batches from their folder or, if there is none, straight from the archive.

    Args:
        root: Where folder or archive may lie.
        folder: Name of the unpacked folder.
        archive: Name of the ``.tar.gz``.
        lists: For each split its [file name, MD5] pairs. Only files whose MD5 is right are unpickled.

    Returns:
        One Arrays per split, or None where neither folder nor archive is there.

    Raises:
        DataError: A file is missing, damaged or altered.
    """
    if (root / folder).is_dir():
        return [
            _read_cifar_split([root / folder / name for name, _ in files], files, Path.read_bytes) for files in lists
        ]
    path = root / archive
    if not path.is_file():
        return None
    try:
        with tarfile.open(path) as tar:

            def read_member(name: Path) -> bytes:
                member = tar.extractfile(f"{folder}/{name.name}")
                if member is None:
                    raise KeyError(name.name)
                return member.read()

            return [_read_cifar_split([path / name for name, _ in files], files, read_member) for files in lists]
    except (tarfile.TarError, EOFError, zlib.error, KeyError) as error:
        raise DataError(f"{path} is damaged ({error}). Fetch it again, or remove it.") from error


def _read_cifar_split(paths: list[Path], files: list[list[str]], read: Callable[[Path], bytes]) -> Arrays:
    images, labels = [], []
    for path, (_, md5) in zip(paths, files, strict=True):
        try:
            content = read(path)
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error.strerror}). Fetch it again, or remove it.") from error
        if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
            raise DataError(f"{path} is damaged: its MD5 is not the official one. Fetch it again, or remove it.")
        batch = pickle.loads(content, encoding="latin1")  # its checksum says that it is the official file
        images.append(batch["data"])
        labels.extend(batch["labels" if "labels" in batch else "fine_labels"])
    stacked = np.concatenate(images).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return checked(stacked, np.asarray(labels), str(paths[0]))
