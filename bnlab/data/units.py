"""Warns of rows of numbers whose columns are in different units, since one scale is used for all of them."""

import logging

import numpy as np
from numpy.typing import NDArray

_log = logging.getLogger("bnlab")

SMALL = 0.01
"""Range of a column, as a share of the largest one, below which it hardly counts.

Ours, measured on digits as rows, one column times k, 300 steps, 359 test images: 97% at k = 1 and 10, 95% at 30, 83% at
100 (batch) and 24% at 300. Pixels as rows stay above it: of MNIST and Fashion-MNIST no column that varies is below.
"""

_FEW = 0.1
"""Share of the columns that may be small without a warning: pixels at the border of images, words that are rare."""


def warn_of_units(images: NDArray[np.generic], place: str) -> None:
    """Warn where columns differ so much in size that most of what the data say is lost; images of pixels never do.

    bnlab subtracts one mean and divides by one standard deviation, which are those of all columns together.

    Args:
        images: (N, D), rows of numbers; other shapes are passed over.
        place: The file, which the message names.
    """
    if images.ndim != 2:
        return
    ranges = images.max(0).astype(np.float64) - images.min(0).astype(np.float64)
    varying = ranges[ranges > 0]
    num_small = int((varying < SMALL * ranges.max()).sum())
    if num_small > _FEW * len(varying):
        _log.warning(
            "%s: columns of images are in different units: number %d ranges over %.3g, and %d of %d over less than a "
            "hundredth of that, so they hardly count.\nBring all to one scale before you save them: "
            "images = (images - images.mean(0)) / np.maximum(images.std(0), 1e-9)",
            place,
            int(ranges.argmax()),
            ranges.max(),
            num_small,
            len(ranges),
        )
