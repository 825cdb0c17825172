"""The outcomes of one arm at each learning rate and seed: the input of all statistics about learning rates.

Shape letters: S seeds, L learning rates, in rising order.
"""

import itertools
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from bnlab.errors import StudyError
from bnlab.stats.estimate import BoolArray, FloatArray

Metric = Literal["loss", "accuracy"]

RANGE: dict[Metric, tuple[float, float]] = {"loss": (0.0, math.inf), "accuracy": (0.0, 1.0)}
"""The least and the greatest value that a loss or an accuracy can have; also of the distance between two of them."""


@dataclass(frozen=True, slots=True)
class ResponseCurve:
    """The final figures of one arm over a complete grid of learning rates and seeds.

    A run that diverged, or whose loss is not finite, is never dropped: its outcome is its start. So is that of a run
    that ended worse than it started.

        loss      min(l, l0), and l0 if diverged
        accuracy  max(a, a0), and a0 if diverged

    Args:
        lrs: L learning rates, rising, at least 2.
        seeds: S seeds, which pair one arm with another.
        loss: S rows of L final validation losses; NaN or infinite where there is none.
        accuracy: S rows of L final validation accuracies, shares; NaN where there is none.
        diverged: S rows of L: whether the run diverged.
        start_loss: S validation losses before the first step, l0.
        start_accuracy: S validation accuracies before the first step, a0.

    Raises:
        StudyError: The shapes do not fit, the grid does not rise, or a start is not finite.

    Source:
        min(l, l0): Wortsman et al. 2023, arXiv:2309.14322. The accuracy's mirror image: ours.
    """

    lrs: tuple[float, ...]
    seeds: tuple[int, ...]
    loss: tuple[tuple[float, ...], ...]
    accuracy: tuple[tuple[float, ...], ...]
    diverged: tuple[tuple[bool, ...], ...]
    start_loss: tuple[float, ...]
    start_accuracy: tuple[float, ...]

    def __post_init__(self) -> None:
        """Check that the parts fit together.

        Raises:
            StudyError: It does not fit together.
        """
        if len(self.lrs) < 2 or not all(0 < a < b < math.inf for a, b in itertools.pairwise(self.lrs)):
            raise StudyError(f"learning rates must be 2 or more, above 0 and rising, got {list(self.lrs)}")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise StudyError(f"seeds must be 1 or more, each once, got {list(self.seeds)}")
        for name in ("loss", "accuracy", "diverged"):
            rows = getattr(self, name)
            if len(rows) != len(self.seeds) or any(len(row) != len(self.lrs) for row in rows):
                raise StudyError(
                    f"{name} must have {len(self.seeds)} rows (seeds) of {len(self.lrs)} values (learning rates), "
                    f"got rows of {[len(row) for row in rows]}"
                )
        for name in ("start_loss", "start_accuracy"):
            values = getattr(self, name)
            if len(values) != len(self.seeds) or not all(map(math.isfinite, values)):
                raise StudyError(f"{name} must have one finite value per seed ({len(self.seeds)}), got {list(values)}")

    def has_diverged(self) -> BoolArray:
        """Return (S, L): which runs diverged, or ended with a loss that is not finite."""
        return has_diverged(self.loss, self.diverged)

    def outcome(self, metric: Metric) -> FloatArray:
        """Return (S, L): the outcome of each run; always finite."""
        return outcome_of(metric, getattr(self, metric), self.start(metric)[:, None], self.has_diverged())

    def badness(self, metric: Metric) -> FloatArray:
        """Return (S, L): the outcome of each run, with its sign turned where more is better: less is better then."""
        return self.outcome(metric) if metric == "loss" else -self.outcome(metric)

    def regret(self, metric: Metric) -> FloatArray:
        """Return (S, L): how much worse the outcome of each run is than the best of its seed; 0 at the best."""
        badness_SL = self.badness(metric)
        return np.asarray(badness_SL - badness_SL.min(1, keepdims=True))

    def start(self, metric: Metric) -> FloatArray:
        """Return (S,): the figure before the first step."""
        return np.asarray(self.start_loss if metric == "loss" else self.start_accuracy, dtype=np.float64)


def has_diverged(loss: npt.ArrayLike | None, diverged: npt.ArrayLike) -> BoolArray:
    """Return which runs diverged, or ended with a loss that is not finite.

    Args:
        loss: Final validation losses, of any shape; NaN or None where there is none.
        diverged: Whether each run has the status ``diverged``, in the same shape.
    """
    return np.asarray(diverged, dtype=bool) | ~np.isfinite(np.asarray(loss, dtype=np.float64))


def outcome_of(
    metric: Metric, final: npt.ArrayLike | None, start: npt.ArrayLike, diverged: bool | BoolArray
) -> FloatArray:
    """Return the outcomes of runs: their start, if they diverged or ended worse, and their end otherwise.

        loss      min(l, l0), and l0 if diverged
        accuracy  max(a, a0), and a0 if diverged

    Args:
        metric: Whether the figures are losses or accuracies.
        final: The figures at the end, of any shape; NaN or None where they are not known.
        start: The figures before the first step; finite.
        diverged: Which of the runs diverged, by `has_diverged`.

    Source:
        See `ResponseCurve`.

    Example:
        >>> outcome_of("loss", [0.2, 9.0, 0.1], 2.3, diverged=np.array([False, False, True])).tolist()
        [0.2, 2.3, 2.3]
    """
    clip = np.fmin if metric == "loss" else np.fmax  # both pass over a NaN
    return np.where(diverged, start, clip(np.asarray(final, dtype=np.float64), start))


def place_of_least(values_L: FloatArray) -> int:
    """Return the place of the least value, the first among equals.

    Equal up to rounding: the same accuracies of other seeds add up to a mean that differs in its last bit.

    Example:
        >>> place_of_least(np.array([-(0.3 + 0.2 + 0.1), -(0.1 + 0.2 + 0.3)])), place_of_least(np.array([2.0, 1.0]))
        (0, 1)
    """
    least = float(values_L.min())
    return int((values_L <= least + 1e-12 * max(1.0, abs(least))).argmax())
