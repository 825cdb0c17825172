"""Finds test images on another scale than the training images: bytes beside shares of 1, say.

Shape letters: N images, C color channels.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bnlab.data.arrays import Arrays

LEAST, MOST = 0.6, 1.8
"""Contrast of an official split, as a share of the training images', outside of which a warning is due.

Ours, measured on digits and mnist_5k: networks with batch norm, 300 steps, test images times k. Test accuracy on digits
is 97% at k = 1, 94% at 0.67 and at 2, 82% at 0.5, 40% at 0.33. Random 20 images of the test sets of MNIST, CIFAR-10,
Fashion-MNIST and digits, 300 draws each, are at 0.70 to 1.27; whole test sets at 0.96 to 1.01.
"""

FAR = 0.75
"""Brightness of an official split, in standard deviations of the training images, from which on a warning is due.

Ours, measured in the same way, with test images plus c: 94% at c = 0.5, 79% at 1, with any norm and with none. Those
random 20 images are off by up to 0.48, whole test sets by 0.03.
"""

_FEWEST = 20
"""Images below which a split says too little about its scale."""

_NUM_IMAGES = 2000
"""Images of each split that are looked at."""


def find_other_scale(train: Tensor, others: Tensor, name: str, raw: tuple[Arrays, Arrays], place: str) -> Iterator[str]:
    """Yield a warning where the images of an official split are on another scale than the training images.

    Contrast is the median over images of the standard deviation inside of an image, brightness that of its mean: one
    odd image changes neither.

    Args:
        train: The training images, standardized.
        others: The images of the official split, standardized in the same way.
        name: The name of the split.
        raw: Both as they are in the file, for the message.
        place: The file or data set, which the message names.
    """
    if min(len(train), len(others)) < _FEWEST:
        return
    (bright_C, contrast_C), (other_bright_C, other_contrast_C) = (_look(images) for images in (train, others))
    ratio_C = np.divide(other_contrast_C, contrast_C, out=np.ones_like(contrast_C), where=contrast_C > 0)
    shift_C = other_bright_C - bright_C
    ratio, shift = ratio_C[np.abs(np.log(ratio_C.clip(1e-30))).argmax()], shift_C[np.abs(shift_C).argmax()]
    if LEAST <= ratio <= MOST and abs(shift) <= FAR:
        return
    ours, theirs = ((float(part.images.min()), float(part.images.max())) for part in raw)
    yield (
        f"{place}: the {name} images are on another scale than the training images, by whose mean and standard "
        f"deviation all are normalized: their contrast is {ratio:.3g} times as large, their mean {abs(shift):.2g} "
        f"standard deviations {'higher' if shift > 0 else 'lower'}. Training images range from {ours[0]:.6g} to "
        f"{ours[1]:.6g}, {name} images from {theirs[0]:.6g} to {theirs[1]:.6g}.\n{_cure(name, ours, theirs)}"
    )


def _cure(name: str, ours: tuple[float, float], theirs: tuple[float, float]) -> str:
    if ours[0] == theirs[0] == 0:
        for factor, word in ((theirs[1] / ours[1], "Divide"), (ours[1] / theirs[1], "Multiply")):
            if abs(factor - 255) < 1:
                return f"{word} the {name} images by 255 before you save them."
    return "Bring all images to one scale before you save them, for instance all pixels to 0 to 1."


def _look(images: Tensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return brightness (C,) and contrast (C,) of images (N, C, H, W) or rows, which count as one channel."""
    # at random: a file may be sorted, or its classes may take turns
    chosen = np.random.RandomState(0).permutation(len(images))[:_NUM_IMAGES]
    some = images[torch.from_numpy(chosen)]
    pixels = some.flatten(2) if some.dim() == 4 else some.unsqueeze(1)
    std, mean = torch.std_mean(pixels.double(), dim=2, correction=0)
    return np.median(mean.numpy(), axis=0), np.median(std.numpy(), axis=0)
