from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from fake_files import data_config, said

from bnlab.config.compose import compose_grid, compose_run, render_config
from bnlab.data import opening, remembered
from bnlab.data.fingerprint import content_fingerprint
from bnlab.data.opening import open_data
from bnlab.data.own_files import own_splits, read_own_file
from bnlab.errors import ConfigError, DataError

RANDOM = np.random.default_rng(0)
SIZES = {"train": 40, "val": 12, "test": 20}
IMAGES = {split: RANDOM.integers(0, 256, (size, 6, 5), np.uint8) for split, size in SIZES.items()}
LABELS = {split: np.arange(size) % 4 for split, size in SIZES.items()}
COLORS = {split: RANDOM.integers(0, 256, (size, 8, 7, 3), np.uint8) for split, size in SIZES.items()}


def save(path: Path, /, **arrays: Any) -> str:
    if path.suffix == ".mat":
        scipy.io.savemat(path, arrays)
    else:
        np.savez(path, **arrays)
    return str(path)


def keras(*splits: str) -> dict[str, np.ndarray]:
    """Return the arrays of Keras' mnist.npz: uint8, labels (N,)."""
    named = [(f"x_{split}", f"y_{split}", split) for split in splits]
    return {x: IMAGES[split] for x, _, split in named} | {y: LABELS[split].astype(np.uint8) for _, y, split in named}


def medmnist(*splits: str) -> dict[str, np.ndarray]:
    """Return the arrays of MedMNIST's files: uint8, images (N, 28, 28) or (N, 28, 28, 3), labels (N, 1)."""
    images = {f"{split}_images": COLORS[split] for split in splits}
    return images | {f"{split}_labels": LABELS[split].astype(np.uint8)[:, None] for split in splits}


def svhn(split: str) -> dict[str, np.ndarray]:
    """Return the arrays of SVHN's files: X uint8 (32, 32, 3, N), y uint8 (N, 1), 10 for the digit 0."""
    digits = np.arange(SIZES[split]) % 10
    return {"X": COLORS[split].transpose(1, 2, 3, 0), "y": np.where(digits == 0, 10, digits).astype(np.uint8)[:, None]}


# --- what people have


def test_an_official_test_set_may_stand_beside_images_and_labels(tmp_path: Path) -> None:
    arrays = {"images": IMAGES["train"], "labels": LABELS["train"]}
    arrays |= {"test_images": IMAGES["test"], "test_labels": LABELS["test"]}
    source = read_own_file(save(tmp_path / "a.npz", **arrays, more=np.zeros(3)))
    assert source.test is not None
    np.testing.assert_array_equal(source.train.images, IMAGES["train"])
    np.testing.assert_array_equal(source.test.images, IMAGES["test"])
    np.testing.assert_array_equal(source.test.labels, LABELS["test"])
    assert source.validation is None


@pytest.mark.parametrize("kind", [".npz", ".mat"])
@pytest.mark.parametrize("upper", [False, True], ids=["x_train", "X_train"])
def test_keras_layout_is_read(tmp_path: Path, kind: str, upper: bool) -> None:
    arrays = {name.replace("x", "X") if upper else name: values for name, values in keras("train", "test").items()}
    source = read_own_file(save(tmp_path / f"mnist{kind}", **arrays))
    assert source.test is not None
    np.testing.assert_array_equal(source.train.images, IMAGES["train"])
    np.testing.assert_array_equal(source.train.labels, LABELS["train"])
    np.testing.assert_array_equal(source.test.images, IMAGES["test"])
    np.testing.assert_array_equal(source.test.labels, LABELS["test"])


def test_medmnists_layout_is_read_with_its_validation_set(tmp_path: Path) -> None:
    source = read_own_file(save(tmp_path / "pathmnist.npz", **medmnist("train", "val", "test")))
    for part, split in ((source.train, "train"), (source.validation, "val"), (source.test, "test")):
        assert part is not None
        np.testing.assert_array_equal(part.images, COLORS[split])
        np.testing.assert_array_equal(part.labels, LABELS[split])


