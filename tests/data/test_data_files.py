import gzip
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_files import cifar_contents, cifar_images, idx_bytes, listing, md5, said, tar_gz, write_all

from bnlab.data.array_files import read_npz_files
from bnlab.data.arrays import Arrays
from bnlab.data.files import find_idx, read_cifar, read_idx
from bnlab.errors import DataError

IMAGES = np.random.default_rng(3).integers(0, 256, (12, 6, 5), np.uint8)
LABELS = np.arange(12) % 3


def read_npz(path: Path) -> Arrays:
    return read_npz_files({"train": path})["train"]


def dtype_named(name: str) -> np.ndarray:
    return np.array([[-3, 0, 100], [7, 1, 2]]).astype(name)


# --- IDX


@pytest.mark.parametrize("name", ["uint8", "int8", "int16", "int32", "float32", "float64"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_gives_back_what_was_written(tmp_path: Path, name: str, suffix: str) -> None:
    values = dtype_named(name)
    content = idx_bytes(values)
    path = tmp_path / f"values{suffix}"
    path.write_bytes(gzip.compress(content) if suffix else content)
    read = read_idx(path)
    np.testing.assert_array_equal(read, values)
    assert read.dtype.newbyteorder("=") == values.dtype


IDX = idx_bytes(IMAGES)
DAMAGED_IDX = {
    "empty": b"",
    "two bytes": IDX[:2],
    "header cut off": IDX[:10],
    "body cut off": IDX[:-1],
    "too long": IDX + b"\0",
    "wrong magic": b"\x89PNG" + IDX[4:],
    "unknown type": b"\0\0\x0a\x03" + IDX[4:],
    "more axes than NumPy has": b"\0\0\x08\xff" + b"\0\0\0\x01" * 255 + b"\x07",
    "sizes beyond 64 bits": b"\0\0\x08\x04" + b"\x80\0\0\0" * 4,
}


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("damage", DAMAGED_IDX)
def test_a_damaged_idx_file_is_named_with_the_cure(tmp_path: Path, damage: str, suffix: str) -> None:
    path = tmp_path / f"train-images-idx3-ubyte{suffix}"
    path.write_bytes(gzip.compress(DAMAGED_IDX[damage]) if suffix else DAMAGED_IDX[damage])
    with pytest.raises(DataError) as caught:
        read_idx(path)
    said(caught.value, str(path), "Fetch it again, or remove it.")


def damaged(content: bytes) -> dict[str, bytes]:
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]
    return {
        "cut off": content[:middle],
        "cut off in its header": content[:5],
        "one byte flipped": flipped,
        "checksum wrong": content[:-8] + b"\0" * 8,
        "not gzipped": b"<html>404</html>",
        "empty": b"",
    }


@pytest.mark.parametrize("damage", damaged(b"0" * 99))
def test_a_damaged_gzip_file_is_named_with_the_cure(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(damaged(gzip.compress(IDX))[damage])
    with pytest.raises(DataError) as caught:
        read_idx(path)
    message = said(caught.value, str(path), "Fetch it again, or remove it.")
    assert "None" not in message


def test_an_idx_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_idx(tmp_path / "gone")
    said(caught.value, str(tmp_path / "gone"), "No such file")


def test_idx_files_are_found_only_when_all_four_are_there_under_any_of_their_names(tmp_path: Path) -> None:
    names = ["train-images-idx3-ubyte", "train-labels.idx1-ubyte", "t10k-images.idx3-ubyte.gz"]
    write_all(tmp_path, dict.fromkeys(names, b""))
    assert find_idx(tmp_path) is None
    (tmp_path / "t10k-labels-idx1-ubyte.gz").touch()
    assert find_idx(tmp_path) == [tmp_path / name for name in [*names, "t10k-labels-idx1-ubyte.gz"]]


# --- NPZ


def write_npz(path: Path, **arrays: Any) -> Path:
    np.savez_compressed(path, **arrays)
    return path


@pytest.mark.parametrize("shape", [(12, 6, 5), (12, 5, 2, 3), (12, 5, 6, 1), (12, 30)])
@pytest.mark.parametrize("name", ["uint8", "bool", "int64", "float16", "float64"])
def test_npz_gives_back_images_of_any_layout_and_type(tmp_path: Path, shape: tuple[int, ...], name: str) -> None:
    images = np.resize(IMAGES, shape).astype(name)
    arrays = read_npz(write_npz(tmp_path / "a.npz", images=images, labels=LABELS.astype(np.uint8), more=np.zeros(2)))
    np.testing.assert_array_equal(arrays.images, images)
    np.testing.assert_array_equal(arrays.labels, LABELS)
    assert (arrays.images.dtype, arrays.labels.dtype) == (images.dtype, np.int64)


def with_pixel(value: float) -> np.ndarray:
    images = IMAGES.astype(np.float64)
    images[7, 2, 1] = value
    return images


WRONG_ARRAYS = {
    "no labels": ({"images": IMAGES}, ["'images' and 'labels'", "got images", "np.savez"]),
    "no images": ({"labels": LABELS}, ["'images' and 'labels'", "got labels", "np.savez"]),
    "no arrays": ({}, ["'images' and 'labels'", "got none", "np.savez"]),
    "one axis": ({"images": LABELS, "labels": LABELS}, ["(N,H,W), (N,H,W,C) or (N,D)", "(12,)", "Reshape"]),
    "five axes": ({"images": IMAGES[None, None], "labels": LABELS}, ["(N,H,W)", "(1, 1, 12, 6, 5)", "Reshape"]),
    "channels first": (
        {"images": np.zeros((12, 3, 8, 9)), "labels": LABELS},
        ["(N,H,W,C)", "(12, 3, 8, 9)", "transpose(0, 2, 3, 1)"],
    ),
    "many channels": ({"images": np.zeros((12, 8, 9, 7)), "labels": LABELS}, ["1 to 4 channels", "(12, 8, 9, 7)"]),
    "volumes": ({"images": np.zeros((12, 7, 7, 7)), "labels": LABELS}, ["(12, 7, 7, 7)", "images[:, :, :, SLICE]"]),
    "number last": ({"images": np.zeros((6, 5, 12)), "labels": LABELS}, ["(6,)", "np.moveaxis(images, -1, 0)"]),
    "a column of NaN": (
        {"images": np.where(np.arange(30) == 7, np.nan, IMAGES.reshape(12, 30)), "labels": LABELS},
        ["12 images hold NaN", "All are in column 7", "np.delete(images, 7, 1)"],
    ),
    "labels NaN": ({"images": IMAGES, "labels": np.where(LABELS == 2, np.nan, LABELS)}, ["Leave out the", "is NaN"]),
    "measured values": ({"images": IMAGES, "labels": np.arange(12) / 7}, ["Measured values", "trains on classes"]),
    "half numbers": ({"images": IMAGES, "labels": LABELS / 2}, ["integers", "return_inverse"]),
    "no images at all": ({"images": IMAGES[:0], "labels": LABELS[:0]}, ["must not be empty", "(0, 6, 5)"]),
    "no images of four axes": ({"images": np.zeros((0, 0, 0, 0)), "labels": LABELS[:0]}, ["must not be empty"]),
    "no pixels": ({"images": IMAGES[:, :0], "labels": LABELS}, ["must have pixels", "(12, 0, 5)"]),
    "words": ({"images": IMAGES.astype(str), "labels": LABELS}, ["real numbers", "<U"]),
    "complex": ({"images": IMAGES.astype(complex), "labels": LABELS}, ["real numbers", "complex128"]),
    "NaN": ({"images": with_pixel(np.nan), "labels": LABELS}, ["NaN or infinity", "number 7", "nan_to_num"]),
    "infinity": ({"images": with_pixel(-np.inf), "labels": LABELS}, ["NaN or infinity", "number 7", "nan_to_num"]),
    "beyond float32": ({"images": with_pixel(-1e300), "labels": LABELS}, ["at most 1e+15", "1e+300", "Divide"]),
    "labels short": ({"images": IMAGES, "labels": LABELS[:5]}, ["(12,)", "(5,)", "one per image"]),
    "labels a column": ({"images": IMAGES, "labels": LABELS[:, None]}, ["(12,)", "(12, 1)", "reshape(-1)"]),
    "labels one-hot": ({"images": IMAGES, "labels": np.eye(12)}, ["(12,)", "(12, 12)"]),
    "labels a number": ({"images": IMAGES, "labels": np.int64(3)}, ["(12,)", "got ()"]),
    "labels float": ({"images": IMAGES, "labels": LABELS / 1}, ["integers", "float64", "astype(int)"]),
    "labels negative": ({"images": IMAGES, "labels": LABELS - 1}, ["0 or above", "-1", "return_inverse"]),
    "labels beyond int64": ({"images": IMAGES, "labels": LABELS.astype("u8") + 2**63}, ["0 or above"]),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG_ARRAYS)
def test_npz_with_wrong_arrays_says_what_came_and_the_cure(tmp_path: Path, wrong: str) -> None:
    arrays, words = WRONG_ARRAYS[wrong]
    path = write_npz(tmp_path / "mine.npz", **arrays)
    with pytest.raises(DataError) as caught:
        read_npz(path)
    said(caught.value, str(path), *words)


class Trap:
    """Leaves a trace when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


@pytest.mark.parametrize("key", ["images", "labels"])
def test_nothing_in_an_npz_file_is_unpickled(tmp_path: Path, key: str) -> None:
    trap = np.array([Trap(tmp_path / "sprung")] * 12)
    path = write_npz(tmp_path / "mine.npz", **{"images": IMAGES, "labels": LABELS, key: trap})
    with pytest.raises(DataError) as caught:
        read_npz(path)
    said(caught.value, str(path), f"'{key}' is an array of Python objects", "np.savez(path, images=np.stack(images)")
    assert not (tmp_path / "sprung").exists()
    with np.load(path, allow_pickle=True) as arrays:  # the trap does work
        arrays[key]
    assert (tmp_path / "sprung").exists()


def npy_bytes() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, IMAGES)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ": it is empty."),
        (b"images", ", or it is cut off."),
        (b"\x80\x04N.", ": it is a pickle, which bnlab does not load."),
        (npy_bytes(), ": it is a single array, as np.save writes it."),
        (gzip.compress(b"images"), ": it is gzipped."),
        (b"\x89HDF\r\n\x1a\n", ": it is HDF5."),
        (b"MATLAB 5.0 MAT-file", ": it is one of MATLAB's, whose names end in .mat."),
    ],
    ids=["empty", "text", "pickle", "npy", "gzip", "hdf5", "matlab"],
)
def test_a_file_that_is_no_zip_is_named_with_the_cure(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "mine.npz").write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_npz(tmp_path / "mine.npz")
    said(caught.value, f"{tmp_path / 'mine.npz'} is not an NPZ file{words}", "np.savez")


def test_an_array_larger_than_memory_is_named(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (10**12, 28, 28)})
    with zipfile.ZipFile(tmp_path / "mine.npz", "w") as archive:
        archive.writestr("images.npy", header.getvalue())
        archive.writestr("labels.npy", npy_bytes())
    with pytest.raises(DataError) as caught:
        read_npz(tmp_path / "mine.npz")
    said(caught.value, "mine.npz does not fit into memory", "fewer or smaller images")


def test_a_missing_npz_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_npz(tmp_path / "gone.npz")
    said(caught.value, str(tmp_path / "gone.npz"), "is not there", ".npz")
    with pytest.raises(DataError) as caught:
        read_npz(tmp_path)
    said(caught.value, str(tmp_path))


def test_an_npz_file_whose_members_are_no_arrays_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", b"\x93NUMPY\x01\x00\x05\x00hello")
        archive.writestr("labels.npy", npy_bytes())
    with pytest.raises(DataError) as caught:
        read_npz(path)
    said(caught.value, str(path), "np.savez")


@pytest.mark.slow
def test_no_flipped_byte_in_an_npz_file_gives_anything_but_a_data_error_or_the_arrays(tmp_path: Path) -> None:
    content = write_npz(tmp_path / "mine.npz", images=IMAGES, labels=LABELS).read_bytes()
    num_refused = 0
    for position in range(len(content)):
        flipped = bytearray(content)
        flipped[position] ^= 0xFF
        (tmp_path / "mine.npz").write_bytes(flipped)
        try:
            np.testing.assert_array_equal(read_npz(tmp_path / "mine.npz").images, IMAGES)
        except DataError as error:
            said(error, str(tmp_path / "mine.npz"))
            num_refused += 1
    assert num_refused > len(content) // 2


# --- CIFAR

NAMES = ["data_batch_1", "data_batch_2", "test_batch"]
FOLDER, ARCHIVE = "cifar-10-batches-py", "cifar-10-python.tar.gz"


def official_lists(contents: dict[str, bytes]) -> list[list[list[str]]]:
    pairs = [[name, md5(content)] for name, content in contents.items()]
    return [pairs[:-1], pairs[-1:]]


def inside(contents: dict[str, bytes]) -> dict[str, bytes]:
    """Put the last file first, as the official archive has them in no order, and one more between."""
    names = [*reversed(contents), "readme.html"]
    return {f"{FOLDER}/{name}": contents.get(name, b"<html>") for name in names}


@pytest.fixture
def contents() -> dict[str, bytes]:
    return cifar_contents(NAMES, 4)


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "archive"])
def test_cifar_gives_back_the_images_channels_last(tmp_path: Path, contents: dict[str, bytes], packed: bool) -> None:
    if packed:
        (tmp_path / ARCHIVE).write_bytes(tar_gz(inside(contents)))
    else:
        write_all(tmp_path / FOLDER, contents)
    before = listing(tmp_path)
    splits = read_cifar(tmp_path, FOLDER, ARCHIVE, official_lists(contents))
    assert splits is not None
    images, labels = cifar_images(12)
    np.testing.assert_array_equal(splits[0].images, images[:8])
    np.testing.assert_array_equal(splits[0].labels, labels[:8])
    np.testing.assert_array_equal(splits[1].images, images[8:])
    np.testing.assert_array_equal(splits[1].labels, labels[8:])
    assert listing(tmp_path) == before


def test_cifars_old_pickles_are_read_by_a_numpy_that_wants_true_and_false(
    tmp_path: Path, contents: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, dtype = [], np.dtype

    def strict(kind: str, align: object = False, copy: object = False) -> np.dtype:
        assert {type(align), type(copy)} == {bool}
        made.append(kind)
        return dtype(kind)

    write_all(tmp_path / FOLDER, contents)
    with monkeypatch.context() as patched:
        patched.setattr(np, "dtype", strict)
        splits = read_cifar(tmp_path, FOLDER, ARCHIVE, official_lists(contents))
    assert splits is not None
    assert made == ["u1"] * 3


def test_cifar_100_gives_its_fine_labels(tmp_path: Path) -> None:
    contents = cifar_contents(["train", "test"], 4, "fine_labels")
    write_all(tmp_path / "cifar-100-python", contents)
    splits = read_cifar(tmp_path, "cifar-100-python", "cifar-100-python.tar.gz", official_lists(contents))
    assert splits is not None
    assert splits[0].labels.tolist() == [0, 1, 0, 1]


def test_cifar_is_not_found_where_neither_folder_nor_archive_is(tmp_path: Path, contents: dict[str, bytes]) -> None:
    assert read_cifar(tmp_path, FOLDER, ARCHIVE, official_lists(contents)) is None


def test_the_archive_serves_where_the_folder_is_half_unpacked(tmp_path: Path, contents: dict[str, bytes]) -> None:
    write_all(tmp_path / FOLDER, {NAMES[0]: contents[NAMES[0]]})
    with pytest.raises(DataError) as caught:
        read_cifar(tmp_path, FOLDER, ARCHIVE, official_lists(contents))
    said(caught.value, str(tmp_path / FOLDER), "data_batch_2, test_batch", "Fetch it again")
    (tmp_path / ARCHIVE).write_bytes(tar_gz(inside(contents)))
    splits = read_cifar(tmp_path, FOLDER, ARCHIVE, official_lists(contents))
    assert splits is not None
    assert len(splits[0].labels) == 8


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "archive"])
def test_a_cifar_file_with_another_checksum_is_named_and_never_unpickled(
    tmp_path: Path, contents: dict[str, bytes], packed: bool
) -> None:
    lists = official_lists(contents)
    trap = b"cpathlib\nPath\n(V" + str(tmp_path / "sprung").encode() + b"\ntR(dVx\nb."
    contents["data_batch_2"] = trap
    if packed:
        (tmp_path / ARCHIVE).write_bytes(tar_gz(inside(contents)))
    else:
        write_all(tmp_path / FOLDER, contents)
    with pytest.raises(DataError) as caught:
        read_cifar(tmp_path, FOLDER, ARCHIVE, lists)
    place = tmp_path / (ARCHIVE if packed else FOLDER) / "data_batch_2"
    said(caught.value, str(place), "MD5", "Fetch it again, or remove it.")


@pytest.mark.parametrize("damage", sorted(damaged(b"0" * 99).keys() - {"checksum wrong"}))  # each file has its MD5
def test_a_damaged_cifar_archive_is_named_with_the_cure(
    tmp_path: Path, contents: dict[str, bytes], damage: str
) -> None:
    path = tmp_path / ARCHIVE
    path.write_bytes(damaged(tar_gz(inside(contents)))[damage])
    with pytest.raises(DataError) as caught:
        read_cifar(tmp_path, FOLDER, ARCHIVE, official_lists(contents))
    message = said(caught.value, str(path), "Fetch it again, or remove it.")
    assert "None" not in message


def test_a_cifar_archive_that_lacks_a_file_says_which(tmp_path: Path, contents: dict[str, bytes]) -> None:
    packed = inside(contents)
    del packed[f"{FOLDER}/data_batch_2"]
    (tmp_path / ARCHIVE).write_bytes(tar_gz(packed))
    with pytest.raises(DataError) as caught:
        read_cifar(tmp_path, FOLDER, ARCHIVE, official_lists(contents))
    said(caught.value, str(tmp_path / ARCHIVE), "lacks data_batch_2", "Fetch it again")


@pytest.mark.parametrize("every", [40, 97])
def test_no_cut_of_a_cifar_archive_gives_anything_but_a_data_error(
    tmp_path: Path, contents: dict[str, bytes], every: int
) -> None:
    content = tar_gz(inside(contents))
    lists = official_lists(contents)
    for length in range(0, len(content) - 1100, len(content) // every):
        (tmp_path / ARCHIVE).write_bytes(content[:length])
        with pytest.raises(DataError, match=ARCHIVE):
            read_cifar(tmp_path, FOLDER, ARCHIVE, lists)
