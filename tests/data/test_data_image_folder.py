"""`data=folder`: images in one subfolder per class, as torchvision's ImageFolder reads them."""

import numpy as np
import pytest
import torch
from PIL import Image

from bnlab.config.compose import compose_run
from bnlab.data.fingerprint import content_fingerprint
from bnlab.data.image_folder import image_files, read_image_folder
from bnlab.data.opening import open_data
from bnlab.errors import DataError


def fill(folder, classes=("ant", "bee"), num=6, size=(9, 7), suffix=".png"):
    random = np.random.RandomState(len(str(folder.name)))
    for name in classes:
        for i in range(num):
            path = folder / name / ("deeper" if i % 3 == 2 else ".") / f"{i}{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.randint(0, 256, (*size[::-1], 3), np.uint8)).save(path)
    return folder


def config_of(folder, *words):
    return compose_run(["data=folder", f"data.path='{folder}'", "data.size=5", *words])


def test_images_and_labels_are_those_of_torchvisions_image_folder(tmp_path):
    datasets = pytest.importorskip("torchvision.datasets")
    from torchvision.transforms import CenterCrop, Compose, Resize  # noqa: PLC0415

    fill(tmp_path / "all")
    (tmp_path / "all" / "ant" / "notes.txt").write_text("no image")
    theirs = datasets.ImageFolder(tmp_path / "all", Compose([Resize(5), CenterCrop(5)]))
    source = read_image_folder(str(tmp_path / "all"), 5)
    assert source.train.labels.tolist() == [label for _, label in theirs]
    for image, (expected, _) in zip(source.train.images, theirs, strict=True):
        np.testing.assert_array_equal(image, np.asarray(expected))
    assert [str(path) for path in image_files(str(tmp_path / "all"))] == [path for path, _ in theirs.samples]


def test_without_a_folder_train_the_splits_are_drawn(tmp_path):
    data = open_data(config_of(fill(tmp_path / "all", num=20)).data)
    assert data.input_shape == (3, 5, 5)
    assert (len(data.train), len(data.validation), len(data.test)) == (28, 4, 8)


def test_folders_of_splits_stay_whole_and_labels_go_by_the_names_of_the_training_classes(tmp_path):
    fill(tmp_path / "train", ("ant", "bee", "cow"))
    fill(tmp_path / "test", ("bee", "cow"), num=2)
    config = config_of(tmp_path)
    assert (config.data.test_share, config.data.validation_share) == (None, 0.1)
    data = open_data(config.data)
    assert data.test.labels.tolist() == [1, 1, 2, 2]
    assert (len(data.train), len(data.validation)) == (16, 2)


def test_a_square_image_of_the_size_is_kept_as_it_is(tmp_path):
    fill(tmp_path / "all", size=(5, 5))
    first = image_files(str(tmp_path / "all"))[0]
    images = read_image_folder(str(tmp_path / "all"), 5).train.images
    np.testing.assert_array_equal(images[0], np.asarray(Image.open(first)))


def test_the_fingerprint_is_that_of_names_and_contents_wherever_they_lie(tmp_path):
    fill(tmp_path / "one" / "all")
    fill(tmp_path / "two" / "all")
    one, two = (content_fingerprint(config_of(tmp_path / name / "all").data) for name in ("one", "two"))
    assert one == two
    (tmp_path / "two" / "all" / "bee" / "1.png").rename(tmp_path / "two" / "all" / "ant" / "9.png")
    assert content_fingerprint(config_of(tmp_path / "two" / "all").data) != one


def test_what_is_no_such_folder_is_one_sentence(tmp_path):
    fill(tmp_path / "train")
    cases = {
        tmp_path / "nowhere": r"is not a folder\. Give the folder that holds one subfolder per class",
        tmp_path / "train" / "bee" / "deeper": r"has no subfolders\. Put the images of each class into one",
    }
    (tmp_path / "empty" / "a").mkdir(parents=True)
    cases[tmp_path / "empty"] = r"holds no image\. Remove it"
    fill(tmp_path / "test", ("bee", "wasp"))
    cases[tmp_path] = r"classes must be those of train, got wasp"
    damaged = fill(tmp_path / "damaged")
    (damaged / "ant" / "0.png").write_bytes(b"no image")
    cases[damaged] = r"0\.png is no image that can be read"
    for folder, said in cases.items():
        with pytest.raises(DataError, match=said):
            open_data(config_of(folder).data)


def test_gray_images_become_three_equal_channels(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.full((5, 5), 7, np.uint8)).save(tmp_path / name / "0.png")
    images = read_image_folder(str(tmp_path), 5).train.images
    assert torch.equal(torch.from_numpy(images), torch.full((2, 5, 5, 3), 7, dtype=torch.uint8))
