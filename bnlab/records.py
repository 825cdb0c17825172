"""Frozen facts about a run: the training loop yields them, folders keep them, loggers show them."""

import html
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

Status = Literal["running", "finished", "diverged", "failed", "interrupted"]
ENDED: frozenset[Status] = frozenset(("finished", "diverged"))
"""Statuses of a run that has a result. A run of any other status may still be trained to one."""

SplitName = Literal["train", "validation", "test"]


@dataclass(frozen=True, slots=True)
class StepRecord:
    """A point of the training curve.

    Attributes:
        step: Optimizer steps made so far.
        values: ``loss`` (mean over the steps since the last point), ``accuracy`` (share, over the same
            batches), ``lr`` (of the last of them).
        run: The position of the run in its cohort, from 0.
    """

    kind: ClassVar[str] = "step"
    name: ClassVar[None] = None
    split: ClassVar[SplitName] = "train"
    step: int
    values: dict[str, float]
    run: int = 0


@dataclass(frozen=True, slots=True)
class EvalRecord:
    """Loss and accuracy over a whole split, in eval mode.

    Attributes:
        step: Optimizer steps made so far.
        split: ``validation`` or ``test``; ``train`` is for step records.
        values: ``loss`` (mean), ``accuracy`` (share).
        run: The position of the run in its cohort, from 0.
    """

    kind: ClassVar[str] = "eval"
    name: ClassVar[None] = None
    step: int
    split: SplitName
    values: dict[str, float]
    run: int = 0


@dataclass(frozen=True, slots=True)
class DiagnosticRecord:
    """One diagnostic's values, one per layer.

    Attributes:
        step: Optimizer steps made so far.
        name: The name of the diagnostic, as in the catalog.
        values: Layer role -> value, in the unit of the diagnostic.
        run: The position of the run in its cohort, from 0.
    """

    kind: ClassVar[str] = "diagnostic"
    split: ClassVar[None] = None
    step: int
    name: str
    values: dict[str, float]
    run: int = 0


@dataclass(frozen=True, slots=True)
class EndRecord:
    """The end of a training: the last record of a run that finished or diverged.

    Attributes:
        step: Optimizer steps made until the end.
        name: The outcome, ``finished`` or ``diverged``.
        values: ``diverged_at_step`` if it diverged.
        run: The position of the run in its cohort, from 0.
    """

    kind: ClassVar[str] = "end"
    split: ClassVar[None] = None
    step: int
    name: Status
    values: dict[str, float]
    run: int = 0


@dataclass(frozen=True, slots=True)
class TimingRecord:
    """Wall-clock times, in a file of their own, because they differ between two equal runs.

    Attributes:
        step: Optimizer steps made so far.
        values: ``elapsed_s`` (since the start), ``train_s`` (of it in optimizer steps, without evaluations
            and diagnostics), ``samples_per_s`` (since the last record, of training alone).
        run: The position of the run in its cohort, from 0.
    """

    kind: ClassVar[str] = "timing"
    name: ClassVar[None] = None
    split: ClassVar[None] = None
    step: int
    values: dict[str, float]
    run: int = 0


Record = StepRecord | EvalRecord | DiagnosticRecord | EndRecord | TimingRecord


def as_record(facts: Mapping[str, Any]) -> Record:
    """Return the record that was written as one line of metrics.jsonl or timings.jsonl.

    Args:
        facts: The line, parsed as JSON.

    Example:
        >>> as_record({"kind": "eval", "step": 7, "split": "test", "values": {"loss": 0.5}})
        EvalRecord(step=7, split='test', values={'loss': 0.5}, run=0)
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
    """The result of a run. A figure that the run does not have is None, never NaN.

    Attributes:
        run_id: The name of the run's folder.
        status: How the run ended: ``finished``, ``diverged``, ``failed`` or ``interrupted``.
        folder: The path of the run's folder.
        seed: The seed of initial weights, batch order and noise.
        test_accuracy: Share, 0 to 1, in eval mode, at the end.
        test_loss: Mean over the test set, at the end.
        validation_accuracy: Share, 0 to 1, in eval mode, at the end.
        validation_loss: Mean over the validation set, at the end.
        train_loss: Mean over the mini-batches of the last point of the training curve, in training mode.
        steps: Optimizer steps made until the end.
        duration_s: Wall time from start to end, in seconds, without the time between interruption and resumption.
        cached: True if the result was on disk and the run was not trained again.
        diverged_at_step: The step at which divergence was certain; None: the run did not diverge.
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

    def _repr_html_(self) -> str:
        """Return the summary for a notebook: a table of its figures, in the colors of the page that it stands in."""
        rows = [
            ("test", self.test_accuracy, self.test_loss),
            ("validation", self.validation_accuracy, self.validation_loss),
            ("training (last mini-batches)", None, self.train_loss),
        ]
        body = "".join(
            f"<tr><th style='text-align:left'>{name}</th><td>{_percent(accuracy)}</td><td>{_four(loss)}</td></tr>"
            for name, accuracy, loss in rows
            if accuracy is not None or loss is not None
        )
        facts = [f"seed {self.seed}"]
        facts += [f"{self.steps:,} steps"] if self.steps is not None else []
        facts += [f"{self.duration_s:.1f} s"] if self.duration_s is not None else []
        facts += [f"diverged at step {self.diverged_at_step:,}"] if self.diverged_at_step is not None else []
        facts += ["the result was there already"] if self.cached else []
        table = f"<table><thead><tr><th></th><th>accuracy</th><th>loss</th></tr></thead><tbody>{body}</tbody></table>"
        return (
            f"<div><strong>{html.escape(self.run_id)}</strong> {html.escape(self.status)}{table if body else ''}"
            f"<small>{' · '.join(facts)}<br><code>{html.escape(self.folder)}</code></small></div>"
        )


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def _four(loss: float | None) -> str:
    return "" if loss is None else f"{loss:.4f}" if loss == 0 or 1e-3 <= abs(loss) < 1e5 else f"{loss:.1e}"