@pytest.mark.parametrize("pair", [True, False], ids=["with test_32x32.mat", "alone"])
def test_svhns_files_are_read_as_they_are(tmp_path: Path, pair: bool) -> None:
    path = save(tmp_path / "train_32x32.mat", **svhn("train"))
    if pair:
        save(tmp_path / "test_32x32.mat", **svhn("test"))
    source = read_own_file(path)
    np.testing.assert_array_equal(source.train.images, COLORS["train"])
    assert source.train.images.flags.c_contiguous
    np.testing.assert_array_equal(source.train.labels, np.arange(40) % 10)  # the digits
    assert (source.test is not None) == pair
    if source.test is not None:
        np.testing.assert_array_equal(source.test.images, COLORS["test"])
        np.testing.assert_array_equal(source.test.labels, np.arange(20) % 10)
    assert own_splits(path) == ({"test"} if pair else set())


def test_rows_of_doubles_with_labels_from_1_are_read_from_a_mat_file(tmp_path: Path) -> None:
    rows = RANDOM.random((30, 9))
    digits = np.arange(30) % 10 + 1.0  # MATLAB's numbers are doubles, its indices begin at 1
    for labels in (digits, digits[:, None]):
        source = read_own_file(save(tmp_path / "ex3data1.mat", X=rows, y=labels))
        np.testing.assert_array_equal(source.train.images, rows)
        np.testing.assert_array_equal(source.train.labels, digits % 10)


def test_gray_images_of_a_mat_file_have_their_number_last(tmp_path: Path) -> None:
    source = read_own_file(
        save(tmp_path / "a.mat", images=IMAGES["train"].transpose(1, 2, 0), labels=LABELS["train"].astype(float))
    )
    np.testing.assert_array_equal(source.train.images, IMAGES["train"])


# --- labels


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("form", ["flat", "column", "row", "one-hot", "one-hot float", "one-hot bool"])
def test_labels_may_come_in_many_forms(tmp_path: Path, form: str, first: int) -> None:
    labels = LABELS["train"]
    given = {
        "flat": labels + first,
        "column": (labels + first)[:, None],
        "row": (labels + first)[None],
        "one-hot": np.eye(4, dtype=np.uint8)[labels],
        "one-hot float": np.eye(4)[labels],
        "one-hot bool": np.eye(4, dtype=bool)[labels],
    }[form]
    source = read_own_file(save(tmp_path / "a.npz", images=IMAGES["train"], labels=given))
    expected = labels if first == 0 or form.startswith("one-hot") else (labels + 1) % 4
    np.testing.assert_array_equal(source.train.labels, expected)
    assert source.train.labels.dtype == np.int64


@pytest.mark.parametrize(
    ("train", "test"),
    [([1, 2, 3] * 4, [0, 1, 2]), ([1, 2, 3] * 4, [1, 2, 4]), ([1, 2, 4] * 4, [1, 2, 4]), ([2, 3, 4] * 4, [2, 3, 4])],
    ids=["test has 0", "test has more", "a gap", "from 2"],
)
def test_labels_are_not_numbered_anew_where_that_could_mix_classes(
    tmp_path: Path, train: list[int], test: list[int]
) -> None:
    arrays = {"images": IMAGES["train"][:12], "labels": train, "test_images": IMAGES["test"][:3], "test_labels": test}
    source = read_own_file(save(tmp_path / "a.npz", **arrays))
    assert source.test is not None
    assert (source.train.labels.tolist(), source.test.labels.tolist()) == (train, test)
    with pytest.raises(DataError, match=r"labels must (run from 0 without a gap|be classes)"):
        open_data(compose_run(["data=npz", f"data.path={tmp_path / 'a.npz'}"]).data)


