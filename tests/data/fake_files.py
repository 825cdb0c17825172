"""Writes small data files in the official layouts, and the config of a data set. Shared by the tests of bnlab.data."""

import gzip
import hashlib
import io
import struct
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from bnlab.schema import DataConfig

CONF = Path(__file__).resolve().parents[2] / "conf" / "data"
Listing = list[tuple[str, int, int]]
IDX_NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def data_config(name: str, /, **changes: Any) -> DataConfig:
    values = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    return DataConfig.model_validate({"size": None, **values, **changes})


def listing(folder: Path) -> Listing:
    entries = [(path, path.stat()) for path in sorted(folder.rglob("*"))]
    return [(str(path), stat.st_size, stat.st_mtime_ns) for path, stat in entries]


def said(error: BaseException, *words: str) -> str:
    """Check that a message is one to three lines long and holds these words; return it."""
    message = str(error)
    assert 1 <= len(message.splitlines()) <= 3, message
    for word in words:
        assert word in message, f"{word!r} is not in: {message}"
    return message


def idx_bytes(values: np.ndarray) -> bytes:
    codes = {"uint8": 8, "int8": 9, "int16": 11, "int32": 12, "float32": 13, "float64": 14}
    header = bytes([0, 0, codes[values.dtype.name], values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    return header + values.astype(values.dtype.newbyteorder(">")).tobytes()


def idx_contents(num_train: int = 40, num_test: int = 20, zipped: bool = True) -> dict[str, bytes]:
    """Return MNIST's four files, small: name -> content."""
    random = np.random.default_rng(0)
    arrays = []
    for num_images in (num_train, num_test):
        arrays += [random.integers(0, 256, (num_images, 6, 5), np.uint8), (np.arange(num_images) % 4).astype(np.uint8)]
    contents = {name: idx_bytes(values) for name, values in zip(IDX_NAMES, arrays, strict=True)}
    return {f"{name}.gz": gzip.compress(content) for name, content in contents.items()} if zipped else contents


def write_all(folder: Path, contents: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


def cifar_pickle(images_NHWC: np.ndarray, labels: list[int], label_key: str) -> bytes:
    """Return a batch as Python 2 and the NumPy of 2009 pickled it: str for bytes, and 0 and 1 for False and True."""

    def text(content: bytes) -> bytes:
        return b"T" + struct.pack("<i", len(content)) + content

    def array(rows: np.ndarray) -> bytes:
        dtype = (
            b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R(K\x03" + text(b"|") + b"NNN" + b"J\xff\xff\xff\xff" * 2
        )
        shape = b"".join(b"J" + struct.pack("<i", size) for size in rows.shape)
        start = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
        return start + b"(K\x01" + shape + b"\x86" + dtype + b"K\x00tb" + b"\x89" + text(rows.tobytes()) + b"tb"

    rows = images_NHWC.transpose(0, 3, 1, 2).reshape(len(images_NHWC), -1)
    items = b"".join(b"K" + bytes([label]) for label in labels)
    listed = b"](" + items + b"e"
    return b"\x80\x02}(" + text(b"data") + array(rows) + text(label_key.encode()) + listed + b"u."


def cifar_contents(names: list[str], num_per_file: int, label_key: str = "labels") -> dict[str, bytes]:
    """Return CIFAR's files, small: name -> content. Their images are those of cifar_images, in this order."""
    images, labels = cifar_images(len(names) * num_per_file)
    contents = {}
    for index, name in enumerate(names):
        part = slice(index * num_per_file, (index + 1) * num_per_file)
        contents[name] = cifar_pickle(images[part], labels[part].tolist(), label_key)
    return contents


def cifar_images(num_images: int) -> tuple[np.ndarray, np.ndarray]:
    images = np.random.default_rng(1).integers(0, 256, (num_images, 32, 32, 3), np.uint8)
    return images, np.arange(num_images) % 2


def tar_gz(contents: dict[str, bytes]) -> bytes:
    """Return an archive of files: path inside -> content."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as tar:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
