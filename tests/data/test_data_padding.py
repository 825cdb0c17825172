"""Padding at the end of sequences: it counts for no mean and no deviation, and a run does not depend on its amount."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

import bnlab
from bnlab.config.compose import compose_run
from bnlab.data.opening import open_data
from bnlab.data.splits import padding_in

WORDS = ["data=npz", "data.path=mine.npz", "data.padding_value=-1"]


def write(num_rows, colors=1, seed=0):
    """Write digits of 3 to 8 rows, and -1 behind."""
    digits, labels = load_digits(return_X_y=True)
    lengths = np.random.default_rng(seed).integers(3, 9, len(digits))
    images = np.full((len(digits), num_rows, 8, colors), -1.0)
    for image, digit, length in zip(images, digits.reshape(-1, 8, 8, 1), lengths, strict=True):
        image[:length] = digit[:length]
    np.savez("mine.npz", images=images, labels=labels)
    return lengths


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("colors", [1, 3])
def test_padding_becomes_the_mean_and_counts_for_no_constant(colors):
    write(10, colors)
    train = open_data(compose_run(WORDS).data).train.images
    padding = (train == 0).all(3).all(1)  # (N, H)
    assert 0.3 < padding.float().mean() < 0.6
    values = train.movedim(1, 3)[~padding].double()
    torch.testing.assert_close(values.mean((0, 1)), torch.zeros(colors).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(values.square().mean((0, 1)), torch.ones(colors).double(), atol=1e-5, rtol=0)


def test_rows_that_hold_the_value_and_are_followed_by_others_are_no_padding():
    images = torch.zeros(1, 2, 5, 3)
    images[0, 1, 2, 1] = 4
    assert padding_in(images, 0.0).flatten().tolist() == [False, False, False, True, True]
    assert not padding_in(images, 1.0).any()


def test_without_a_value_nothing_is_padding():
    write(10)
    train = open_data(compose_run(WORDS[:2]).data).train.images
    torch.testing.assert_close(train.double().mean(), torch.tensor(0.0).double(), atol=1e-5, rtol=0)
    assert not (train == 0).all(3).any()


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_more_padding_does_not_change_what_a_run_comes_to(norm):
    results = []
    for num_rows in (8, 20):
        write(num_rows)
        more = ["norm.momentum=null"] if norm == "batch" else []
        words = ["model=lstm", "model.skip_padding=true", "model.width=8", f"norm={norm}", "train.steps=30", *more]
        summary = bnlab.train([*WORDS, *words, "optim.lr=0.1", "diagnostics=none"])
        results.append(torch.tensor([summary.test_loss, summary.validation_loss]))
    torch.testing.assert_close(*results, rtol=1e-4, atol=0)  # float32: products of other shapes round differently
