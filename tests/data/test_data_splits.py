from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fake_files import data_config, said
from folded import folded
from hypothesis import given
from hypothesis import strategies as st

from bnlab.data import splits
from bnlab.data.arrays import Arrays, SourceData
from bnlab.data.sources import open_source
from bnlab.data.splits import DataSet, Split, split_source, stratified_choice
from bnlab.errors import ConfigError, DataError

SPLITS = ("train", "validation", "test")


def arrays_of(num_images: int, shape: tuple[int, ...] = (4, 3), num_classes: int = 2, seed: int = 0) -> Arrays:
    """Return images that say by their first number which they are."""
    images = np.random.default_rng(seed).normal(5, 3, (num_images, *shape)).astype(np.float32)
    images.reshape(num_images, -1)[:, 0] = np.arange(num_images)
    return Arrays(images, np.arange(num_images, dtype=np.int64) % num_classes)


def numbered(source: SourceData, data: DataSet) -> dict[str, np.ndarray]:
    """Return, for each split, the numbers of its images in the source: found again by their first channel.

    A channel is known up to the one shift and scale that all images have in common: so its own are taken off.
    """
    first_channel = source.train.images[..., 0] if source.train.images.ndim == 4 else source.train.images
    raw = standardized(torch.from_numpy(first_channel.astype(np.float32)).flatten(1))
    found = {}
    for name in SPLITS:
        images = getattr(data, name).images
        rows = standardized(images[:, 0].flatten(1) if images.dim() == 4 else images)
        found[name] = torch.cdist(rows, raw).argmin(1).numpy()
    return found


def standardized(rows: torch.Tensor) -> torch.Tensor:
    return (rows - rows.mean(1, keepdim=True)) / rows.std(1, keepdim=True)


@pytest.fixture(scope="module")
def mnist_5k() -> tuple[SourceData, DataSet]:
    config = data_config("mnist_5k")
    source = open_source(config)
    return source, split_source(source, config)


# --- which image goes where


def test_mnist_5k_has_3500_500_and_1000_images_with_each_digit_alike(mnist_5k: tuple[SourceData, DataSet]) -> None:
    _, data = mnist_5k
    assert [len(getattr(data, name)) for name in SPLITS] == [3500, 500, 1000]
    assert [getattr(data, name).labels.bincount().tolist() for name in SPLITS] == [[350] * 10, [50] * 10, [100] * 10]
    assert (data.num_classes, data.input_shape) == (10, (1, 28, 28))


@pytest.mark.slow
def test_the_splits_are_disjoint_and_their_union_is_the_whole_set(mnist_5k: tuple[SourceData, DataSet]) -> None:
    source, data = mnist_5k
    found = numbered(source, data)
    assert sorted(np.concatenate(list(found.values()))) == list(range(5000))
    for name in SPLITS:
        np.testing.assert_array_equal(source.train.labels[found[name]], getattr(data, name).labels.numpy())


@pytest.mark.parametrize("name", ["validation", "test"])
def test_a_split_does_not_begin_with_one_class_though_the_file_is_sorted(
    mnist_5k: tuple[SourceData, DataSet], name: str
) -> None:
    source, data = mnist_5k
    assert (np.diff(source.train.labels) >= 0).all()
    assert len(getattr(data, name).labels[:256].unique()) == 10


@pytest.mark.slow
def test_the_splits_depend_on_split_seed(mnist_5k: tuple[SourceData, DataSet]) -> None:
    source, data = mnist_5k
    again = split_source(source, data_config("mnist_5k"))
    other = split_source(source, data_config("mnist_5k", split_seed=1))
    for name in SPLITS:
        torch.testing.assert_close(getattr(again, name).images, getattr(data, name).images, rtol=0, atol=0)
    assert (set(numbered(source, other)["test"]) & set(numbered(source, data)["test"])) != set(range(1000))
    assert not torch.equal(other.test.images, data.test.images)


def test_splitting_leaves_the_callers_random_state_alone() -> None:
    source = SourceData(arrays_of(40), None, "here")
    np.random.seed(5)
    torch.manual_seed(5)
    expected = (np.random.rand(), torch.rand(()).item())
    np.random.seed(5)
    torch.manual_seed(5)
    split_source(source, data_config("mnist_5k"))
    assert (np.random.rand(), torch.rand(()).item()) == expected


def test_the_test_split_does_not_depend_on_the_share_of_validation() -> None:
    source = SourceData(arrays_of(100), None, "here")
    small, large = (split_source(source, data_config("mnist_5k", validation_share=share)) for share in (0.1, 0.5))
    np.testing.assert_array_equal(numbered(source, small)["test"], numbered(source, large)["test"])
    assert (len(small.validation), len(large.validation)) == (10, 50)


