"""Reduces the records of a run to its summary."""

import math

from bnlab.records import EndRecord, Record, RunSummary, Status


class Tally:
    """The latest value of each figure of one run, for its summary.

    Attributes:
        steps: Optimizer steps made so far.
        ending: ``finished`` or ``diverged``; None: the run has not ended.
    """

    def __init__(self) -> None:
        self.steps = 0
        self.ending: Status | None = None
        self._latest: dict[str, dict[str, float]] = {}
        self._diverged_at: int | None = None

    def take(self, record: Record) -> None:
        """Take the next record."""
        self.steps = max(self.steps, record.step)
        if record.kind in {"step", "eval"}:
            self._latest[str(record.split)] = record.values
        if isinstance(record, EndRecord):
            self.ending = record.name
            at = record.values.get("diverged_at_step")
            self._diverged_at = None if at is None else int(at)

    def summary(self, run_id: str, folder: str, seed: int, status: Status, duration_s: float) -> RunSummary:
        """Return the summary of a run that ended with a status; a figure that is not finite becomes None."""

        def figure(split: str, name: str) -> float | None:
            value = self._latest.get(split, {}).get(name, math.nan)
            return value if math.isfinite(value) else None

        return RunSummary(
            run_id=run_id,
            status=status,
            folder=folder,
            seed=seed,
            test_accuracy=figure("test", "accuracy"),
            test_loss=figure("test", "loss"),
            validation_accuracy=figure("validation", "accuracy"),
            validation_loss=figure("validation", "loss"),
            train_loss=figure("train", "loss"),
            steps=self.steps,
            duration_s=duration_s,
            diverged_at_step=self._diverged_at,
        )
