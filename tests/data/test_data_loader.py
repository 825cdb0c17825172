from itertools import islice

import numpy as np
import pytest
import torch
from fake_files import data_config, said
from folded import folded
from torch import Tensor

from bnlab.data.loader import Batches, augmented
from bnlab.data.splits import Split
from bnlab.errors import ConfigError

PLAIN = data_config("mnist", flip=False, crop_padding=0)
AUGMENTED = data_config("mnist", flip=True, crop_padding=2)


def split_of(num_images: int) -> Split:
    """Return images whose every pixel, and whose label, is their number."""
    numbers = torch.arange(num_images)
    return Split(numbers.float().view(-1, 1, 1, 1).expand(-1, 3, 5, 4).contiguous(), numbers)


def labels_of(batches: Batches, num_batches: int) -> list[list[int]]:
    return [labels.tolist() for _, labels in islice(batches, num_batches)]


# --- order


@pytest.mark.parametrize(("num_images", "batch_size", "num_per_epoch"), [(23, 5, 4), (20, 5, 4), (7, 7, 1), (7, 1, 7)])
def test_each_epoch_visits_each_image_at_most_once_and_drops_the_last_partial_batch(
    num_images: int, batch_size: int, num_per_epoch: int
) -> None:
    batches = Batches(split_of(num_images), batch_size, PLAIN, seed=0)
    assert batches.num_per_epoch == num_per_epoch
    labels = labels_of(batches, 3 * num_per_epoch)
    assert {len(batch) for batch in labels} == {batch_size}
    for epoch in range(3):
        seen = [label for batch in labels[epoch * num_per_epoch : (epoch + 1) * num_per_epoch] for label in batch]
        assert len(set(seen)) == len(seen) == num_per_epoch * batch_size


def test_images_come_with_their_own_labels() -> None:
    for images, labels in islice(Batches(split_of(23), 5, PLAIN, seed=0), 9):
        torch.testing.assert_close(images, labels.float().view(-1, 1, 1, 1).expand(-1, 3, 5, 4), rtol=0, atol=0)


def test_over_many_epochs_no_image_is_left_out() -> None:
    seen = {label for batch in labels_of(Batches(split_of(23), 5, PLAIN, seed=0), 40) for label in batch}
    assert seen == set(range(23))


def test_two_epochs_are_ordered_differently() -> None:
    labels = labels_of(Batches(split_of(100), 50, PLAIN, seed=0), 4)
    assert sorted(labels[0] + labels[1]) == sorted(labels[2] + labels[3]) == list(range(100))
    assert labels[0] + labels[1] != labels[2] + labels[3]


def test_one_seed_gives_one_order_whatever_the_augmentation_and_two_seeds_give_two() -> None:
    order = labels_of(Batches(split_of(100), 10, PLAIN, seed=3), 25)
    for config in (PLAIN, AUGMENTED, data_config("mnist", flip=True), data_config("mnist", crop_padding=1)):
        assert labels_of(Batches(split_of(100), 10, config, seed=3), 25) == order
    assert labels_of(Batches(split_of(100), 10, PLAIN, seed=4), 25) != order


@pytest.mark.parametrize("num_taken", [0, 3, 4, 6])
def test_a_stream_that_is_set_back_stands_where_it_stood_and_says_so(num_taken: int) -> None:
    batches = Batches(split_of(23), 5, AUGMENTED, seed=0)  # four batches per epoch
    labels_of(batches, num_taken)
    before = batches.state()
    first = [(images, labels.tolist()) for images, labels in islice(batches, 9)]
    batches.load_state(before)
    after = batches.state()
    assert before["position"] == after["position"]
    assert torch.equal(before["order"], after["order"])
    assert torch.equal(before["augmentation"], after["augmentation"])
    for (images, labels), (images_again, labels_again) in zip(first, islice(batches, 9), strict=True):
        assert labels == labels_again.tolist()
        assert torch.equal(images, images_again)


def test_one_seed_gives_one_augmentation_and_two_seeds_give_two() -> None:
    """All images are alike: without that, the order of a seed would decide which of them are flipped."""
    image = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))
    split = Split(image.expand(20, 3, 5, 4).contiguous(), torch.arange(20))

    def images(seed: int) -> Tensor:
        return torch.cat([images for images, _ in islice(Batches(split, 20, AUGMENTED, seed), 3)])

    torch.testing.assert_close(images(0), images(0), rtol=0, atol=0)
    assert not torch.equal(images(0), images(1))