def test_an_official_test_set_stays_whole_and_in_its_order() -> None:
    source = SourceData(arrays_of(100), arrays_of(30, seed=1), "here")
    data = split_source(source, data_config("mnist"))
    assert source.test is not None
    assert [len(getattr(data, name)) for name in SPLITS] == [90, 10, 30]
    np.testing.assert_array_equal(data.test.labels.numpy(), source.test.labels)
    order = data.test.images.reshape(30, -1)[:, 0].argsort()
    np.testing.assert_array_equal(order.numpy(), np.arange(30))


@pytest.mark.slow
def test_a_limit_keeps_at_most_so_many_images_of_each_split_with_classes_in_proportion(
    mnist_5k: tuple[SourceData, DataSet],
) -> None:
    source, whole = mnist_5k
    data = split_source(source, data_config("mnist_5k", limit=600))
    assert [getattr(data, name).labels.bincount().tolist() for name in SPLITS] == [[60] * 10, [50] * 10, [60] * 10]
    found, found_whole = numbered(source, data), numbered(source, whole)
    for name in SPLITS:
        assert set(found[name]) <= set(found_whole[name])
        assert len(set(found[name])) == len(getattr(data, name))


def test_a_limit_holds_for_an_official_test_set_too() -> None:
    data = split_source(SourceData(arrays_of(100), arrays_of(30), "here"), data_config("mnist", limit=7))
    assert [len(getattr(data, name)) for name in SPLITS] == [7, 7, 7]
    assert sorted(data.test.labels.bincount().tolist()) == [3, 4]


