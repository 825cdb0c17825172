import logging

import numpy as np
import pytest
from sklearn.datasets import load_digits

from bnlab.config.compose import compose_run
from bnlab.data.opening import open_data
from bnlab.data.units import warn_of_units

DIGITS = load_digits()


def warnings_about(images: np.ndarray, caplog: pytest.LogCaptureFixture) -> list[str]:
    caplog.clear()
    with caplog.at_level(logging.WARNING, "bnlab"):
        warn_of_units(images, "rows.npz")
    return [record.getMessage() for record in caplog.records]


def test_one_column_in_other_units_is_named_with_a_cure_that_cures(caplog: pytest.LogCaptureFixture) -> None:
    images = DIGITS.data.copy()
    images[:, 30] *= 1e4
    np.savez("rows.npz", images=images, labels=DIGITS.target)
    with caplog.at_level(logging.WARNING, "bnlab"):
        open_data(compose_run(["data=npz", "data.path=rows.npz"]).data)
    (message,) = [record.getMessage() for record in caplog.records]
    assert len(message.splitlines()) == 2
    assert "rows.npz: columns of images are in different units: number 30 ranges over 1.5e+05, and 60 of 64" in message
    code = message.partition("save them: ")[2]
    cured: dict[str, np.ndarray] = {"images": images}
    exec(code, {"np": np}, cured)
    assert warnings_about(cured["images"], caplog) == []
    assert np.isfinite(cured["images"]).all()
    varying = DIGITS.data.std(0) > 0
    np.testing.assert_allclose(cured["images"][:, varying].std(0), 1)
    assert not cured["images"][:, ~varying].any()  # constant columns


@pytest.mark.parametrize(
    ("name", "images"),
    [
        ("pixels", DIGITS.data),
        ("pixels as bytes", DIGITS.data.astype(np.uint8)),
        ("yes and no", DIGITS.data > 8),
        ("one value everywhere", np.ones((20, 5))),
        ("one row", DIGITS.data[:1]),
        ("images", DIGITS.images * np.array([1e4, *[1] * 7])),
        ("a few rare words", np.where(np.arange(64) < 5, 1e-4, 1) * DIGITS.data),
        ("ten times", np.where(np.arange(64) < 32, 10, 1) * DIGITS.data),
    ],
)
def test_what_shares_its_units_gives_no_warning(
    name: str, images: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    assert warnings_about(images, caplog) == [], name


def test_half_of_the_columns_in_other_units_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    (message,) = warnings_about(np.where(np.arange(64) < 32, 1000, 1) * DIGITS.data, caplog)
    assert "of 64 over less than a hundredth" in message