def test_labels_of_several_classes_per_image_are_refused(tmp_path: Path) -> None:
    labels = np.eye(4, dtype=np.uint8)[LABELS["train"]]
    labels[3] = [1, 0, 1, 1]
    with pytest.raises(DataError) as caught:
        read_own_file(save(tmp_path / "chestmnist.npz", train_images=IMAGES["train"], train_labels=labels))
    said(caught.value, "one class", "image 3 has 3 of the 4 columns")


# --- slips

SLIPS = {
    "images alone": ({"x_train": 0}, ["must hold 'y_train' beside 'x_train'"]),
    "labels alone": ({"train_labels": 0}, ["must hold 'train_images' beside 'train_labels'"]),
    "half a test set": ({"images": 0, "labels": 0, "test_images": 0}, ["must hold 'test_labels' beside 'test_images'"]),
    "two layouts": ({"images": 0, "labels": 0, "x_train": 0, "y_train": 0}, ["'images' and 'x_train'", "two layouts"]),
    "a test set of another": ({"images": 0, "labels": 0, "x_test": 0, "y_test": 0}, ["'images' and 'x_test'"]),
    "only a test set": ({"test_images": 0, "test_labels": 0}, ["must hold arrays 'images' and 'labels'"]),
    "names by position": ({"arr_0": 0, "arr_1": 0}, ["must hold arrays 'images' and 'labels', got arr_0, arr_1"]),
    "other names": ({"data": 0, "target": 0}, ["must hold arrays 'images' and 'labels', got data, target"]),
    "X and Y_train": ({"X": 0, "Y_train": 0}, ["must hold 'x_train' beside 'Y_train'"]),
}


@pytest.mark.parametrize("kind", [".npz", ".mat"])
@pytest.mark.parametrize("slip", SLIPS)
def test_half_and_mixed_layouts_are_named_in_one_sentence(tmp_path: Path, slip: str, kind: str) -> None:
    names, words = SLIPS[slip]
    values = {name: LABELS["train"] if name.startswith("y") or "labels" in name else IMAGES["train"] for name in names}
    path = save(tmp_path / f"mine{kind}", **values)
    with pytest.raises(DataError) as caught:
        read_own_file(path)
    said(caught.value, path, *words, "Name them images and labels: np.savez(path, images=..., labels=...)")
    assert own_splits(path) == set()


def test_a_wrong_array_is_named_with_its_own_name(tmp_path: Path) -> None:
    arrays = keras("train", "test") | {"y_test": LABELS["train"]}
    with pytest.raises(DataError) as caught:
        read_own_file(save(tmp_path / "a.npz", **arrays))
    said(caught.value, "a.npz, x_test: labels must be of shape (20,)", "got (40,)")
    images = IMAGES["test"][:, :3]
    with pytest.raises(DataError) as caught:
        open_data(
            compose_run(
                ["data=npz", f"data.path={save(tmp_path / 'a.npz', **(keras('train', 'test') | {'x_test': images}))}"]
            ).data
        )
    said(caught.value, "training and test images must be of one shape", "(6, 5)", "(3, 5)")


def test_two_test_sets_of_a_mat_file_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "train.mat", **keras("train", "test"))
    save(tmp_path / "test.mat", X=IMAGES["test"], y=LABELS["test"])
    with pytest.raises(DataError) as caught:
        read_own_file(path)
    said(caught.value, path, "test.mat beside it", "Remove one")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["cannot be read as a .mat file"]),
        (b"some text", ["cannot be read as a .mat file"]),
        (b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\0\2IM" + b"\x89HDF\r\n\x1a\n", ["-v7.3", "'-v7'"]),
    ],
    ids=["empty", "text", "v7.3"],
)
def test_a_file_that_scipy_cannot_read_is_named_with_the_cure(tmp_path: Path, content: bytes, words: list[str]) -> None:
    (tmp_path / "a.mat").write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_own_file("a.mat")
    said(caught.value, "a.mat", *words, "savemat")