@given(
    counts=st.lists(st.integers(0, 60), min_size=1, max_size=12).filter(any),
    share=st.floats(0, 1),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_stratified_choice_is_exact_in_all_and_within_one_of_each_class_share(
    counts: list[int], share: float, seed: int
) -> None:
    labels = np.random.RandomState(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    num_chosen = round(share * len(labels))
    mask = stratified_choice(labels, num_chosen, np.random.RandomState(seed))
    assert mask.sum() == num_chosen
    for label, count in enumerate(counts):
        taken = int(mask[labels == label].sum())
        # in whole numbers: |taken - count * num_chosen / N| < 1
        assert abs(taken * len(labels) - count * num_chosen) < len(labels)


def test_a_stratified_choice_takes_each_image_of_a_class_equally_often() -> None:
    random = np.random.RandomState(0)
    labels = np.array([0] * 6 + [1] * 4)
    chosen = sum(stratified_choice(labels, 5, random).astype(int) for _ in range(2000))
    # 3 of 6 and 2 of 4: each with probability 1/2; 5 standard deviations of 2000 throws are 112
    np.testing.assert_allclose(chosen, 1000, atol=112)


# --- normalization


@folded("shape", [(5, 4), (5, 4, 1), (5, 4, 3), (20,)])
@folded("kind", ["uint8", "float32", "float64", ">f4", "int16"])
def test_the_training_split_has_mean_0_and_deviation_1_and_all_splits_its_constants(
    shape: tuple[int, ...], kind: str
) -> None:
    random = np.random.default_rng(0)
    num_channels = shape[2] if len(shape) == 3 else 1
    scales, shifts = np.array([3.0, 9.0, 20.0])[:num_channels], np.array([100.0, 30.0, 120.0])[:num_channels]
    last = (num_channels,) if len(shape) == 3 else (1,)
    raw = (random.normal(0, 1, (200, *shape)) * scales.reshape(last) + shifts.reshape(last)).clip(0, 255)
    images = raw.astype(kind)
    test = images[:50] + np.array(3).astype(kind)
    source = SourceData(Arrays(images, np.arange(200) % 2), Arrays(test, np.arange(50) % 2), "here")
    data = split_source(source, data_config("mnist"))

    channels = (lambda t: t.movedim(1, -1)) if len(shape) > 1 else (lambda t: t)
    train = channels(data.train.images).double().numpy().reshape(-1, num_channels)
    np.testing.assert_allclose(train.mean(0), 0, atol=2e-6)
    np.testing.assert_allclose(train.std(0), 1, atol=2e-6)
    # the oracle: float64 constants of the raw training images, which are those of the source without validation
    kept = np.setdiff1d(np.arange(200), numbered(source, data)["validation"])
    chosen = images.astype(np.float64)[kept].reshape(-1, num_channels)
    expected = (test.astype(np.float64) - chosen.mean(0).reshape(last)) / chosen.std(0).reshape(last)
    layout = data.test.images if len(shape) == 1 else data.test.images.permute(0, 2, 3, 1)
    np.testing.assert_allclose(layout.double().numpy().reshape(expected.shape), expected, atol=2e-5)


def test_the_constants_are_those_of_the_training_images_alone() -> None:
    train, test = arrays_of(60), arrays_of(20, seed=1)
    data = split_source(SourceData(train, test, "here"), data_config("mnist"))
    brighter = Arrays(test.images * 50 + 1000, test.labels)
    other = split_source(SourceData(train, brighter, "here"), data_config("mnist"))
    torch.testing.assert_close(other.train.images, data.train.images, rtol=0, atol=0)
    torch.testing.assert_close(other.validation.images, data.validation.images, rtol=0, atol=0)
    assert other.test.images.mean() > data.test.images.mean() + 100


def test_the_constants_are_those_of_the_images_left_by_the_limit() -> None:
    data = split_source(SourceData(arrays_of(60), None, "here"), data_config("mnist_5k", limit=9))
    assert len(data.train) == 9
    torch.testing.assert_close(data.train.images.mean(), torch.tensor(0.0), rtol=0, atol=1e-6)
    torch.testing.assert_close(data.train.images.std(correction=0), torch.tensor(1.0))


@pytest.mark.parametrize("value", [0.0, 7.0, 0.1, -1234.567, 1e-30])
def test_a_channel_without_contrast_is_0_and_a_test_image_is_not_blown_up_by_it(value: float) -> None:
    random = np.random.default_rng(0)
    images = random.normal(0, 1, (40, 13, 11, 2))
    images[..., 1] = value
    test = images[:10].copy()
    test[0, 0, 0, 1] += 1.0
    labels = np.arange(40) % 2
    data = split_source(SourceData(Arrays(images, labels), Arrays(test, labels[:10]), "here"), data_config("mnist"))
    # rounding of the mean: a few times 6e-8 of it
    assert data.train.images[:, 1].abs().max() <= 1e-6 * abs(value)
    torch.testing.assert_close(data.test.images[0, 1, 0, 0], torch.tensor(1.0), rtol=1e-3, atol=0)
    torch.testing.assert_close(data.train.images[:, 0].std(correction=0), torch.tensor(1.0))


@pytest.mark.parametrize(
    ("shape", "input_shape"), [((5, 4), (1, 5, 4)), ((5, 4, 3), (3, 5, 4)), ((5, 4, 1), (1, 5, 4)), ((7,), (7,))]
)
def test_images_become_channels_first_float_tensors_and_nothing_of_the_source_is_changed(
    shape: tuple[int, ...], input_shape: tuple[int, ...]
) -> None:
    arrays = arrays_of(30, shape)
    images, labels = arrays.images.copy(), arrays.labels.copy()
    source = SourceData(arrays, arrays, "here")
    data = split_source(source, data_config("mnist"))
    assert data.input_shape == input_shape
    assert (data.train.images.dtype, data.train.labels.dtype) == (torch.float32, torch.int64)
    data.test.images.zero_()
    data.test.labels.zero_()
    np.testing.assert_array_equal(arrays.images, images)
    np.testing.assert_array_equal(arrays.labels, labels)
    red = split_source(source, data_config("mnist")).test.images
    if len(shape) == 3:
        order = np.argsort(images[:, 2, 1, shape[2] - 1])
        np.testing.assert_array_equal(red[:, shape[2] - 1, 2, 1].argsort().numpy(), order)


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 3), (5, 4, 1), (7,)])
@pytest.mark.parametrize("channels_last", [False, True])
def test_a_data_set_is_laid_out_as_asked_for_without_a_change_of_its_numbers(
    shape: tuple[int, ...], channels_last: bool
) -> None:
    data = split_source(SourceData(arrays_of(30, shape), None, "here"), data_config("mnist_5k"))
    moved = data.to(torch.device("cpu"), channels_last)
    for name in SPLITS:
        images = getattr(moved, name).images
        as_asked = torch.channels_last if channels_last and len(shape) > 1 else torch.contiguous_format
        assert images.is_contiguous(memory_format=as_asked)
        torch.testing.assert_close(images, getattr(data, name).images, rtol=0, atol=0)
    assert (moved.num_classes, moved.found_in) == (2, "here")


def test_the_length_of_a_split_is_the_number_of_its_images() -> None:
    assert len(Split(torch.zeros(5, 1, 2, 2), torch.zeros(5, dtype=torch.int64))) == 5


# --- what cannot be split


def source_of(labels: list[int], test_labels: list[int] | None = None) -> SourceData:
    def arrays(given: list[int]) -> Arrays:
        return Arrays(np.random.default_rng(0).normal(size=(len(given), 3, 2)), np.array(given, dtype=np.int64))

    return SourceData(arrays(labels), None if test_labels is None else arrays(test_labels), "here")


