import gzip
import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from fake_files import (
    IDX_NAMES,
    cifar_contents,
    cifar_images,
    data_config,
    idx_bytes,
    idx_contents,
    listing,
    md5,
    said,
    tar_gz,
    write_all,
)
from torchvision import datasets

from bnlab.data import fingerprint, remembered
from bnlab.data.fingerprint import content_fingerprint
from bnlab.data.locations import cache_folder
from bnlab.data.opening import open_data
from bnlab.errors import DataError

NOTES = "bnlab/fingerprints"


@pytest.fixture(autouse=True)
def _nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "_of_this_process", {})


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let files of this moment count as old enough to be remembered on disk."""
    monkeypatch.setattr(remembered, "_SETTLED_NS", -(10**12))


@pytest.fixture
def num_reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were read for their content, in order."""
    reads: list[Path] = []
    read = fingerprint._file_digest
    monkeypatch.setattr(fingerprint, "_file_digest", lambda path: (reads.append(path), read(path))[1])
    return reads


def of_root(root: Path, name: str = "mnist") -> str | None:
    return content_fingerprint(data_config(name, root=str(root)))


def write_pair(root: Path, name: str, contents: dict[str, bytes], pixel: type = np.uint8) -> None:
    """Write the arrays of four IDX files, unpacked, as a pair of NPZ files."""
    arrays = [np.frombuffer(contents[file], np.uint8) for file in IDX_NAMES]
    images = [values[16:].reshape(-1, 6, 5).astype(pixel) for values in arrays[::2]]
    labels = [values[8:].astype(np.int64) for values in arrays[1::2]]
    root.mkdir()
    for split, pixels, classes in zip(("train", "test"), images, labels, strict=True):
        np.savez(root / f"{name}_{split}.npz", images=pixels, labels=classes)


def declare_official(monkeypatch: pytest.MonkeyPatch, name: str, contents: dict[str, bytes]) -> None:
    digests = tuple(hashlib.sha256(contents[file]).hexdigest() for file in IDX_NAMES)
    monkeypatch.setattr(fingerprint, "_OFFICIAL", {name: digests})


# --- what counts


def test_two_roots_with_the_same_names_and_other_content_differ(tmp_path: Path) -> None:
    contents = idx_contents(zipped=False)
    write_all(tmp_path / "a", contents)
    first, second = of_root(write_all(tmp_path / "a", contents)), None
    for file in IDX_NAMES:
        changed = bytearray(contents[file])
        changed[-1] ^= 1
        second = of_root(write_all(tmp_path / f"b_{file}", {**contents, file: bytes(changed)}))
        assert first is not None
        assert second is not None
        assert first != second


def test_training_and_test_images_are_not_taken_for_each_other(tmp_path: Path) -> None:
    contents = idx_contents(zipped=False, num_test=40)
    swapped = dict(zip(IDX_NAMES, [contents[IDX_NAMES[i]] for i in (2, 3, 0, 1)], strict=True))
    assert of_root(write_all(tmp_path / "a", contents)) != of_root(write_all(tmp_path / "b", swapped))


def test_neither_place_nor_form_changes_it(tmp_path: Path) -> None:
    contents = idx_contents(zipped=False)
    zipped = {f"{name}.gz": gzip.compress(content, 1) for name, content in contents.items()}
    dotted = {name.replace("-idx", ".idx"): content for name, content in contents.items()}
    roots = [write_all(tmp_path / "a", contents), tmp_path / "b", write_all(tmp_path / "c", dotted)]
    write_all(roots[1] / "MNIST" / "raw", zipped)
    for pixel in (np.uint8, np.int64, np.float32):
        roots.append(tmp_path / f"pair_{pixel.__name__}")
        write_pair(roots[-1], "mnist", contents, pixel)
    assert len({of_root(root) for root in roots}) == 1
    (tmp_path / "a").rename(tmp_path / "moved")
    assert of_root(tmp_path / "moved") == of_root(roots[1])


def test_the_folder_may_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_all(tmp_path / "a", idx_contents())
    monkeypatch.setenv("BNLAB_DATA", str(tmp_path / "a"))
    assert content_fingerprint(data_config("mnist")) == of_root(tmp_path / "a")


