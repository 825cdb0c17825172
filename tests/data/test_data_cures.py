"""What messages about data propose, typed as it stands there."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from fake_files import data_config, said

from bnlab.config.compose import compose_run
from bnlab.data.opening import open_data
from bnlab.data.splits import DataSet
from bnlab.errors import DataError

RANDOM = np.random.default_rng(0)
IMAGES, TEST_IMAGES = RANDOM.random((40, 6, 5)), RANDOM.random((9, 6, 5))
TRAINED = np.arange(40) % 4
TESTED = np.array([0, 2, 3] * 3)  # not class 1
NAMES = np.array([0, 1, 2, 7])


def opened(**arrays: Any) -> DataSet:
    np.savez("mine.npz", **arrays)
    return open_data(compose_run(["data=npz", "data.path=mine.npz"]).data)


def refusal(**arrays: Any) -> str:
    with pytest.raises(DataError) as caught:
        opened(**arrays)
    return said(caught.value)


def typed(message: str, arrays: dict[str, Any]) -> dict[str, Any]:
    """Return the arrays after the line of code that ends a message."""
    code = re.search(r"(?:anew|classes): (.*)\.$", message)
    assert code is not None, message
    after = dict(arrays)
    exec(code[1], {"np": np}, after)
    return {name: after[name] for name in arrays}


FORMS = {
    "a gap": lambda labels: NAMES[labels],
    "names": lambda labels: np.array(["ant", "cat", "cow", "dog"])[labels],
    "from -1": lambda labels: labels - 1,
    "halves": lambda labels: labels / 2,
    "a column": lambda labels: NAMES[labels][:, None],
    "one-hot with a column that is never set": lambda labels: np.eye(8)[NAMES[labels]],
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("layout", ["images", "train_images", "x_train"])
def test_all_label_arrays_of_a_file_are_numbered_by_the_training_classes(form: str, layout: str) -> None:
    others = {"images": ("test_images", "test_labels"), "train_images": ("test_images", "test_labels")}
    pairs = [(layout, {"x_train": "y_train"}.get(layout, layout.replace("images", "labels")))]
    pairs.append(others.get(layout, ("x_test", "y_test")))
    arrays = dict(zip([name for pair in pairs for name in pair], (IMAGES, FORMS[form](TRAINED)) * 2, strict=True))
    arrays |= {pairs[1][0]: TEST_IMAGES, pairs[1][1]: FORMS[form](TESTED)}
    data = opened(**typed(refusal(**arrays), arrays))
    np.testing.assert_array_equal(data.test.labels.numpy(), TESTED)
    np.testing.assert_array_equal(np.bincount(data.train.labels.numpy()), [9, 9, 9, 9])


def test_the_labels_of_two_files_are_numbered_together(tmp_path: Path) -> None:
    for split, images, labels in (("train", IMAGES, TRAINED), ("test", TEST_IMAGES, TESTED)):
        scipy.io.savemat(f"{split}_a.mat", {"X": np.moveaxis(images, 0, -1), "y": NAMES[labels]})
        np.savez(f"cifar10_{split}.npz", images=images, labels=NAMES[labels])
    for config, names in (
        (data_config("npz", path="train_a.mat", test_share=None), ("y", "test_y")),
        (data_config("cifar10", root=str(tmp_path)), ("labels", "test_labels")),
    ):
        with pytest.raises(DataError) as caught:
            open_data(config)
        cured = typed(said(caught.value), dict(zip(names, (NAMES[TRAINED], NAMES[TESTED]), strict=True)))
        np.testing.assert_array_equal(cured[names[1]], TESTED)


@pytest.mark.parametrize("form", ["a gap", "names", "from -1"])
def test_a_class_without_a_training_image_gets_no_number(form: str) -> None:
    trained, labels = np.where(TRAINED == 1, 0, TRAINED), FORMS[form](np.arange(9) % 4)
    arrays = {"images": IMAGES, "labels": FORMS[form](trained), "test_images": TEST_IMAGES, "test_labels": labels}
    message = refusal(**arrays)
    assert "searchsorted" not in message
    condition = re.search(r"keep the images where (np\.isin\(.*\))\.$", message)
    assert condition is not None, message
    keep = eval(condition[1], {"np": np}, arrays)
    arrays |= {name: arrays[name][keep] for name in ("test_images", "test_labels")}
    data = opened(**typed(refusal(**arrays), arrays))
    np.testing.assert_array_equal(data.test.labels.numpy(), [0, 1, 2, 0, 1, 2, 0])


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_infinity_is_replaced_by_the_nearest_finite_value(kind: type) -> None:
    images = (1000 * IMAGES).astype(kind)
    images[3, 0, 0], images[5, 1, 2], images[7, 0, 1] = np.inf, -np.inf, np.nan
    message = refusal(images=images, labels=TRAINED)
    cure = re.search(r"np\.nan_to_num\(.*\)", message)
    assert cure is not None, message
    cured = eval(cure[0], {"np": np, "images": images})
    finite = images[np.isfinite(images)]
    assert (cured[3, 0, 0], cured[5, 1, 2], cured[7, 0, 1]) == (finite.max(), finite.min(), 0)
    assert opened(images=cured, labels=TRAINED).warnings == ()


def test_images_of_nothing_but_infinity_are_left_out() -> None:
    assert refusal(images=np.full((40, 3), np.inf), labels=TRAINED).endswith("Leave them out.")
