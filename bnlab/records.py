"""Frozen facts out of a run: what the training loop yields, folders keep and loggers show."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

Status = Literal["running", "finished", "diverged", "failed", "interrupted"]
SplitName = Literal["train", "validation", "test"]


@dataclass(frozen=True, slots=True)
class StepRecord:
    """A point of the training curve.

    Attributes:
        step: Optimizer steps made so far.
        values: ``loss`` (mean over the steps since the last point), ``accuracy`` (share, over the same
            batches), ``lr`` (of the last of them).
        replica: Which run of the cohort.
    """

    kind: ClassVar[str] = "step"
    name: ClassVar[None] = None
    split: ClassVar[SplitName] = "train"
    step: int
    values: dict[str, float]
    replica: int = 0


@dataclass(frozen=True, slots=True)
class EvalRecord:
    """Loss and accuracy over a whole split, in eval mode.

    Attributes:
        step: Optimizer steps made so far.
        split: Which split.
        values: ``loss`` (mean), ``accuracy`` (share).
        replica: Which run of the cohort.
    """

    kind: ClassVar[str] = "eval"
    name: ClassVar[None] = None
    step: int
    split: SplitName
    values: dict[str, float]
    replica: int = 0


@dataclass(frozen=True, slots=True)
class DiagnosticRecord:
    """One diagnostic's values, one per layer.

    Attributes:
        step: Optimizer steps made so far.
        name: The diagnostic.
        values: Layer role -> value.
        replica: Which run of the cohort.
    """

    kind: ClassVar[str] = "diagnostic"
    split: ClassVar[None] = None
    step: int
    name: str
    values: dict[str, float]
    replica: int = 0


@dataclass(frozen=True, slots=True)
class EndRecord:
    """The ending of a training: the last record of a run that was not cut off.

    Attributes:
        step: Optimizer steps made.
        name: ``finished`` or ``diverged``.
        values: ``diverged_at_step`` if it diverged.
        replica: Which run of the cohort.
    """

    kind: ClassVar[str] = "end"
    split: ClassVar[None] = None
    step: int
    name: Status
    values: dict[str, float]
    replica: int = 0


@dataclass(frozen=True, slots=True)
class TimingRecord:
    """What the wall clock said; kept apart, since it differs between two equal runs.

    Attributes:
        step: Optimizer steps made so far.
        values: ``elapsed_s`` (since the start), ``train_s`` (of it in optimizer steps, without evaluations
            and diagnostics), ``samples_per_s`` (since the last record, of training alone).
        replica: Which run of the cohort.
    """

    kind: ClassVar[str] = "timing"
    name: ClassVar[None] = None
    split: ClassVar[None] = None
    step: int
    values: dict[str, float]
    replica: int = 0


Record = StepRecord | EvalRecord | DiagnosticRecord | EndRecord | TimingRecord


def as_record(facts: Mapping[str, Any]) -> Record:
    """Return the record that one line of metrics.jsonl or timings.jsonl was made from.

    Args:
        facts: The line, read.

    Example:
        >>> as_record({"kind": "eval", "step": 7, "split": "test", "values": {"loss": 0.5}})
        EvalRecord(step=7, split='test', values={'loss': 0.5}, replica=0)
    """
    odd = {key: float(word) for key, word in facts.get("nonfinite", {}).items()}
    step, values = facts["step"], {**facts["values"], **odd}
    match facts["kind"]:
        case "step":
            return StepRecord(step, values)
        case "eval":
            return EvalRecord(step, facts["split"], values)
        case "diagnostic":
            return DiagnosticRecord(step, facts["name"], values)
        case "end":
            return EndRecord(step, facts["name"], values)
        case _:
            return TimingRecord(step, values)


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What came out of a run. What it does not have is None, never NaN.

    Attributes:
        run_id: Name of the run's folder.
        status: How it ended.
        folder: Where everything about it lies.
        seed: Its seed.
        test_accuracy: Share, 0 to 1, in eval mode, at the end.
        test_loss: Mean over the test set, at the end.
        validation_accuracy: Share, 0 to 1, in eval mode, at the end.
        validation_loss: Mean over the validation set, at the end.
        train_loss: Mean over the mini-batches of the last point of the training curve, in training mode.
        steps: Optimizer steps made.
        duration_s: Wall time from start to end.
        cached: It was there already and was not trained again.
        diverged_at_step: The step at which divergence was certain.
    """

    run_id: str
    status: Status
    folder: str
    seed: int
    test_accuracy: float | None = None
    test_loss: float | None = None
    validation_accuracy: float | None = None
    validation_loss: float | None = None
    train_loss: float | None = None
    steps: int | None = None
    duration_s: float | None = None
    cached: bool = False
    diverged_at_step: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the summary as plain values, in the order of the attributes."""
        return asdict(self)
