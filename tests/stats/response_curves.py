"""Response curves with known answers, for the tests."""

import numpy as np

from bnlab.stats.response import ResponseCurve


def curve_of(
    lrs: object,
    loss: object,
    accuracy: object | None = None,
    *,
    diverged: object | None = None,
    start_loss: float = 2.3,
    start_accuracy: float = 0.1,
    seeds: tuple[int, ...] | None = None,
) -> ResponseCurve:
    """Return a curve out of array-likes; without an accuracy, one that falls as the loss rises."""
    loss_SL = np.atleast_2d(np.asarray(loss, dtype=float))
    accuracy_SL = 1 - loss_SL / start_loss if accuracy is None else np.atleast_2d(np.asarray(accuracy, dtype=float))
    diverged_SL = np.zeros(loss_SL.shape, bool) if diverged is None else np.atleast_2d(np.asarray(diverged, dtype=bool))
    num_seeds = len(loss_SL)
    return ResponseCurve(
        lrs=tuple(float(lr) for lr in np.asarray(lrs)),
        seeds=tuple(range(num_seeds)) if seeds is None else seeds,
        loss=tuple(tuple(row) for row in loss_SL.tolist()),
        accuracy=tuple(tuple(row) for row in accuracy_SL.tolist()),
        diverged=tuple(tuple(row) for row in diverged_SL.tolist()),
        start_loss=(start_loss,) * num_seeds,
        start_accuracy=(start_accuracy,) * num_seeds,
    )