def test_shapes_and_types_count_where_bytes_do_not_differ() -> None:
    values = np.arange(240).reshape(40, 6)
    arrays = [
        *(values.reshape(shape).astype(np.uint8) for shape in [(40, 6), (40, 2, 3), (40, 3, 2)]),
        *(values.astype(pixel) for pixel in (np.int32, np.float32)),
        *[values + 0.5, (values + 0.5).astype(np.float32), values - 1, (values + 1e6).astype(np.int32)],
    ]
    digests = [fingerprint._array_digest(images) for images in arrays]
    assert len(set(digests)) == len(arrays) - 2  # the same whole numbers from 0 to 255
    assert digests[0] == digests[3] == digests[4] == hashlib.sha256(idx_bytes(arrays[0])).hexdigest()
    swapped, columns = (values + 0.5).astype(">f8"), np.asfortranarray(values + 0.5)
    assert fingerprint._array_digest(swapped) == fingerprint._array_digest(columns) == digests[5]
    assert fingerprint._array_digest(np.array([[np.nan, -1, 300]])) != digests[5]


# --- official sets, and those without files


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("in_a_new_process", [False, True])
def test_official_files_of_one_set_are_not_official_under_the_name_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, in_a_new_process: bool
) -> None:
    contents = idx_contents(zipped=False)
    declare_official(monkeypatch, "fashion_mnist", contents)
    inner = write_all(tmp_path / "a" / "FashionMNIST" / "raw", contents)
    assert of_root(tmp_path / "a", "fashion_mnist") is None
    if in_a_new_process:
        monkeypatch.setattr(remembered, "_of_this_process", {})
    assert of_root(inner, "mnist") is not None  # a bare folder of IDX files is taken for MNIST


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_official_sets_need_none_in_whatever_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    contents = idx_contents(zipped=False)
    inner = {"mnist": "MNIST/raw", "fashion_mnist": "FashionMNIST"}[name]
    write_all(tmp_path / "a" / inner, contents)
    write_all(tmp_path / "b" / inner, {f"{file}.gz": gzip.compress(content) for file, content in contents.items()})
    write_pair(tmp_path / "c", name, contents)
    write_all(cache_folder() / inner, contents)
    found = [of_root(tmp_path / folder, name) for folder in "abc"]
    assert len(set(found)) == 1
    assert found[0] is not None
    monkeypatch.setattr(remembered, "_of_this_process", {})
    declare_official(monkeypatch, name, contents)
    assert [of_root(tmp_path / folder, name) for folder in "abc"] == [None] * 3
    assert content_fingerprint(data_config(name)) is None
    # a part of it is not official
    part = idx_contents(num_train=20, zipped=False)
    write_all(tmp_path / "d" / inner, part)
    assert of_root(tmp_path / "d", name) is not None


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "archive"])
def test_cifar_is_official_by_the_md5s_of_its_batches_and_anything_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed: bool
) -> None:
    contents = cifar_contents(["data_batch_1", "test_batch"], 4)
    monkeypatch.setattr(datasets.CIFAR10, "train_list", [["data_batch_1", md5(contents["data_batch_1"])]])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [["test_batch", md5(contents["test_batch"])]])

    def put(contents: dict[str, bytes]) -> None:
        inside = {f"cifar-10-batches-py/{file}": content for file, content in contents.items()}
        if packed:
            (tmp_path / "cifar-10-python.tar.gz").write_bytes(tar_gz(inside))
        else:
            write_all(tmp_path / "cifar-10-batches-py", contents)

    put(contents)
    assert of_root(tmp_path, "cifar10") is None
    put({**contents, "test_batch": contents["test_batch"] + b" "})
    with pytest.raises(DataError, match="MD5 is not the official one"):
        of_root(tmp_path, "cifar10")


def test_a_pair_under_the_name_of_cifar_has_one(tmp_path: Path) -> None:
    images, labels = cifar_images(12)
    for split, part in (("train", slice(8)), ("test", slice(8, 12))):
        np.savez(tmp_path / f"cifar10_{split}.npz", images=images[part], labels=labels[part])
    first = of_root(tmp_path, "cifar10")
    assert first is not None
    np.savez(tmp_path / "cifar10_test.npz", images=255 - images[8:], labels=labels[8:])
    assert of_root(tmp_path, "cifar10") != first