WRONG_LABELS: dict[str, tuple[SourceData, list[str]]] = {
    "one class": (source_of([0] * 40), ["at least two classes", "[0]", "Add images"]),
    "a gap": (source_of([0, 1, 3] * 20), ["without a gap", "largest is 3", "[2]", "return_inverse"]),
    "from 1": (source_of([1, 2] * 20), ["without a gap", "[0]", "return_inverse"]),
    "years": (source_of([2**60, 0, 2**60 - 1] * 20), ["without a gap", str(2**60), "[1, 2]", "return_inverse"]),
}


@pytest.mark.parametrize("wrong", WRONG_LABELS)
def test_labels_that_are_no_classes_are_named(wrong: str) -> None:
    source, words = WRONG_LABELS[wrong]
    with pytest.raises(DataError) as caught:
        split_source(source, data_config("npz", path="mine.npz"))
    said(caught.value, "mine.npz", *words)


def test_a_test_label_that_was_never_trained_is_named() -> None:
    with pytest.raises(DataError) as caught:
        split_source(source_of([0, 1] * 20, [0, 2]), data_config("mnist"))
    said(caught.value, "data=mnist: test labels must be classes of the training images, got 2")


def test_a_class_none_of_which_is_left_for_training_is_named() -> None:
    with pytest.raises(DataError) as caught:
        split_source(source_of([0] * 30 + [1]), data_config("mnist_5k", test_share=0.5, validation_share=0.45))
    said(caught.value, "data=mnist_5k", "class 1", "data.validation_share")


def test_training_and_test_images_of_two_shapes_are_named() -> None:
    with pytest.raises(DataError) as caught:
        split_source(SourceData(arrays_of(40, (4, 3)), arrays_of(9, (3, 4)), "here"), data_config("mnist"))
    said(caught.value, "data=mnist", "(4, 3)", "(3, 4)")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"validation_share": 0.01}, ["no validation images", "of 10", "Raise data.validation_share"]),
        ({"test_share": 0.01}, ["no test images", "of 10", "Raise data.test_share"]),
        ({"test_share": 0.49, "validation_share": 0.5}, ["no training images", "Lower"]),
    ],
)
def test_a_split_without_an_image_is_named_with_the_setting_that_mends_it(
    changes: dict[str, Any], words: list[str]
) -> None:
    source = source_of([0, 1] * 5) if "test_share" not in changes or changes["test_share"] < 0.4 else source_of([0, 1])
    words = [word.replace("of 10", f"of {len(source.train.labels)}") for word in words]
    with pytest.raises(DataError) as caught:
        split_source(source, data_config("mnist_5k", **changes))
    said(caught.value, "data=mnist_5k", *words)


def test_shares_that_do_not_go_together_or_with_the_set_are_named() -> None:
    without, with_test = source_of([0, 1] * 20), source_of([0, 1] * 20, [0, 1])
    with pytest.raises(ConfigError) as caught:
        split_source(without, data_config("mnist_5k", test_share=0.6, validation_share=0.4))
    said(caught.value, "data.test_share", "0.6 + 0.4", "below 1", "Lower")
    with pytest.raises(ConfigError) as caught:
        split_source(without, data_config("mnist_5k", test_share=None))
    said(caught.value, "data.test_share must be set", "data=mnist_5k", "data.test_share=0.2")
    with pytest.raises(ConfigError) as caught:
        split_source(with_test, data_config("mnist", test_share=0.2))
    said(caught.value, "data.test_share must be null", "data=mnist", "0.2", "Leave it out")


def test_images_larger_than_memory_are_refused_before_they_become_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    source = SourceData(arrays_of(4000), None, "here")
    num_bytes = 4 * source.train.images.size
    monkeypatch.setattr(splits, "memory_bytes", lambda: num_bytes - 1)
    with pytest.raises(DataError) as caught:
        split_source(source, data_config("mnist_5k"))
    said(caught.value, "data=mnist_5k", "must fit into memory", "Lower data.limit")
    assert len(split_source(source, data_config("mnist_5k", limit=100)).train) == 100
    monkeypatch.setattr(splits, "memory_bytes", lambda: num_bytes)
    split_source(source, data_config("mnist_5k"))


# --- real data


@pytest.mark.slow
def test_real_mnist_is_normalized_by_54_000_images_of_its_own(real_data: Path) -> None:
    config = data_config("mnist", root=str(real_data))
    data = split_source(open_source(config), config)
    assert [len(getattr(data, name)) for name in SPLITS] == [54000, 6000, 10000]
    assert data.train.images.double().mean().abs() < 1e-5
    torch.testing.assert_close(
        data.train.images.double().std(), torch.tensor(1.0, dtype=torch.float64), rtol=0, atol=1e-5
    )
    # 0.1307 and 0.3081, the well-known constants of all 60,000: black is (0 - 0.1307) / 0.3081
    assert data.train.images.min().item() == pytest.approx(-0.1307 / 0.3081, abs=2e-3)
