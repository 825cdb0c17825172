"""A test set on another scale than the training set is told; official test sets, whole or in part, are not."""

import re
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from bnlab.config.compose import compose_run
from bnlab.data.arrays import Arrays, SourceData
from bnlab.data.opening import open_data
from bnlab.data.sources import open_source
from bnlab.data.splits import DataSet, split_source
from bnlab.experiment.checking import check

DIGITS = load_digits()
X, Y = DIGITS.images / 16, DIGITS.target
ARRAYS = {"images": X[:1400], "labels": Y[:1400], "test_images": X[1400:], "test_labels": Y[1400:]}


def warnings_of(**changed: Any) -> tuple[str, ...]:
    np.savez("mine.npz", **(ARRAYS | changed))
    return open_data(compose_run(["data=npz", "data.path=mine.npz"]).data).warnings


@pytest.mark.parametrize(
    ("changed", "words", "cure"),
    [
        ({"test_images": X[1400:] * 255}, r"contrast is 25\d times as large", "Divide the test images by 255 before"),
        ({"images": X[:1400] * 255}, "contrast is 0.0039\\d* times as large", "Multiply the test images by 255 before"),
        ({"test_images": 2 * X[1400:] - 1}, "Training images range from 0 to 1, test images from -1 to 1", "one scale"),
        ({"images": (X[:1400] - 0.3) / 0.38}, "contrast is 0.38\\d* times as large", "one scale"),
        ({"test_images": 1 - X[1400:]}, r"their mean [\d.]+ standard deviations higher", "one scale"),
        ({"val_images": X[:50] * 255, "val_labels": Y[:50]}, "the validation images are on", "Divide the validation"),
    ],
    ids=["bytes", "training bytes", "from -1", "standardized training images", "inverted", "validation"],
)
def test_another_scale_is_named_with_a_cure(changed: dict[str, Any], words: str, cure: str) -> None:
    (message,) = warnings_of(**changed)
    assert len(message.splitlines()) == 2
    assert re.search(words, message)
    assert cure in message.splitlines()[1]


def test_what_it_proposes_cures_and_training_tells_it_once() -> None:
    bytes_in_test = X[1400:] * 255
    np.savez("mine.npz", **(ARRAYS | {"test_images": bytes_in_test}))
    words = ["data=npz", "data.path=mine.npz", "train.steps=500"]
    assert sum("another scale" in warning for warning in check(compose_run(words)).warnings) == 1
    assert warnings_of(test_images=bytes_in_test / 255) == ()


@pytest.mark.parametrize("name", ["one odd image", "rows", "bytes", "few images", "one class"])
def test_the_same_scale_gives_no_warning(name: str) -> None:
    odd = X[1400:].copy()
    odd[5] *= 1e4
    changed: dict[str, dict[str, Any]] = {
        "one odd image": {"test_images": odd},
        "rows": {"images": X[:1400].reshape(-1, 64), "test_images": X[1400:].reshape(-1, 64)},
        "bytes": {"images": (X[:1400] * 255).astype(np.uint8), "test_images": (X[1400:] * 255).astype(np.uint8)},
        "few images": {"test_images": 0 * X[1400:1410], "test_labels": Y[1400:1410]},
        "one class": {"test_images": X[1400:][Y[1400:] == 1], "test_labels": Y[1400:][Y[1400:] == 1]},
    }
    assert warnings_of(**changed[name]) == ()


@pytest.mark.slow
def test_random_parts_of_real_data_are_on_one_scale() -> None:
    images = open_source(compose_run(["data=mnist_5k"]).data).train.images
    random = np.random.default_rng(0)
    for _ in range(3):
        order = random.permutation(len(images))
        parts = [Arrays(images[part], np.arange(len(part)) % 2) for part in (order[:500], order[500:520])]
        data: DataSet = split_source(SourceData(parts[0], parts[1], "here"), compose_run(["data=mnist"]).data)
        assert data.warnings == ()