@pytest.mark.parametrize("name", ["mnist_5k", "digits", "synthetic"])
def test_sets_that_come_with_the_program_need_none(tmp_path: Path, name: str) -> None:
    write_all(tmp_path / "a", idx_contents())
    assert of_root(tmp_path / "a", name) is None


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10", "cifar100"])
def test_a_set_that_would_be_downloaded_has_none_and_nothing_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("bnlab.data.sources.fetch", lambda *_: pytest.fail("it asked the network"))
    assert content_fingerprint(data_config(name)) is None
    assert listing(tmp_path) == []
    # a damaged download is fetched again, and is the official one then
    if name.endswith("mnist"):
        inner = "MNIST/raw" if name == "mnist" else "FashionMNIST/raw"
        write_all(cache_folder() / inner, dict.fromkeys(IDX_NAMES, b"half a file"))
    else:
        write_all(cache_folder() / {"cifar10": "cifar-10-batches-py"}.get(name, "cifar-100-python"), {"train": b"half"})
    assert content_fingerprint(data_config(name)) is None


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_files_that_the_user_points_at_and_that_are_not_there_are_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError) as caught:
        of_root(tmp_path / "empty", name)
    said(caught.value, f"data={name} is not in", f"{name}_train.npz")
    with pytest.raises(DataError, match="is not a folder"):
        of_root(tmp_path / "gone", name)


# --- a file of one's own


def test_a_file_of_ones_own_is_known_by_the_hash_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "own.npz").write_bytes(b"abc")
    assert content_fingerprint(data_config("npz", path="own.npz")) == hashlib.sha256(b"abc").hexdigest()


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("nowhere.npz", "data.path=nowhere.npz cannot be read: No such file or directory. Give the path"),
        (".", "data.path=. cannot be read: Is a directory. Give the path"),
        ("/dev/zero", "data.path=/dev/zero is no regular file. Give the path"),
        ("~no_such_user/a.npz", "data.path=~no_such_user/a.npz: there is no such user. Give the path"),
        ("a" * 300, "cannot be read: File name too long"),
    ],
)
def test_a_path_that_leads_to_no_file_is_named(path: str, words: str) -> None:
    with pytest.raises(DataError) as caught:
        content_fingerprint(data_config("npz", path=path))
    said(caught.value, words)


# --- what is remembered


@pytest.mark.usefixtures("settled")
def test_a_file_is_read_once_for_all_processes_until_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_reads: list[Path]
) -> None:
    path = tmp_path / "own.npz"

    def seen(content: bytes) -> None:
        monkeypatch.setattr(remembered, "_of_this_process", {})  # as in another process
        assert content_fingerprint(data_config("npz", path=str(path))) == hashlib.sha256(content).hexdigest()

    for content, time in [(b"abc", 1000), (b"abcd", 1000), (b"abce", 1001)]:
        path.write_bytes(content)
        os.utime(path, (time, time))
        before = len(num_reads)
        for _ in range(3):
            seen(content)
        assert len(num_reads) == before + 1
    other = tmp_path / "other.npz"
    other.write_bytes(b"xyz!")
    os.utime(other, (1001, 1001))
    other.replace(path)  # the same size and time, another file
    seen(b"xyz!")
    assert len(list((tmp_path / "cache" / NOTES).iterdir())) == 1


def test_a_file_of_this_moment_is_not_remembered_on_disk(tmp_path: Path) -> None:
    (tmp_path / "own.npz").write_bytes(b"abc")
    content_fingerprint(data_config("npz", path="own.npz"))
    assert not (tmp_path / "cache" / NOTES).exists()