def test_cells_and_structs_of_matlab_are_no_arrays_of_numbers(tmp_path: Path) -> None:
    for images in (np.array([[1], [2, 3]], object), {"a": 1.0}):
        with pytest.raises(DataError) as caught:
            read_own_file(save(tmp_path / "a.mat", images=images, labels=LABELS["train"]))
        said(caught.value, "a.mat", "'images' is no array of numbers", "savemat")


@pytest.mark.parametrize("packed", [False, True])
def test_no_cut_of_a_mat_file_gives_anything_but_a_data_error(tmp_path: Path, packed: bool) -> None:
    # no flipped bytes: in a file that is not compressed, scipy 1.17.1 dies of a few of them
    scipy.io.savemat(tmp_path / "a.mat", {"X": IMAGES["train"], "y": LABELS["train"]}, do_compression=packed)
    content = (tmp_path / "a.mat").read_bytes()
    for length in range(0, len(content) - 8, 9):
        (tmp_path / "a.mat").write_bytes(content[:length])
        with pytest.raises(DataError) as caught:
            read_own_file("a.mat")
        said(caught.value, "a.mat")


# --- cures

ROWS = IMAGES["train"].reshape(40, 30).astype(float)
USUAL = {"images": IMAGES["train"], "labels": LABELS["train"]}
NUMBERED = "np.unique(labels, return_inverse=True)[1]"
CURES = {
    "float labels": ({"labels": LABELS["train"] / 1}, "labels", "labels.astype(int)"),
    "yes and no": ({"labels": LABELS["train"] > 1}, "labels", "labels.astype(int)"),
    "names": ({"labels": np.array(["cat", "dog", "cow", "ant"])[LABELS["train"]]}, "labels", NUMBERED),
    "a gap": ({"labels": LABELS["train"] * 10}, "labels", NUMBERED),
    "minus 1": ({"labels": LABELS["train"] - 1}, "labels", NUMBERED),
    "scores": ({"labels": np.eye(4)[LABELS["train"]] + 0.1}, "labels", "labels.argmax(1)"),
    "channels first": ({"images": COLORS["train"].transpose(0, 3, 1, 2)}, "images", "images.transpose(0, 2, 3, 1)"),
    "number last": ({"images": IMAGES["train"].transpose(1, 2, 0)}, "images", "np.moveaxis(images, -1, 0)"),
    "a column of NaN": ({"images": np.where(np.arange(30) == 7, np.nan, ROWS)}, "images", "np.delete(images, 7, 1)"),
    "one NaN": ({"images": np.where(np.arange(1200).reshape(40, 30) == 7, np.nan, ROWS)}, "images", "np.nan_to_num"),
    "words": ({"images": ROWS.astype(str)}, "images", "images.astype(np.float32)"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", CURES)
def test_a_cure_that_is_named_cures(tmp_path: Path, wrong: str) -> None:
    changed, name, cure = CURES[wrong]
    arrays = USUAL | changed
    with pytest.raises(DataError) as caught:
        open_data(data_config("npz", path=save(tmp_path / "a.npz", **arrays)))
    said(caught.value, cure.removeprefix("labels" if "astype" in cure else "").removeprefix("images"))
    cured = eval(cure, {"np": np, **arrays})
    arrays[name] = cured(arrays[name]) if callable(cured) else cured
    data = open_data(data_config("npz", path=save(tmp_path / "b.npz", **arrays)))
    assert (len(data.train), data.num_classes) == (28, 2 if wrong == "yes and no" else 4)


def test_data_beyond_memory_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.npz", **USUAL)

    def refuse(*_: object) -> None:
        raise MemoryError("Unable to allocate 375. MiB")

    monkeypatch.setattr(opening, "split_source", refuse)
    with pytest.raises(DataError) as caught:
        open_data(data_config("npz", path=path))
    said(caught.value, path, "does not fit into memory", "375. MiB", "fewer or smaller images")


def test_a_file_in_place_of_a_data_set_is_told_how_to_be_named() -> None:
    with pytest.raises(ConfigError) as caught:
        compose_run(["data=mine.npz"])
    said(caught.value, "data=mine.npz is not known. Write data=npz data.path=mine.npz.")
    with pytest.raises(ConfigError) as caught:
        compose_run(["data=dgits"])
    said(caught.value, "data=dgits is not known. Did you mean digits")


# --- shares


def share_of(words: list[str]) -> tuple[float | None, float | None]:
    data = compose_run(["data=npz", *words]).data
    return data.test_share, data.validation_share


def test_a_split_of_the_file_leaves_out_the_default_share(tmp_path: Path) -> None:
    none = save(tmp_path / "none.npz", images=IMAGES["train"], labels=LABELS["train"])
    test = save(tmp_path / "test.npz", **keras("train", "test"))
    both = save(tmp_path / "both.npz", **medmnist("train", "val", "test"))
    usual = data_config("npz", path=none)
    assert share_of([f"data.path={none}"]) == (usual.test_share, usual.validation_share) == (0.2, 0.1)
    assert share_of([f"data.path={test}"]) == (None, 0.1)
    assert share_of([f"data.path={both}"]) == (None, None)
    assert share_of([f"data.path={test}", "data.test_share=null"]) == (None, 0.1)
    assert share_of([f"data.path={test}", "data.test_share=0.3"]) == (0.3, 0.1)
    assert share_of(["data.path=not_there.npz"]) == (0.2, 0.1)
    grid = compose_grid([["data=npz", f"data.path={path}"] for path in (none, test, both, none)])
    assert [config.data.test_share for config in grid] == [0.2, None, None, 0.2]
    shown = render_config(["data=npz", f"data.path={both}"], None, "job", resolve=False)
    assert "test_share: null" in shown
    assert "validation_share: null" in shown


def test_the_splits_of_the_file_are_used_whole(tmp_path: Path) -> None:
    path = save(tmp_path / "both.npz", **medmnist("train", "val", "test"))
    data = open_data(compose_run(["data=npz", f"data.path={path}"]).data)
    assert (len(data.train), len(data.validation), len(data.test)) == (40, 12, 20)
    assert sorted(data.validation.labels.tolist()) == sorted(LABELS["val"])
    assert data.validation.labels.tolist() != LABELS["val"].tolist()  # a file may be sorted
    np.testing.assert_array_equal(data.test.labels.numpy(), LABELS["test"])
    path = save(tmp_path / "test.npz", **keras("train", "test"))
    data = open_data(compose_run(["data=npz", f"data.path={path}"]).data)
    assert (len(data.train), len(data.validation), len(data.test)) == (36, 4, 20)


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("data.test_share=0.2", ["data.test_share must be null where there is an official test set", "got 0.2"]),
        ("data.validation_share=0.1", ["data.validation_share must be null", "official validation set", "got 0.1"]),
    ],
)
def test_a_share_that_was_typed_beside_a_split_of_the_file_is_refused(
    tmp_path: Path, word: str, words: list[str]
) -> None:
    path = save(tmp_path / "both.npz", **medmnist("train", "val", "test"))
    with pytest.raises(ConfigError) as caught:
        open_data(compose_run(["data=npz", f"data.path={path}", word]).data)
    said(caught.value, *words, "Leave it out")


def test_no_share_where_the_file_has_no_such_split_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", **keras("train", "test"))
    with pytest.raises(ConfigError) as caught:
        open_data(compose_run(["data=npz", f"data.path={path}", "data.validation_share=null"]).data)
    said(caught.value, "data.validation_share must be set", "Try data.validation_share=0.1")


# --- content


def test_the_test_file_beside_a_mat_file_counts_as_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "train_32x32.mat", **svhn("train"))
    found = []
    for images in (None, COLORS["test"], 255 - COLORS["test"]):
        if images is not None:
            save(tmp_path / "test_32x32.mat", X=images.transpose(1, 2, 3, 0), y=svhn("test")["y"])
        monkeypatch.setattr(remembered, "_of_this_process", {})
        found.append(content_fingerprint(data_config("npz", path=path)))
    assert len(set(found)) == 3
