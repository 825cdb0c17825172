"""A folder of image files, one subfolder per class, as torchvision's ImageFolder has it.

Subfolders ``train``, ``val`` (or ``valid``, ``validation``) and ``test`` are splits, if there is one named train; else
the subfolders are classes, and the splits are drawn. The order of classes is that of their names.
"""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bnlab.data.arrays import Arrays, SourceData, checked
from bnlab.data.locations import without_tilde
from bnlab.errors import DataError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""Those of torchvision.datasets.folder; other files are passed over."""

_SPLITS = {"train": ("train",), "validation": ("val", "valid", "validation"), "test": ("test",)}


def folders_of_splits(given: str) -> dict[str, Path]:
    """Return the folder of each split; only ``train``, which is then the whole folder, where it holds classes.

    Args:
        given: The value of data.path.
    """
    root = without_tilde(given)
    found = {
        split: root / name for split, names in _SPLITS.items() for name in reversed(names) if (root / name).is_dir()
    }
    return found if "train" in found else {"train": root}


def image_files(given: str) -> list[Path]:
    """Return all image files that would be read.

    Args:
        given: The value of data.path.

    Raises:
        DataError: There is no such folder, or it has no subfolders with images.
    """
    return [path for folder in folders_of_splits(given).values() for path, _ in _listed(folder, _classes_in(folder))]


def read_image_folder(given: str, size: int) -> SourceData:
    """Read all images as RGB: the shorter side becomes ``size`` pixels, and the middle square is cut out.

    Args:
        given: The value of data.path.
        size: Pixels of a side, 1 or more.

    Raises:
        DataError: The folder is not there or not of this form, a file is no image, or a split has a class of its own.
    """
    folders = folders_of_splits(given)
    classes = _classes_in(folders["train"])
    splits: dict[str, Arrays] = {}
    for split, folder in folders.items():
        others = [name for name in _classes_in(folder) if name not in classes]
        if others:
            raise DataError(
                f"{folder}: classes must be those of {folders['train'].name}, got {others[0]}, which it lacks. Name "
                "the subfolders alike."
            )
        files = _listed(folder, classes)
        images = np.empty((len(files), size, size, 3), np.uint8)
        for i, (path, _) in enumerate(files):
            images[i] = _read_image(path, size)
        labels = np.array([label for _, label in files], np.int64)
        splits[split] = checked(images, labels, str(folder))
    return SourceData(splits["train"], splits.get("test"), given, splits.get("validation"))


def _classes_in(folder: Path) -> list[str]:
    """Return the names of the subfolders, sorted.

    Raises:
        DataError: There is no such folder, or it has none.
    """
    if not folder.is_dir():
        raise DataError(f"data.path={folder} is not a folder. Give the folder that holds one subfolder per class.")
    classes = sorted(path.name for path in folder.iterdir() if path.is_dir())
    if not classes:
        raise DataError(f"{folder} has no subfolders. Put the images of each class into one, named as the class.")
    return classes


def _listed(folder: Path, classes: list[str]) -> list[tuple[Path, int]]:
    """Return each image file of a split with its label, in the order of torchvision's ImageFolder.

    Raises:
        DataError: There are none of a class that has a subfolder.
    """
    found = []
    for label, name in enumerate(classes):
        inside = [
            (Path(root) / file, label)
            for root, _, files in sorted(os.walk(folder / name, followlinks=True))
            for file in sorted(files)
            if file.lower().endswith(EXTENSIONS)
        ]
        if not inside and (folder / name).is_dir():
            raise DataError(
                f"{folder / name} holds no image. Remove it, or add files that end in one of {', '.join(EXTENSIONS)}."
            )
        found += inside
    return found


def _read_image(path: Path, size: int) -> NDArray[np.uint8]:
    """Return an image, (size, size, 3).

    Raises:
        DataError: The file is no image that can be read.
    """
    from PIL import Image  # noqa: PLC0415  (few have such folders)

    try:
        with Image.open(path) as image:
            rgb = image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} is no image that can be read. Remove it, or write it anew.") from error
    scale = size / min(rgb.size)
    width, height = (max(size, round(side * scale)) for side in rgb.size)
    left, top = (width - size) // 2, (height - size) // 2
    resized = rgb.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=None)
    return np.asarray(resized.crop((left, top, left + size, top + size)))