@pytest.mark.usefixtures("settled")
def test_a_file_that_changes_while_it_is_read_is_not_remembered_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "own.npz"
    path.write_bytes(b"abc")
    monkeypatch.setattr(fingerprint, "_file_digest", lambda path: str(path.write_bytes(b"abcd")))
    content_fingerprint(data_config("npz", path=str(path)))
    assert not (tmp_path / "cache" / NOTES).exists()


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("damage", [b"", b"{", b"null", b"[1]", b'{"version": 1}', b"\xff\xfe", b"[" * 10000])
def test_a_damaged_note_is_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: bytes) -> None:
    (tmp_path / "own.npz").write_bytes(b"abc")
    config = data_config("npz", path="own.npz")
    right = content_fingerprint(config)
    (note,) = (tmp_path / "cache" / NOTES).iterdir()
    written = note.read_bytes()
    note.write_bytes(damage)
    monkeypatch.setattr(remembered, "_of_this_process", {})
    assert content_fingerprint(config) == right
    assert note.read_bytes() == written
    # one of another version, or of other files, is not believed either
    for old, new in ((b'"version":1', b'"version":0'), (b"own.npz", b"owm.npz")):
        note.write_bytes(written.replace(right.encode() if right else b"", b"0" * 64).replace(old, new))
        monkeypatch.setattr(remembered, "_of_this_process", {})
        assert content_fingerprint(config) == right


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("obstacle", ["a file in its place", "a folder in the note's place"])
def test_where_the_cache_cannot_be_written_the_value_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, obstacle: str
) -> None:
    (tmp_path / "own.npz").write_bytes(b"abc")
    config = data_config("npz", path="own.npz")
    if obstacle == "a file in its place":
        (tmp_path / "cache").touch()
    else:
        content_fingerprint(config)
        (note,) = (tmp_path / "cache" / NOTES).iterdir()
        note.unlink()
        note.mkdir()
        (note / "x").touch()
        monkeypatch.setattr(remembered, "_of_this_process", {})
    assert content_fingerprint(config) == hashlib.sha256(b"abc").hexdigest()
    notes = tmp_path / "cache" / NOTES
    assert not notes.is_dir() or len(list(notes.iterdir())) == 1  # nothing half written is left


@pytest.mark.usefixtures("settled")
def test_many_at_once_get_the_same_and_leave_one_whole_note(tmp_path: Path) -> None:
    (tmp_path / "own.npz").write_bytes(b"abc" * 10000)
    found: list[str | None] = []

    def ask() -> None:
        remembered._of_this_process.clear()
        found.append(content_fingerprint(data_config("npz", path="own.npz")))

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [hashlib.sha256(b"abc" * 10000).hexdigest()] * 16
    assert len(list((tmp_path / "cache" / NOTES).iterdir())) == 1


@pytest.mark.usefixtures("settled")
def test_what_is_known_imports_neither_torch_nor_torchvision(tmp_path: Path) -> None:
    write_all(tmp_path / "a", idx_contents())
    of_root(tmp_path / "a")
    code = (
        "import sys; from fake_files import data_config; from bnlab.data.fingerprint import content_fingerprint;"
        "print(content_fingerprint(data_config('mnist', root='a')));"
        "sys.exit(any(name in sys.modules for name in ('torch', 'torchvision', 'sklearn', 'mlxtend')))"
    )
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, env={**os.environ, "PYTHONPATH": paths}, capture_output=True
    )
    assert (done.returncode, done.stdout.decode().strip()) == (0, of_root(tmp_path / "a"))


# --- the data that are opened


def test_a_root_that_gets_other_files_is_opened_anew(tmp_path: Path) -> None:
    write_all(tmp_path, idx_contents(num_train=40))
    config = data_config("mnist", root=str(tmp_path))
    assert open_data(config) is open_data(config)
    assert len(open_data(config).train) == 36
    write_all(tmp_path, idx_contents(num_train=80))
    assert len(open_data(config).train) == 72


# --- real data


@pytest.mark.slow
def test_real_mnist_is_official(real_data: Path, tmp_path: Path) -> None:
    before = listing(real_data)
    assert of_root(real_data) is None
    assert listing(real_data) == before
    raw = real_data / "MNIST" / "raw"
    unpacked = {file: gzip.decompress((raw / f"{file}.gz").read_bytes()) for file in IDX_NAMES}
    assert of_root(write_all(tmp_path / "unpacked", unpacked)) is None
    unpacked[IDX_NAMES[1]] = unpacked[IDX_NAMES[1]][:-1] + b"\x01"
    assert of_root(write_all(tmp_path / "unpacked", unpacked)) is not None


def test_the_test_images_of_real_fashion_mnist_have_the_published_hashes(real_data: Path) -> None:
    arrays = np.load(real_data / "fashion_10k.npz")
    found = [fingerprint._array_digest(arrays[name]) for name in ("images", "labels")]
    assert tuple(found) == fingerprint._OFFICIAL["fashion_mnist"][2:]
