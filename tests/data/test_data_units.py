from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from folded import folded
from sklearn.datasets import load_digits

from bnlab.config.compose import compose_run
from bnlab.data import units
from bnlab.data.opening import open_data
from bnlab.data.units import find_other_units

DIGITS = load_digits()


def warnings_about(images: np.ndarray) -> list[str]:
    return list(find_other_units(images, "rows.npz"))


def test_one_column_in_other_units_is_named_with_a_cure_that_cures() -> None:
    images = DIGITS.data.copy()
    images[:, 30] *= 1e4
    np.savez("rows.npz", images=images, labels=DIGITS.target)
    (message,) = open_data(compose_run(["data=npz", "data.path=rows.npz"]).data).warnings
    assert len(message.splitlines()) == 2
    assert "rows.npz: 53 of 64 columns of images hardly count: they range over less than 0.3 times 5.43e+03" in message
    code = message.partition("save them: ")[2]
    cured: dict[str, np.ndarray] = {"images": images}
    exec(code, {"np": np}, cured)
    assert warnings_about(cured["images"]) == []
    assert np.isfinite(cured["images"]).all()
    varying = DIGITS.data.std(0) > 0
    np.testing.assert_allclose(cured["images"][:, varying].std(0), 1)
    assert not cured["images"][:, ~varying].any()  # constant columns


@folded(
    ("name", "images"),
    [
        ("pixels", DIGITS.data),
        ("pixels as bytes", DIGITS.data.astype(np.uint8)),
        ("yes and no", DIGITS.data > 8),
        ("one row", DIGITS.data[:1]),
        ("images", DIGITS.images),
        ("images of one bright column", DIGITS.images * np.array([1, 1, 1, 1e4, 1, 1, 1, 1])),
        ("colors, one of them constant", np.stack([DIGITS.images, 1e6 + 0 * DIGITS.images, DIGITS.images], 3)),
        ("dark bytes", (DIGITS.images > 15).astype(np.uint8)),
        ("a few rare words", np.where(np.arange(64) < 5, 1e-4, 1) * DIGITS.data),
        ("three times", np.where(np.arange(64) < 32, 3, 1) * DIGITS.data),
    ],
)
def test_what_shares_its_units_gives_no_warning(name: str, images: np.ndarray) -> None:
    assert warnings_about(images) == [], name


@pytest.mark.parametrize(
    ("images", "num_small"),
    [
        (np.where(np.arange(64) < 32, 1000, 1) * DIGITS.data, 27),
        (
            np.hstack([DIGITS.data, np.full((1797, 3), 1e6)]),
            54,
        ),  # constant: no range of their own, but they move the mean
        (np.where(np.arange(1797)[:, None] == 5, 1e9, DIGITS.data), 54),  # one row
    ],
    ids=["half of the columns", "large constants", "one row"],
)
def test_columns_that_are_lost_are_counted(images: np.ndarray, num_small: int) -> None:
    (message,) = warnings_about(images)
    assert f"{num_small} of {images.shape[1]} columns of images hardly count" in message


def test_one_image_that_outweighs_all_others_is_named() -> None:
    images = DIGITS.images.copy()
    images[5] = 1e9
    (message,) = warnings_about(images)
    assert "1797 of 1797 images hardly count" in message
    assert "pixels up to 1e+09, as in image 5, that is 2.36e+07" in message


def test_equal_images_are_named() -> None:
    for images in (np.ones((20, 5)), np.zeros((20, 4, 4, 3), np.uint8)):
        assert warnings_about(images) == ["rows.npz: all images are the same, so there is nothing to learn from them."]


@pytest.mark.parametrize("shape", [(2500, 7), (2500, 3, 2, 4)])
def test_the_standard_deviation_is_numpys_own_in_float64(shape: tuple[int, ...]) -> None:
    images = (1e4 + np.random.default_rng(0).normal(size=shape)).astype(np.float32)
    channels = shape[-1] if len(shape) == 4 else 1
    pixels = images.reshape(len(images), -1, channels)
    expected = pixels.astype(np.float64).std((0, 1))
    np.testing.assert_allclose(units._standard_deviation(pixels), expected, rtol=1e-9)


@pytest.mark.slow
def test_a_sweep_warns_once_and_every_log_has_it(bnlab_says: Callable[..., Any]) -> None:
    images = DIGITS.data.copy()
    images[:, 30] *= 1e4
    np.savez("rows.npz", images=images, labels=DIGITS.target)
    words = ["data=npz", "data.path=rows.npz", "train.steps=2", "seed=0,1", "norm=none", "diagnostics=none"]
    answer = bnlab_says("sweep", *words, "loggers=[]", "sweep.engine=sequential", "--jobs", "1")
    assert (answer.status, answer.err.count("53 of 64 columns")) == (0, 1)
    logs = list(Path("runs").rglob("log.txt"))
    assert [log.read_text().count("53 of 64 columns") for log in logs] == [1, 1]
