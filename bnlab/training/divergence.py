"""When a run counts as diverged, and is stopped."""

import math
from collections.abc import Mapping, Sequence
from typing import Any


class DivergenceWatch:
    """Watches one run's mini-batch losses for divergence.

    A run has diverged when a loss is not finite, or when it stays above ``factor`` times its start for
    ``patience`` steps in a row. Divergence is an outcome, not an error.

    Args:
        factor: A loss above ``factor`` times the loss of the first step is too large; above 1.
        patience: The number of steps in a row with too large a loss after which the run has diverged.

    Example:
        >>> watch = DivergenceWatch(factor=3.0, patience=2)
        >>> watch.see([1.0, 3.5, 2.9, 3.1]), watch.see([3.2, 0.1])
        (None, 5)
    """

    def __init__(self, factor: float, patience: int) -> None:
        self.factor = factor
        self.patience = patience
        self.num_seen = 0
        self.num_above = 0
        self.start: float | None = None
        self.diverged_at: int | None = None

    def see(self, losses: Sequence[float]) -> int | None:
        """Take the next losses in order; return the step at which divergence was certain, counted from 1."""
        for loss in losses:
            if self.diverged_at is not None:
                break
            self.num_seen += 1
            if self.start is None:
                self.start = loss
            self.num_above = self.num_above + 1 if loss > self.factor * self.start else 0
            if not math.isfinite(loss) or self.num_above >= self.patience:
                self.diverged_at = self.num_seen
        return self.diverged_at

    def state(self) -> dict[str, Any]:
        """Return the state of the watch, as plain values."""
        return {"num_seen": self.num_seen, "num_above": self.num_above, "start": self.start}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from the state of a watch of the same run, which had not diverged."""
        self.num_seen, self.num_above, self.start = state["num_seen"], state["num_above"], state["start"]
