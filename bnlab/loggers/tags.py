"""The tags of a record: the names of curves, the same in TensorBoard and in every other logger."""

from collections.abc import Collection

from bnlab.records import Record, RunSummary


def tagged(record: Record, diagnostics: Collection[str]) -> dict[str, float]:
    """Return the values of a record by tag; none of the test set, whose figures are told once, at the end.

    Args:
        record: One record of a run.
        diagnostics: The names of the diagnostics that are shown; all are in metrics.jsonl.

    Example:
        >>> from bnlab.records import EvalRecord
        >>> tagged(EvalRecord(7, "validation", {"loss": 0.5, "accuracy": 0.9}), [])
        {'eval/loss': 0.5, 'eval/accuracy': 0.9}
    """
    tags = {
        "step": {"loss": "train/loss", "accuracy": "train/accuracy"},
        "eval": {"loss": "eval/loss", "accuracy": "eval/accuracy"},
        "diagnostic": {layer: f"{record.name}/{layer}" for layer in record.values},
        "timing": {"samples_per_s": "speed/samples_per_s"},
        "end": {},
    }[record.kind]
    if record.split == "test" or (record.kind == "diagnostic" and record.name not in diagnostics):
        return {}
    return {tag: record.values[key] for key, tag in tags.items()}


def tagged_finals(summary: RunSummary) -> dict[str, float]:
    """Return the figures of the test set by tag, those that the run has."""
    figures = {"test/accuracy": summary.test_accuracy, "test/loss": summary.test_loss}
    return {tag: value for tag, value in figures.items() if value is not None}
