"""What a data set holds, as one short text: the same wherever its files lie, another if they hold something else."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bnlab.data.arrays import SourceData
from bnlab.data.image_folder import image_files
from bnlab.data.locations import (
    CIFAR_PLACES,
    IDX_FOLDERS,
    cache_folder,
    data_root,
    find_npz_pair,
    official_layout,
    without_tilde,
)
from bnlab.data.own_files import own_files
from bnlab.data.own_function import content_of_own_function
from bnlab.data.remembered import remembered
from bnlab.data.sources import read_from_root, read_official_layout
from bnlab.errors import DataError
from bnlab.schema import DataConfig

_OFFICIAL = {
    "mnist": (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    "fashion_mnist": (
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
}
"""SHA-256 of the official IDX files, unpacked: training images, training labels, test images, test labels.

Made from files whose MD5 is the one in torchvision.datasets.mnist; those of Fashion-MNIST's training files are the
values that several projects publish beside the same values for the test files.
"""


def content_fingerprint(config: DataConfig) -> str | None:
    """Return a hash of the data that would be read, or None where the name of the data set says it all.

    None stands for data sets that are made on the spot or lie inside of a package, for the official images of MNIST
    and Fashion-MNIST in whatever form, for the official files of CIFAR-10 and CIFAR-100 (a pair of NPZ files with the
    same images has a hash), and for those that are not here yet and would be downloaded. Only content counts: where
    the files lie, whether they are gzipped, and whether pixels are stored as bytes or as floats changes nothing. For
    data=npz it is the SHA-256 of the file as it is; where a second file holds the test images, both count. For
    data=folder it is one over the files and their names, for a function of the user's over what it returns.

    Nothing is downloaded. Files are read once as long as they do not change (see bnlab.data.remembered).

    Args:
        config: The name of the data set, and its place.

    Raises:
        DataError: The files that the user points at are not there, or damaged.
    """
    if ":" in config.name:
        return content_of_own_function(config.name, config.split_seed)
    try:
        if config.name == "folder" and config.path is not None:
            return _of_folder(config.path)
        if config.name == "npz" and config.path is not None:
            return _of_own_file(config.path)
        if config.name in IDX_FOLDERS or config.name in CIFAR_PLACES:
            return _of_set(config)
    except OSError as error:
        place = f"data.path={config.path}" if config.name == "npz" else f"data={config.name}"
        cure = "Give the path of an .npz file." if config.name == "npz" else "Point data.root at the right folder."
        raise DataError(f"{place} cannot be read: {error.strerror}. {cure}") from error
    return None


def _of_own_file(given: str) -> str | None:
    """Return the SHA-256 of the file that data.path names; of two files, one over both of theirs.

    Raises:
        DataError: It has no end, or its folder is that of a user who does not exist.
    """
    files = own_files(given)
    path = files[0]
    if str(path).startswith("~"):
        raise DataError(f"data.path={given}: there is no such user. Give the path of an .npz file.")
    if path.exists() and not path.is_file() and not path.is_dir():  # a device such as /dev/zero has no end
        raise DataError(f"data.path={given} is no regular file. Give the path of an .npz file.")
    return remembered("npz", files, lambda: _joined([_file_digest(file) for file in files]))


def _of_folder(given: str) -> str | None:
    root = without_tilde(given)
    files = image_files(given)
    names = [str(path.relative_to(root).as_posix()) for path in files]

    def compute() -> str:
        return _joined([" ".join(names), *map(_file_digest, files)])

    return remembered("folder", files, compute)


def _joined(digests: Sequence[str]) -> str:
    return digests[0] if len(digests) == 1 else hashlib.sha256(" ".join(digests).encode()).hexdigest()


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _of_set(config: DataConfig) -> str | None:
    """Return the fingerprint of a set that torchvision has too.

    Raises:
        DataError: The user points at a folder that does not hold it whole.
    """
    name, root = config.name, data_root(config)
    try:
        files = official_layout(root or cache_folder(), name)
    except DataError:  # without a home folder, none has been downloaded
        return None
    are_batches = name in CIFAR_PLACES and bool(files)  # read only if their MD5s are the official ones

    def compute() -> str | None:
        source = read_from_root(root, config) if root else read_official_layout(cache_folder(), name)
        return None if are_batches or source is None else _of_arrays(name, source)

    if root is None:
        try:
            return remembered(name, files, compute) if files else None
        except DataError:  # what is damaged in the cache is fetched again, and is the official one then
            return None
    files = files or list(find_npz_pair(root, name) or [])
    return remembered(name, files, compute) if files else compute()


def _of_arrays(name: str, source: SourceData) -> str | None:
    parts = [source.train] + ([source.test] if source.test else [])
    digests = tuple(_array_digest(values) for part in parts for values in (part.images, part.labels))
    if digests == _OFFICIAL.get(name):
        return None
    return _joined(digests)


def _array_digest(values: NDArray[np.generic]) -> str:
    """Return the SHA-256 of an array: of its IDX file, if its values are whole numbers from 0 to 255."""
    with np.errstate(invalid="ignore"):  # of floats that no byte can hold, which then differ
        as_bytes = values.astype(np.uint8, copy=False)
    if as_bytes is values or np.array_equal(as_bytes, values):
        header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes()
        values = as_bytes
    else:
        values = values.astype(values.dtype.newbyteorder("<"), copy=False)
        header = f"{values.dtype.str} {values.shape}".encode()
    digest = hashlib.sha256(header)
    digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()