def test_batches_leave_the_callers_random_state_alone() -> None:
    before = torch.get_rng_state()
    labels_of(Batches(split_of(20), 5, AUGMENTED, seed=0), 9)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_batch_does_not_share_memory_with_the_split() -> None:
    split = split_of(6)
    images, labels = next(iter(Batches(split, 6, PLAIN, seed=0)))
    images.fill_(-1)
    labels.fill_(-1)
    assert split.images.min() == 0
    assert split.labels.min() == 0


def test_rows_of_numbers_are_batched_too() -> None:
    split = Split(torch.arange(8.0).view(8, 1).expand(8, 5), torch.arange(8))
    images, labels = next(iter(Batches(split, 3, PLAIN, seed=0)))
    torch.testing.assert_close(images, labels.float().view(3, 1).expand(3, 5))


# --- what cannot be


def test_a_batch_larger_than_the_split_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        Batches(split_of(7), 8, PLAIN, seed=0)
    said(caught.value, "train.batch_size", "8", "7 images", "Try train.batch_size=7")


@pytest.mark.parametrize("changes", [{"flip": True}, {"crop_padding": 1}])
def test_augmentation_of_rows_is_named(changes: dict[str, object]) -> None:
    split = Split(torch.zeros(8, 30), torch.zeros(8, dtype=torch.int64))
    with pytest.raises(ConfigError) as caught:
        Batches(split, 4, data_config("mnist", **changes), seed=0)
    said(caught.value, "data.flip and data.crop_padding", "30 numbers", "data.flip=false data.crop_padding=0")


def test_a_shift_by_the_whole_image_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        Batches(split_of(8), 4, data_config("mnist", crop_padding=4), seed=0)  # 5x4 pixels
    said(caught.value, "data.crop_padding", "4, with 5x4 pixels", "Try")
    Batches(split_of(8), 4, data_config("mnist", crop_padding=3), seed=0)


# --- augmentation


def one_by_one(images: np.ndarray, flip: bool, crop_padding: int, generator: torch.Generator) -> np.ndarray:
    """Augment each image by itself: mirror it, pad it, cut a window out. Draws as bnlab does, by images."""
    num_images, num_channels, height, width = images.shape
    top = torch.randint(2 * crop_padding + 1, (num_images,), generator=generator).tolist()
    left = torch.randint(2 * crop_padding + 1, (num_images,), generator=generator).tolist()
    mirrored = [False] * num_images
    if flip:
        mirrored = (torch.rand(num_images, generator=generator) < 0.5).tolist()
    result = np.empty_like(images)
    for index in range(num_images):
        large = np.zeros((num_channels, height + 2 * crop_padding, width + 2 * crop_padding), images.dtype)
        large[:, crop_padding : crop_padding + height, crop_padding : crop_padding + width] = images[index]
        window = large[:, top[index] : top[index] + height, left[index] : left[index] + width]
        result[index] = window[:, :, ::-1] if mirrored[index] else window
    return result


@folded("flip", [False, True])
@folded("crop_padding", [0, 1, 3])
@folded("num_channels", [1, 3])
def test_augmentation_is_that_of_an_oracle_that_takes_one_image_at_a_time(
    flip: bool, crop_padding: int, num_channels: int
) -> None:
    images = torch.randn(64, num_channels, 7, 5, generator=torch.Generator().manual_seed(1))
    result = augmented(images, flip, crop_padding, torch.Generator().manual_seed(2))
    expected = one_by_one(images.numpy(), flip, crop_padding, torch.Generator().manual_seed(2))
    np.testing.assert_array_equal(result.numpy(), expected)


def test_without_flip_and_padding_nothing_is_changed() -> None:
    images = torch.randn(8, 3, 7, 5, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(augmented(images, False, 0, torch.Generator()), images, rtol=0, atol=0)


def test_augmentation_and_selection_keep_the_channels_last_layout() -> None:
    images = torch.randn(8, 3, 7, 5).to(memory_format=torch.channels_last)
    assert augmented(images, True, 2, torch.Generator()).is_contiguous(memory_format=torch.channels_last)
    for config in (PLAIN, AUGMENTED):
        batch, _ = next(iter(Batches(Split(images, torch.arange(8)), 4, config, seed=0)))
        assert batch.is_contiguous(memory_format=torch.channels_last)


def test_all_shifts_and_both_sides_come_up_equally_often() -> None:
    image = torch.arange(1.0, 26.0).view(1, 1, 5, 5)
    results = augmented(image.expand(9000, -1, -1, -1), True, 1, torch.Generator().manual_seed(0))
    kinds, counts = results.flatten(1).unique(dim=0, return_counts=True)
    assert len(kinds) == 18  # 3 x 3 shifts, mirrored or not
    # 500 expected; 5 standard deviations of 9000 throws are 109
    np.testing.assert_allclose(counts.numpy(), 500, atol=109)
