"""A third outcome of a run, besides one that is not finite and one above its start: its logits diverge while it learns.

It is seen only in runs that have recorded the diagnostic ``logit_scale``. The status of such a run stays ``finished``.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnlab.runfolder.folder import RunFolder

INSTRUMENT = "logit_scale"

ACCURACY_KEPT = 0.05
"""The largest loss of validation accuracy from half of a run to its end that still counts as none: five points, the
margin by which a setting counts as good as the best elsewhere in bnlab."""


@dataclass(frozen=True)
class LogitGrowth:
    """The logits of a run and its validation accuracy, at half of its steps and at its end.

    Attributes:
        steps: The step at or before half of the run, and the last one, at which the logits were measured.
        scales: ``logit_scale`` at both, in nats.
        accuracies: The validation accuracy at or before both, shares.
        losses: The validation loss before the first step and at the end.
    """

    steps: tuple[int, int]
    scales: tuple[float, float]
    accuracies: tuple[float, float]
    losses: tuple[float, float]

    @property
    def factor(self) -> float:
        """How many times as large the logits are at the end as at half."""
        return self.scales[1] / self.scales[0]

    @property
    def is_controlled_divergence(self) -> bool:
        """Whether the logits grow in proportion to time or faster, while accuracy is kept and the loss is not above.

        Logits of a network that separates its training images grow with the logarithm of time: by less.
        """
        grows = self.factor >= self.steps[1] / self.steps[0]
        keeps = self.accuracies[1] >= self.accuracies[0] - ACCURACY_KEPT
        return grows and keeps and self.losses[1] <= self.losses[0]

    @property
    def sentence(self) -> str:
        """What happened to the logits, and what that is called."""
        return (
            f"Controlled divergence: the logits grew {self.factor:.3g} times from step {self.steps[0]:,} to "
            f"{self.steps[1]:,}, in proportion to time or faster, while the validation accuracy went from "
            f"{100 * self.accuracies[0]:.1f}% to {100 * self.accuracies[1]:.1f}%. Compare accuracies, not losses."
        )


def logit_growth(records: Iterable[Mapping[str, Any]]) -> LogitGrowth | None:
    """Return how the logits grew in the second half of a run; None where its records do not tell.

    Args:
        records: The lines of the run's metrics.jsonl.
    """
    scales: dict[int, float] = {}
    validations: dict[int, Mapping[str, float]] = {}
    for record in records:
        if record["kind"] == "diagnostic" and record["name"] == INSTRUMENT:
            scale = record["values"].get("network/scale")
            if scale is not None:
                scales[record["step"]] = scale
        elif record["kind"] == "eval" and record["split"] == "validation":
            validations[record["step"]] = record["values"]
    last = max(scales, default=0)
    halves = [step for step in scales if 0 < step <= last / 2]
    if not halves or not validations:
        return None
    half = max(halves)
    at_half, at_end = (max((step for step in validations if step <= until), default=None) for until in (half, last))
    if at_half is None or at_end is None:
        return None
    accuracies = validations[at_half].get("accuracy"), validations[at_end].get("accuracy")
    losses = validations[min(validations)].get("loss"), validations[at_end].get("loss")
    if None in (*accuracies, *losses) or scales[half] == 0:
        return None
    return LogitGrowth((half, last), (scales[half], scales[last]), accuracies, losses)  # type: ignore[arg-type]


def controlled_divergence(row: Mapping[str, Any]) -> LogitGrowth | None:
    """Return how the logits of a finished run diverged; None if they did not, or it was not recorded.

    Args:
        row: The run as `read_run_rows` gives it.

    Raises:
        RunError: The file of records is damaged.
    """
    if row.get("status") != "finished" or INSTRUMENT not in (row.get("diagnostics.names") or ()):
        return None
    growth = logit_growth(RunFolder(Path(row["folder"])).read_records())
    return growth if growth is not None and growth.is_controlled_divergence else None
