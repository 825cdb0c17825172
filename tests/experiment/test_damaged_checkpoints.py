"""A damaged checkpoint is named and renamed; the one before it is used, or the run is trained from the beginning."""

import functools
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from interrupted_runs import QUICK, Notes, assert_equal, composed, train_until, trained_in_one_go

from bnlab.experiment.cohort_run import run_experiment
from bnlab.runfolder.folder import RunFolder
from bnlab.training.checkpoint import read_checkpoint


class Bomb:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("boom").absolute(),))


def rewrite(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)


def widened(content: dict[str, Any]) -> None:
    model = content["training"]["state"]["cohort"]["model"]
    model["hidden1.linear.weight"] = torch.zeros(3, 3)


def first_weight(content: dict[str, Any]) -> str:
    return next(iter(content["training"]["state"]["cohort"]["model"]))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "random bytes": lambda path: path.write_bytes(bytes(range(256)) * 20),
    "one bit": lambda path: path.write_bytes(bytes([*(raw := path.read_bytes())[:999], raw[999] ^ 1, *raw[1000:]])),
    "a pickle that would run": lambda path: torch.save({"step": 12, "model": Bomb(), "training": Bomb()}, path),
    "another program's": lambda path: torch.save({"state_dict": {"weight": torch.zeros(2)}}, path),
    "a missing part": lambda path: rewrite(path, lambda c: c["training"]["state"].pop("curve")),
    "a missing buffer": lambda path: rewrite(
        path, lambda c: c["training"]["state"]["cohort"]["model"].pop(first_weight(c))
    ),
    "a weight too many": lambda path: rewrite(
        path, lambda c: c["training"]["state"]["cohort"]["model"].update(other=torch.zeros(1))
    ),
    "a wrong shape": lambda path: rewrite(
        path, lambda c: c["training"]["state"]["cohort"]["model"].update({first_weight(c): torch.zeros(3, 3)})
    ),
    "a wrong type": lambda path: rewrite(path, lambda c: c["training"].update(state=[1, 2])),
}


_SHARED = tempfile.TemporaryDirectory(prefix="bnlab-interrupted-run-")


@functools.cache
def _interrupted_at_14() -> Path:
    folder = RunFolder(Path(_SHARED.name) / "pieces")
    train_until(14, composed(*QUICK), folder)
    return folder.path


@pytest.fixture
def cut() -> RunFolder:
    """A run that was interrupted at step 14, with checkpoints at 8 and 12."""
    folder = RunFolder(Path("pieces").absolute())
    shutil.copytree(_interrupted_at_14(), folder.path)
    steps = [read_checkpoint(path)["step"] for path in (folder.previous_checkpoint_path, folder.checkpoint_path)]
    assert steps == [8, 12]
    return folder


def resume(folder: RunFolder) -> list[str]:
    """Train an interrupted run to its end, compare it with one that was not interrupted, and return the warnings."""
    notes = Notes()
    run_experiment(composed(*QUICK), folder, notes)
    assert_equal(folder, trained_in_one_go(composed(*QUICK)))
    return notes.warnings


def resumed_at(folder: RunFolder) -> list[int]:
    return [taken_up["step"] for taken_up in folder.read_manifest().get("resumed", [])]


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_named_and_renamed_and_the_one_before_it_is_used(cut: RunFolder, damage: str) -> None:
    DAMAGES[damage](cut.checkpoint_path)
    (warning,) = resume(cut)
    assert str(cut.checkpoint_path) in warning
    assert warning.endswith("; renamed to checkpoint.pt.damaged. It resumes from step 8.")
    assert len(warning.splitlines()) == 1
    assert warning in cut.log_path.read_text()
    assert resumed_at(cut) == [8]
    assert (cut.path / "checkpoint.pt.damaged").exists()
    assert not Path("boom").exists()


@pytest.mark.slow_but(3)
@pytest.mark.parametrize("damage", DAMAGES)
def test_where_both_are_damaged_the_run_is_trained_from_the_beginning(cut: RunFolder, damage: str) -> None:
    DAMAGES[damage](cut.checkpoint_path)
    DAMAGES[damage](cut.previous_checkpoint_path)
    warnings = resume(cut)
    assert [warning.endswith("It is trained from the beginning.") for warning in warnings] == [True, True]
    assert resumed_at(cut) == []
    assert {path.name for path in cut.path.glob("*.damaged")} == {
        *["checkpoint.pt.damaged", "checkpoint.previous.pt.damaged"]
    }


def test_a_damaged_checkpoint_before_the_newest_changes_nothing(cut: RunFolder) -> None:
    cut.previous_checkpoint_path.write_bytes(b"x")
    resume(cut)
    assert resumed_at(cut) == [12]


def test_a_checkpoint_of_another_program_is_not_used(cut: RunFolder) -> None:
    rewrite(cut.checkpoint_path, lambda c: c["training"]["made_by"].update(torch="1.0"))
    rewrite(cut.previous_checkpoint_path, lambda c: c["training"]["made_by"].update(runs=["a", "b"], engine="x"))
    other_runs, other_torch = resume(cut)
    assert "written by another program (engine x, now sequential, other runs); not used. It is trained" in other_runs
    assert f"written by another program (torch 1.0, now {torch.__version__.partition('+')[0]}" in other_torch
    assert resumed_at(cut) == []


@pytest.mark.parametrize("left", [0, 1, -1])
def test_missing_records_are_reported_and_the_run_is_trained_from_the_beginning(cut: RunFolder, left: int) -> None:
    path = cut.path / "metrics.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:] if left < 0 else [])[: 300 * left])
    warnings = resume(cut)
    assert len(warnings) == 2
    assert "is not used: metrics.jsonl lacks records from before it. It is trained from the beginning." in warnings[0]
    assert resumed_at(cut) == []


def test_overwritten_records_are_written_again(cut: RunFolder) -> None:
    path = cut.path / "metrics.jsonl"
    path.write_bytes(bytes(path.stat().st_size - 1) + b"\n")
    assert len(resume(cut)) == 2
    assert resumed_at(cut) == []


def test_a_damaged_file_of_timings_or_manifest_or_config_is_written_again(cut: RunFolder) -> None:
    for name in ("timings.jsonl", "manifest.json", "config.yaml"):
        (cut.path / name).write_bytes(bytes(99) + b"\n")
    assert resume(cut) == []
    assert resumed_at(cut) == [12]
    (cut.path / "timings.jsonl").read_text().encode("ascii")


def test_final_weights_without_an_end_record_are_no_result(cut: RunFolder) -> None:
    shutil.copy(trained_in_one_go(composed(*QUICK)).checkpoint_path, cut.checkpoint_path)
    assert resume(cut) == []
    assert resumed_at(cut) == [8]


def test_again_trains_from_the_beginning(cut: RunFolder) -> None:
    run_experiment(composed(*QUICK), cut, again=True)
    assert_equal(cut, trained_in_one_go(composed(*QUICK)))
    assert resumed_at(cut) == []
