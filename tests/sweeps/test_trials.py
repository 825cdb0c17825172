"""What a trial of a search comes to: the objective of its run, and its losses on the way."""

import json
import math
from pathlib import Path

import pytest

import bnlab
from bnlab.errors import ConfigError, RunError
from bnlab.records import EvalRecord, StepRecord
from bnlab.runfolder.folder import RunFolder
from bnlab.runfolder.json_lines import record_line
from bnlab.sweeps.samplers import import_optuna
from bnlab.sweeps.trials import ValidationLosses, objective

QUICK = ["data=digits", "data.limit=200", "train.steps=20", "diagnostics=none", "loggers=[]", "name=s", "model.width=8"]


def folder_of(*words: str) -> RunFolder:
    return RunFolder(Path(bnlab.train([*QUICK, *words]).folder))


def test_the_objective_of_a_run_that_finished_is_its_validation_loss_at_the_end() -> None:
    folder = folder_of("optim.lr=0.3")
    lines = [json.loads(line) for line in (folder.path / "metrics.jsonl").read_text().splitlines()]
    losses = [one["values"]["loss"] for one in lines if one["kind"] == "eval" and one["split"] == "validation"]
    assert len(losses) > 1
    assert objective(folder) == losses[-1] < losses[0]


def test_the_objective_of_a_run_that_diverged_is_its_loss_at_the_start() -> None:
    folder = folder_of("optim.lr=1e30", "norm=none")
    assert folder.read_status() == "diverged"
    standing = objective(folder_of("optim.lr=1e-30", "norm=none"))  # trained as good as not at all
    assert objective(folder) == pytest.approx(standing, rel=1e-6)


def test_the_objective_of_a_run_that_ended_worse_than_it_began_is_its_loss_at_the_start() -> None:
    folder = folder_of("optim.lr=0.3")
    records = folder.path / "metrics.jsonl"
    lines = [json.loads(line) for line in records.read_text().splitlines()]
    start = next(one for one in lines if one["kind"] == "eval" and one["split"] == "validation")
    start["values"]["loss"] = 0.25  # less than the run comes to
    records.write_text("".join(json.dumps(one) + "\n" for one in lines))
    result = folder.read_finished()
    assert result is not None
    assert result.status == "finished"
    assert result.validation_loss is not None
    assert result.validation_loss > 0.25 == objective(folder)


def test_a_run_without_a_number_has_no_objective() -> None:
    folder = folder_of("optim.lr=1e30", "norm=none")
    records = folder.path / "metrics.jsonl"
    lines = records.read_text().splitlines(keepends=True)
    records.write_text("".join(line for line in lines if '"eval"' not in line))
    with pytest.raises(RunError, match="the run diverged, and has no outcome: its records do not tell the loss at the"):
        objective(folder)
    with pytest.raises(RunError, match="the run has no result"):
        objective(RunFolder(Path("runs/s/nowhere")))


def line_at(step: int, loss: float = 1.0, split: str = "validation") -> str:
    return record_line(EvalRecord(step, split, {"loss": loss, "accuracy": 0.5})) + "\n"  # type: ignore[arg-type]


def test_losses_are_read_as_they_are_written() -> None:
    file = Path("metrics.jsonl")
    losses = ValidationLosses(RunFolder(Path()))
    assert losses.read() == {}
    file.write_text(line_at(0) + record_line(StepRecord(5, {"loss": 9.0})) + "\n" + line_at(10, 0.5) + line_at(20)[:9])
    assert losses.read() == {10: 0.5}
    with file.open("a") as more:
        more.write(
            line_at(20)[9:] + line_at(20, split="test") + line_at(30, math.nan) + "damaged\n" + line_at(40, 0.25)
        )
    assert losses.read() == {10: 0.5, 20: 1.0, 40: 0.25}


def test_a_run_that_was_resumed_has_each_loss_once() -> None:
    file = Path("metrics.jsonl")
    losses = ValidationLosses(RunFolder(Path()))
    file.write_text(line_at(10, 0.5) + line_at(20, 0.4))
    assert losses.read() == {10: 0.5, 20: 0.4}
    file.write_text(line_at(10, 0.5))  # cut back to its checkpoint
    assert losses.read() == {10: 0.5, 20: 0.4}
    file.write_text(line_at(10, 0.5) + line_at(20, 0.4) + line_at(30, 0.3))
    assert losses.read() == {10: 0.5, 20: 0.4, 30: 0.3}


@pytest.mark.parametrize(
    ("version", "said"), [(None, "is not installed"), ("2.10.1", r"needs Optuna 5 or newer, got 2\.10\.1")]
)
def test_where_optuna_is_missing_or_too_old_one_sentence_says_the_cure(
    monkeypatch: pytest.MonkeyPatch, version: str | None, said: str
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: version)
    monkeypatch.setattr("importlib.metadata.version", lambda _: version)
    with pytest.raises(ConfigError, match=f"hydra/sweeper=optuna {said}. Install it by pip install --upgrade"):
        import_optuna()
