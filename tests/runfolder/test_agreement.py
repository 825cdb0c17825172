import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bnlab.records import DiagnosticRecord, EndRecord, EvalRecord, Record, RunSummary, StepRecord
from bnlab.runfolder.agreement import Agreement, compare
from bnlab.runfolder.folder import RunFolder
from bnlab.runfolder.json_lines import record_line

RECORDS: list[Record] = [
    EvalRecord(0, "validation", {"loss": 2.0, "accuracy": 0.1}),
    DiagnosticRecord(0, "saturation", {"hidden1": 0.25}),
    DiagnosticRecord(0, "gradient_norm", {"hidden1": 0.5}),
    StepRecord(50, {"loss": 1.0, "accuracy": 0.5, "lr": 0.1}),
    DiagnosticRecord(90, "gradient_norm", {"hidden1": 0.25}),
    StepRecord(100, {"loss": 0.02, "accuracy": 0.9, "lr": 0.1}),
    EvalRecord(100, "test", {"loss": 0.04, "accuracy": 0.95}),
    EndRecord(100, "finished", {}),
]
Compare = Callable[..., Agreement]


@pytest.fixture
def compared(tmp_path: Path) -> Compare:
    """Return what comes out if some values of the records are others in a repetition."""

    def write(name: str, records: list[Record], manifest: dict[str, Any]) -> RunFolder:
        folder = RunFolder(tmp_path / name)
        folder.path.mkdir()
        (folder.path / "metrics.jsonl").write_text("".join(record_line(record) + "\n" for record in records))
        folder.write_manifest({"status": "finished", **manifest})
        folder.write_summary(RunSummary("a", "finished", "", 0, test_loss=records[-1].step / 100))
        return folder

    def compare_with(
        changes: dict[tuple[int, str], float], records: list[Record] | None = None, **manifest: Any
    ) -> Agreement:
        others = [json.loads(record_line(record)) for record in records or RECORDS]
        before = write("before", RECORDS, {"threads": 1, "versions": {"torch": "2.9"}})
        after = write("after", records or RECORDS, {"threads": 1, "versions": {"torch": "2.9"}, **manifest})
        for (at, key), value in changes.items():
            others[at]["values"][key] = value
            others[at] |= {"nonfinite": {key: "nan"}} if value is None else {}
        (after.path / "metrics.jsonl").write_text("".join(json.dumps(facts) + "\n" for facts in others))
        return compare(before, after)

    return compare_with


def test_the_same_values_are_identical(compared: Compare) -> None:
    agreement = compared({})
    assert (agreement.verdict, agreement.agrees, agreement.num_records) == ("identical", True, 8)
    assert (agreement.first, agreement.largest_loss, agreement.changed) == (None, None, {})


@pytest.mark.parametrize(
    "changes",
    [
        {(3, "loss"): 1.0 + 1e-7},
        {(2, "hidden1"): 0.5 + 1e-8, (4, "hidden1"): 0.5},  # what is inside follows the weights, which are chaotic
        {(3, "loss"): 1.0 + 1e-7, (5, "loss"): 0.0399, (6, "accuracy"): 0.94},
        {(1, "hidden1"): 0.26},
    ],
)
def test_what_begins_small_and_stays_near_is_rounding(compared: Compare, changes: dict[tuple[int, str], float]) -> None:
    agreement = compared(changes)
    assert (agreement.verdict, agreement.agrees) == ("rounding", True)
    assert agreement.begins_small == (agreement.first is not None and agreement.first.what != "saturation hidden1")


@pytest.mark.parametrize(
    "changes",
    [
        {(3, "loss"): 1.001},  # at once
        {(2, "hidden1"): 0.51},
        {(3, "lr"): 0.1001},
        {(3, "loss"): 1.0 + 1e-7, (5, "loss"): 0.0401},  # more than 1% of the 2.0 at the start
        {(3, "loss"): 1.0 + 1e-7, (6, "accuracy"): 0.92},
        {(1, "hidden1"): 0.28},
        {(5, "loss"): None},
    ],
)
def test_anything_else_is_different(compared: Compare, changes: dict[tuple[int, str], float]) -> None:
    agreement = compared(changes)
    assert (agreement.verdict, agreement.agrees) == ("different", False)


def test_the_first_and_the_largest_difference_are_told(compared: Compare) -> None:
    agreement = compared({(2, "hidden1"): 0.5 + 1e-8, (3, "loss"): 1.0 + 2e-7, (5, "loss"): 0.02 - 1e-7})
    assert agreement.first is not None
    assert (agreement.first.step, agreement.first.what) == (0, "gradient_norm hidden1")
    assert agreement.first.relative == pytest.approx(2e-8)
    assert agreement.largest_loss is not None
    assert (agreement.largest_loss.step, agreement.largest_loss.what) == (100, "train loss")
    assert agreement.largest_loss.relative == pytest.approx(5e-6)


def test_other_records_are_different_however_near_their_values(compared: Compare) -> None:
    agreement = compared({}, [*RECORDS[:-1], EndRecord(100, "diverged", {"diverged_at_step": 99})])
    assert agreement.verdict == "different"
    assert agreement.first is not None
    assert (agreement.first.what, agreement.first.before, agreement.first.after) == ("record", "finished", "diverged")


@pytest.mark.parametrize("keep", [slice(None, -1), slice(1, None)])
def test_a_record_too_few_is_different(compared: Compare, keep: slice) -> None:
    agreement = compared({}, RECORDS[keep])
    assert agreement.verdict == "different"
    assert agreement.first is not None
    assert agreement.first.what == "record"


def test_infinite_and_missing_values_are_compared_as_what_they_are(compared: Compare) -> None:
    diverged = [*RECORDS[:3], StepRecord(50, {"loss": float("inf"), "accuracy": 0.5, "lr": 0.1})]
    assert compared({}, diverged).verdict == "different"


def test_two_runs_that_became_nan_alike_are_identical(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    (tmp_path / "metrics.jsonl").write_text(record_line(StepRecord(50, {"loss": float("nan")})) + "\n")
    folder.write_manifest({})
    assert compare(folder, folder).verdict == "identical"


def test_what_has_changed_in_the_making_is_told_and_nothing_else(compared: Compare) -> None:
    changed = compared({}, None, threads=2, versions={"torch": "2.10"}, started="then", hardware={"cores": 2}).changed
    assert changed == {"versions.torch": ("2.9", "2.10"), "threads": (1, 2), "hardware.cores": (None, 2)}
